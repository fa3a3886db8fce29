"""A large table in parts: the same rows in the same order, readable each for itself, and whole again when joined."""

import hashlib
import json
import subprocess
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d4c_platform.transforms import build, changes, logical_hash, parquet, parquet_parts
from d4c_platform_tests.places import recorded
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_native_geometry import validators_accept


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Bounds that a table of a test reaches; a group a part."""
    monkeypatch.setattr(parquet, "SMALL_GROUP_ROWS", 7)
    monkeypatch.setattr(parquet_parts, "LARGE_BYTES", 1)
    monkeypatch.setattr(parquet_parts, "PART_BYTES", 1)


def table(folder):
    rows = [r.row(f"{1990 + i}", c, f"{i}.5", status="E" if i % 3 else "") for i in range(10) for c in ("1.1", "2.10")]
    described = r.metadata_json(folder, data_points=len(rows))
    return r.table_dataset(), r.TABLE_VERSION, r.by_name(r.english_zip(folder, rows), described)


def layer(folder, geoparquet="1.1"):
    raw = r.by_name(recorded("shapefiles", "yukon_electoral_districts_2015.zip"))
    return r.vector_dataset(geoparquet_version=geoparquet), r.LAYER_VERSION, raw


KINDS = pytest.mark.parametrize("made", [table, layer, lambda folder: layer(folder, "2.0")], ids=["table", "1.1", "2.0"])


@KINDS
def test_the_rows_of_the_parts_are_those_of_the_table_in_its_order(tmp_path, made):
    whole = build(*made(tmp_path), tmp_path / "w").path
    parts = parquet_parts.cut(whole, tmp_path / "parts")
    assert [p.name for p in parts] == [f"part-{n:04}.parquet" for n in range(1, len(parts) + 1)]
    assert len(parts) > 1
    assert pa.concat_tables(map(pq.read_table, parts)).equals(pq.read_table(whole))
    facts = [logical_hash.facts_of(path) for path in parts]
    first = 0
    for number, (fact, path) in enumerate(zip(facts, parts, strict=True), 1):
        rows = parquet_parts.rows_of(path)
        assert (fact["part"], fact["parts"], fact["part_first_row"], fact["part_rows"]) == (number, len(parts), first, rows)
        assert fact["logical_hash"] == logical_hash.facts_of(whole)["logical_hash"]
        first += rows


@KINDS
def test_a_part_is_written_like_the_table(tmp_path, made):
    whole = build(*made(tmp_path), tmp_path / "w").path
    part = parquet_parts.cut(whole, tmp_path / "parts")[0]
    here, there = (pq.read_metadata(path) for path in (part, whole))
    assert pq.read_schema(part).equals(pq.read_schema(whole))
    for i in range(there.num_columns):
        mine, its = here.row_group(0).column(i), there.row_group(0).column(i)
        assert (mine.encodings, mine.compression, mine.is_stats_set, mine.has_column_index) == (
            *(its.encodings, its.compression, its.is_stats_set, its.has_column_index),
        )
        assert str(here.schema.column(i).logical_type) == str(there.schema.column(i).logical_type)
    assert here.row_group(0).sorting_columns == there.row_group(0).sorting_columns


@KINDS
def test_joined_they_are_the_table_again_for_who_compares_it(tmp_path, made):
    dataset, version, raw = made(tmp_path)
    built = build(dataset, version, raw, tmp_path / "w")
    joined = tmp_path / "joined.parquet"
    parquet_parts.join(parquet_parts.cut(built.path, tmp_path / "parts"), joined)
    assert logical_hash.of_file(joined, tmp_path) == built.logical_hash
    assert logical_hash.facts_of(joined) == logical_hash.facts_of(built.path)
    assert changes.compare(dataset, version, built.path, version, joined).least_bump == "none"


def test_the_same_table_gives_the_same_parts(tmp_path):
    whole = build(*table(tmp_path), tmp_path / "w").path
    here, there = (
        [hashlib.sha256(p.read_bytes()).digest() for p in parquet_parts.cut(whole, tmp_path / n)] for n in ("a", "b")
    )
    assert here == there


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_a_part_of_a_layer_passes_the_validators_and_says_its_own_extent(tmp_path, version):
    whole = build(*layer(tmp_path, version), tmp_path / "w").path
    parts = parquet_parts.cut(whole, tmp_path / "parts")
    boxes = []
    for path in parts:
        assert validators_accept(path)
        column = json.loads(pq.read_metadata(path).metadata[b"geo"])["columns"]["geometry"]
        boxes.append(column.get("bbox"))
    if version == "1.1":
        assert len({tuple(box) for box in boxes}) == len(parts)


def test_a_large_layer_keeps_small_groups_and_a_large_table_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "SMALL_TABLE_ROWS", 5)
    monkeypatch.setattr(parquet, "LARGE_GROUP_ROWS", 12)
    groups = []
    for made in (table, layer):
        footer = pq.read_metadata(build(*made(tmp_path), tmp_path / made.__name__).path)
        groups.append(footer.row_group(0).num_rows)
    assert groups == [12, 7]


def test_many_groups_make_a_part_until_it_is_full(tmp_path, monkeypatch):
    whole = build(*table(tmp_path), tmp_path / "w").path
    monkeypatch.setattr(parquet_parts, "PART_BYTES", 10**9)
    (part,) = parquet_parts.cut(whole, tmp_path / "parts")
    assert pq.read_metadata(part).num_row_groups == pq.read_metadata(whole).num_row_groups == 3


def test_a_table_that_is_not_large_stays_one_file(tmp_path, monkeypatch):
    whole = build(*table(tmp_path), tmp_path / "w").path
    monkeypatch.setattr(parquet_parts, "LARGE_BYTES", whole.stat().st_size)
    assert parquet_parts.cut(whole, tmp_path / "parts") == ()


def test_duckdb_reads_them_by_a_pattern(tmp_path):
    whole = build(*table(tmp_path), tmp_path / "w").path
    parquet_parts.cut(whole, tmp_path / "parts")
    pattern = tmp_path / "parts" / "part-*.parquet"
    assert duckdb.sql(f"SELECT count(*) FROM '{pattern}'").fetchone() == (20,)


def test_memory_is_that_of_a_group(tmp_path):
    """In a process of its own, so that nothing else is counted."""
    script = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from d4c_platform.transforms import parquet, parquet_parts
folder = Path(sys.argv[1])
rows, groups = 131_072, int(sys.argv[2])
column = parquet.Column("v", pa.float64())
dice = np.random.default_rng(1)
batches = (pa.record_batch([dice.random(rows)], schema=pa.schema([column.field])) for _ in range(groups))
parquet.write(folder / "w.parquet", [column], batches, expected_rows=2_000_000, order=["v"], facts={})
parquet_parts.LARGE_BYTES, parquet_parts.PART_BYTES = 1, 3_000_000
parts = parquet_parts.cut(folder / "w.parquet", folder / "parts")
parquet_parts.join(parts, folder / "joined.parquet")
assert pq.read_metadata(folder / "joined.parquet").num_rows == rows * groups
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""
    peaks = []
    for groups in (4, 40):
        folder = tmp_path / str(groups)
        folder.mkdir()
        done = subprocess.run([sys.executable, "-c", script, folder, str(groups)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 60  # MiB; the table of 40 groups has 36 more than the other
