"""The published file, opened by the tools that other people use."""

import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import geopandas as gpd
import pyarrow.parquet as pq
import pystac
import pytest
import stac_geoparquet.arrow

from d4c_platform.catalog.publish import publish
from d4c_platform.catalog.reading import rows
from d4c_platform_tests.catalog.published import filled, provinces_version, table_version

BIN = Path(sys.executable).parent
MOMENTS = ("datetime", "start_datetime", "end_datetime")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    archive = filled(tmp_path_factory.mktemp("portal"))
    publish(archive.records, archive.store)
    return archive.store.root / "catalog" / "catalog.parquet"


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list | tuple) else value


def with_moments(item):
    read = {name: datetime.fromisoformat(item["properties"][name]) for name in MOMENTS if name in item["properties"]}
    return item | {"properties": item["properties"] | read}


def test_duckdb_finds_a_version_by_id_and_by_place(path):
    query = """SELECT assets.data.href, assets.data."file:checksum", "sci:doi" FROM read_parquet(?) WHERE id = ?"""
    ((href, checksum, doi),) = duckdb.execute(query, [str(path), table_version("2025-06-11")]).fetchall()
    assert href.endswith(f"{table_version('2025-06-11')}.parquet")
    assert checksum.startswith("1220")
    assert doi == "10.5281/zenodo.283548"
    query = """SELECT id FROM read_parquet(?) WHERE bbox.xmin <= -79 AND bbox.xmax >= -79 AND "d4c:latest"
               AND assets.data."proj:code" = 'EPSG:3347'"""
    latest = duckdb.execute(query, [str(path)]).fetchall()
    assert latest == [(provinces_version("1.10.0"),)]


def test_geopandas_reads_it_in_longitude_and_latitude(path):
    frame = gpd.read_parquet(path)
    assert frame.crs == "OGC:CRS84"
    assert frame.geometry.is_valid.all()
    assert not frame.geometry.isna().any()
    assert len(gpd.read_parquet(path, bbox=(-100, 45, -90, 50))) == 5
    assert len(gpd.read_parquet(path, bbox=(10, 45, 20, 50))) == 0


def test_stac_geoparquet_gives_the_folded_items_back(path):
    found = [with_moments(without_nulls(item)) for item in stac_geoparquet.arrow.stac_table_to_items(pq.read_table(path))]
    assert found == [with_moments(item) for item in rows(path)]


def test_every_item_is_valid_stac(path):
    for item in stac_geoparquet.arrow.stac_table_to_items(pq.read_table(path)):
        # Core only: the schemas of the extensions are not on this machine, and tests ask no network for them.
        pystac.Item.from_dict(without_nulls(item) | {"stac_extensions": []}).validate()


def test_the_footer_describes_a_valid_collection_of_each_package(path):
    metadata = json.loads(pq.read_metadata(path).metadata[b"stac-geoparquet"])
    assert metadata["version"] == "1.1.0"
    assert list(metadata["collections"]) == ["d4c-datapkg-foundation", "d4c-datapkg-statistical"]
    for collection in metadata["collections"].values():
        pystac.Collection.from_dict(collection).validate()
    assert metadata["collections"]["d4c-datapkg-statistical"]["extent"]["temporal"]["interval"] == [
        ["2017-01-03T00:00:00Z", "2025-06-10T23:59:59Z"]
    ]


def test_gpio_finds_nothing_wrong(path, tmp_path):
    duckdb_extensions = pytest.importorskip("duckdb_extensions")
    duckdb_extensions.import_extension("spatial")
    copy = shutil.copy(path, tmp_path)
    done = subprocess.run([BIN / "gpio", "check", "all", copy], capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    # The exit code is 0 even when the specification checks could not run.
    assert "Spec Validation:" in said
    assert "checks passed" in said
    assert not [line for line in said.splitlines() if "❌" in line or "✗" in line or "⚠" in line or "ERROR" in line], said


def test_geoparquet_validator_finds_it_conformant(path):
    command = [BIN / "geoparquet-validator", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    verdicts = [line for line in done.stdout.splitlines() if line.startswith("  => ")]
    assert done.returncode == 0, done.stdout
    assert [verdict.split(":")[0] for verdict in verdicts] == ["  => core", "  => covering", "  => distribution"]
    assert all(" 0 fail" in verdict and "conformant" in verdict for verdict in verdicts)


def test_an_id_look_up_can_skip_row_groups_and_pages(path):
    group = pq.read_metadata(path).row_group(0)
    chunks = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    for name in ("id", "bbox.xmin", "datetime", "d4c:dataset"):
        assert chunks[name].is_stats_set
        assert chunks[name].has_column_index
    assert {chunk.compression for chunk in chunks.values()} == {"ZSTD"}
