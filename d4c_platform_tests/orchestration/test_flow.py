"""The whole flow on the sandbox's two successive releases, seen from the outside."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import geopandas
import httpx
import pyarrow.parquet as pq
import pytest
from duckdb_extensions import import_extension
from stac_geoparquet.arrow import stac_table_to_items

from d4c_platform.model.records import Build, Doi, Manifest, Torrents
from d4c_platform_tests.interop import require
from d4c_platform_tests.orchestration.world import OUTLINES, TABLE, World, world


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A world in which both releases of the table and the outlines are published."""
    with world(tmp_path_factory.mktemp("flow") / "sandbox") as there:
        first = there.work()
        latest_before = _processed(there, TABLE)
        assert there.sandbox.advance() is not None
        second = there.work()
        assert all(run.ok for run in (*first, *second)), [run.trouble for run in (*first, *second)]
        yield there, latest_before


def _processed(there: World, dataset_id: str) -> httpx.Response:
    return httpx.get(f"{there.sandbox.urls['portal']}/processed/{dataset_id}.parquet")


def test_two_releases_are_two_versions_of_one_dataset(published):
    there, _ = published
    assert there.published(TABLE) == [f"{TABLE}_2017-02-08_v1.0.0", f"{TABLE}_2022-02-09_v1.0.0"]
    assert len(there.published(OUTLINES)) == 1


def test_processed_switches_to_the_newest_versions_exact_bytes(published):
    there, before = published
    old, new = there.published(TABLE)
    after = _processed(there, TABLE)
    for version, answer in ((old, before), (new, after)):
        build = there.platform.records.read(Build, version)
        assert hashlib.sha256(answer.content).hexdigest() == build.artifacts[0].digests.sha256
        assert "no-cache" in answer.headers["cache-control"]
    assert before.content != after.content


def test_both_versions_stay_under_immutable_addresses(published):
    there, _ = published
    for version in there.published(TABLE):
        answer = httpx.get(f"{there.sandbox.urls['portal']}/versions/{version}/{version}.parquet")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


def test_both_versions_join_one_zenodo_concept(published):
    there, _ = published
    first, second = (there.platform.records.read(Doi, v) for v in there.published(TABLE))
    assert first.doi != second.doi
    assert first.concept_doi == second.concept_doi


def test_the_table_carries_both_languages_and_the_published_counts(published):
    there, _ = published
    version = there.published(TABLE)[-1]
    table = pq.read_table(there.sandbox.place.portal / "versions" / version / f"{version}.parquet")
    rows = {(r["geo_fr"], r["ref_date"], r["coordinate"].split(".")[1]): r["value"] for r in table.to_pylist()}
    assert rows["Québec", "2021", "1"] == 8501833
    assert rows["Île-du-Prince-Édouard", "2016", "1"] == 142907


def test_a_second_look_finds_nothing_to_do(published):
    there, _ = published
    before = _tree(there.sandbox.place.portal)
    assert there.work() == []
    assert _tree(there.sandbox.place.portal) == before


def test_every_asset_can_be_materialised_again_without_changing_anything(published):
    there, _ = published
    before = _tree(there.sandbox.place.portal)
    version = there.published(TABLE)[0]
    for stretch in ("build_and_publish", "copy_to_source_coop", "copy_to_zenodo", "publish_torrent"):
        run = there.operator.execute(stretch, version)
        assert run.ok, run.trouble
    changed = {k for k, v in _tree(there.sandbox.place.portal).items() if before.get(k) != v}
    # A repeated step looks again: only the time of the look may differ, in the documents that may be replaced.
    assert all("/copies." in key or key.startswith("catalog/") for key in changed), changed


def test_the_catalog_opens_in_duckdb_geopandas_and_stac_geoparquet(published):
    there, _ = published
    path = there.sandbox.place.portal / "catalog" / "catalog.parquet"
    expected = {*there.published(TABLE), *there.published(OUTLINES)}
    rows = duckdb.connect().execute(f'SELECT id, "sci:doi", "d4c:latest" FROM \'{path}\'').fetchall()
    assert {row[0] for row in rows} == expected
    assert all(row[1] for row in rows)
    assert sum(row[2] for row in rows) == 2
    frame = geopandas.read_parquet(path)
    assert set(frame["id"]) == expected
    assert not frame.geometry.isna().any()
    items = list(stac_table_to_items(pq.read_table(path)))
    assert {item["id"] for item in items} == expected


def test_every_geoparquet_passes_gpio_and_the_validator(published):
    there, _ = published
    version = there.published(OUTLINES)[0]
    portal = there.sandbox.place.portal
    for path in (portal / "versions" / version / f"{version}.parquet", portal / "catalog" / "catalog.parquet"):
        check_geoparquet(path)


def check_geoparquet(path: Path) -> None:
    import_extension("spatial")
    scripts = Path(sys.executable).parent
    gpio = subprocess.run([scripts / "gpio", "check", "all", str(path)], capture_output=True, text=True, check=False)
    assert gpio.returncode == 0, gpio.stdout + gpio.stderr
    # Without the spatial extension gpio skips the specification and still exits 0: only this line proves that it looked.
    assert "Spec Validation" in gpio.stdout, gpio.stdout
    validator = subprocess.run(
        [scripts / "geoparquet-validator", "check", str(path)], capture_output=True, text=True, check=False
    )
    assert validator.returncode == 0, validator.stdout + validator.stderr


def test_the_manifest_names_sources_code_and_tools(published):
    there, _ = published
    manifest = there.platform.records.read(Manifest, there.published(TABLE)[0])
    assert manifest.sources
    assert len(manifest.lock_sha256) == 64
    assert {"pyarrow", "duckdb"} <= set(manifest.tools)


def test_the_torrents_list_immutable_mirror_addresses_only(published):
    there, _ = published
    for version in there.published(TABLE):
        for torrent in there.platform.records.read(Torrents, version).torrents:
            assert len(torrent.web_seeds) >= 2
            assert not any(
                "/processed/ca_statcan-2021A000011124_d4c-datapkg-statistical_98100001.parquet" in s for s in torrent.web_seeds
            )


@pytest.mark.interop
def test_aria2_downloads_an_artifact_from_its_torrent_alone(published, tmp_path):
    there, _ = published
    version = there.published(TABLE)[-1]
    [artifact] = there.platform.records.read(Build, version).artifacts
    [torrent] = there.platform.records.read(Torrents, version).torrents
    (tmp_path / "a.torrent").write_bytes(httpx.get(torrent.url).content)
    quiet = [
        "--seed-time=0",
        "--enable-dht=false",
        "--bt-enable-lpd=false",
        "--console-log-level=warn",
        "--allow-overwrite=true",
    ]
    done = subprocess.run(
        [require("aria2c"), *quiet, "--dir", tmp_path, tmp_path / "a.torrent"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashlib.sha256((tmp_path / torrent.file).read_bytes()).hexdigest() == artifact.digests.sha256


def test_no_secret_reaches_the_portal(published):
    there, _ = published
    env = there.sandbox.env()
    secrets = [env["D4C_ZENODO_TOKEN"].encode(), env["D4C_SOURCE_COOP_SECRET_KEY"].encode()]
    for path in there.sandbox.place.portal.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


def test_a_restamped_but_equal_release_is_recorded_as_seen_and_its_partition_withdrawn(published):
    there, _ = published
    before = set(there.operator.partitions)
    document = there.sandbox.place.releases / "files"
    [outlines] = document.rglob("*.zip")
    original = outlines.stat()
    os.utime(outlines, (original.st_atime + 86400, original.st_mtime + 86400))
    runs = there.work()
    assert runs
    assert all(run.ok for run in runs), [run.trouble for run in runs]
    assert len(there.published(OUTLINES)) == 1
    assert set(there.operator.partitions) == before
    assert there.work() == []


def _tree(portal: Path) -> dict[str, str]:
    return {
        str(path.relative_to(portal)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(portal.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(portal).parts)
    }


def test_the_catalog_is_rebuilt_from_the_records_alone(published):
    there, _ = published
    path = there.sandbox.place.portal / "catalog" / "catalog.parquet"
    before = path.read_bytes()
    path.unlink()
    done = subprocess.run(
        [Path(sys.executable).parent / "d4c", "catalog", "rebuild", "--json"],
        env=os.environ | there.sandbox.env(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert path.read_bytes() == before
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(before).hexdigest()
