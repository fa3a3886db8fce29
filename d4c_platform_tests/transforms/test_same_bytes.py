"""Same input, same bytes: in another process, directory, time zone and locale; and facts that survive an upgrade."""

import hashlib
import itertools
import os
import subprocess
import sys
import textwrap

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4c_platform.transforms import build, engine, logical_hash, statcan_split
from d4c_platform.transforms.logical_hash import LogicalHash, of_file
from d4c_platform_tests.places import ROOT, recorded
from d4c_platform_tests.transforms import releases as r

BUILD = """
    import hashlib, json, sys
    from pathlib import Path
    from d4c_platform.model.dataset import Dataset
    from d4c_platform.transforms import build
    dataset, version, raw, work = json.loads(sys.argv[1])
    built = build(Dataset.model_validate(dataset), version, {n: Path(p) for n, p in raw.items()}, Path(work))
    print(hashlib.sha256(built.path.read_bytes()).hexdigest(), built.logical_hash)
"""


def elsewhere(tmp_path, dataset, version, raw):
    """Build in another process, directory, time zone and locale."""
    import json

    cwd = tmp_path / "élsewhere"
    cwd.mkdir()
    told = json.dumps([dataset.model_dump(mode="json"), version, {n: str(p) for n, p in raw.items()}, str(cwd / "w")])
    environment = {**os.environ, "TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", textwrap.dedent(BUILD), told],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def real(kind, product):
    """A recorded release: a table, or a layer."""
    if kind == "table":
        raw = r.by_name(recorded("statcan", f"{product}-eng.zip"), recorded("statcan", f"{product}.json"))
        return r.table_dataset(), r.TABLE_VERSION, raw
    return r.layer_dataset(), r.LAYER_VERSION, r.by_name(recorded("shapefiles", "yukon_electoral_districts_2015.zip"))


@pytest.mark.parametrize("kind", ["table", "layer"])
def test_two_builds_of_real_releases_give_identical_bytes(tmp_path, kind):
    dataset, version, raw = real(kind, "18100204")
    built = build(dataset, version, raw, tmp_path / "here")
    here = [hashlib.sha256(built.path.read_bytes()).hexdigest(), built.logical_hash]
    assert elsewhere(tmp_path, dataset, version, raw) == here


@pytest.mark.parametrize("kind", ["table", "layer"])
def test_the_number_of_threads_does_not_show(tmp_path, monkeypatch, kind):
    dataset, version, raw = real(kind, "33100036")
    hashes = set()
    for threads in (1, 2):
        for module in (engine, statcan_split):
            monkeypatch.setattr(module, "THREADS", threads)
        hashes.add(hashlib.sha256(build(dataset, version, raw, tmp_path / str(threads)).path.read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_the_order_of_source_rows_does_not_show(tmp_path):
    rows = [r.row(f"{1990 + i}", c, f"{i}.5") for i in range(20) for c in ("1.1", "2.10", "2.1")]
    hashes = set()
    for n, order in enumerate((rows, rows[::-1], rows[7:] + rows[:7])):
        folder = tmp_path / str(n)
        folder.mkdir()
        built = build(r.table_dataset(), r.TABLE_VERSION, r.by_name(r.english_zip(folder, order)), folder / "w")
        hashes.add((hashlib.sha256(built.path.read_bytes()).hexdigest(), built.logical_hash))
    assert len(hashes) == 1


def test_the_file_says_what_it_is_and_nothing_of_pandas_or_of_now(tmp_path):
    built = build(r.table_dataset(), r.TABLE_VERSION, r.by_name(r.english_zip(tmp_path, [r.row()])), tmp_path / "w")
    metadata = pq.read_metadata(built.path).metadata
    assert set(metadata) == {b"d4c", b"ARROW:schema"}
    facts = logical_hash.facts_of(built.path)
    assert (facts["dataset"], facts["version"], facts["logical_hash"]) == (r.TABLE_ID, r.TABLE_VERSION, built.logical_hash)
    assert facts["columns"][0] == {
        "name": "ref_date",
        "en": "Reference period",
        "fr": "Période de référence",
        "original": "REF_DATE",
    }


tables = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.floats(allow_nan=True)),
        st.one_of(st.none(), st.text(max_size=5)),
        st.one_of(st.none(), st.binary(max_size=5)),
        st.one_of(st.none(), st.booleans()),
        st.one_of(st.none(), st.dates()),
    ),
    max_size=12,
)
SCHEMA = pa.schema(
    [("i", pa.int64()), ("f", pa.float64()), ("s", pa.string()), ("b", pa.binary()), ("t", pa.bool_()), ("d", pa.date32())]
)


def as_table(rows):
    return pa.table([pa.array([row[i] for row in rows], f.type) for i, f in enumerate(SCHEMA)], schema=SCHEMA)


def hash_of(table):
    hashed = LogicalHash(table.schema)
    hashed.update(table)
    return hashed.hexdigest()


@settings(deadline=None)
@given(tables, st.lists(st.integers(0, 12), max_size=4))
def test_the_logical_hash_does_not_know_batches_slices_or_dictionaries(rows, cuts):
    table = as_table(rows)
    expected = hash_of(table)
    cut = LogicalHash(SCHEMA)
    edges = sorted({0, len(rows), *(c for c in cuts if c <= len(rows))})
    for begin, end in itertools.pairwise(edges):
        cut.update(table.slice(begin, end - begin))
    packed = table.set_column(2, "s", table["s"].dictionary_encode())
    large = table.set_column(2, "s", table["s"].cast(pa.large_string())).set_column(3, "b", table["b"].cast(pa.large_binary()))
    assert cut.hexdigest() == hash_of(packed) == hash_of(large) == expected


@settings(deadline=None)
@given(tables.filter(bool), st.data())
def test_the_logical_hash_sees_every_changed_value(rows, data):
    at, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, 5))
    other = data.draw(tables.filter(bool))[0][column]
    changed = [tuple(other if (i, j) == (at, column) else v for j, v in enumerate(row)) for i, row in enumerate(rows)]
    same = as_table(changed).equals(as_table(rows)) or repr(changed).replace("-0.0", "0.0") == repr(rows).replace("-0.0", "0.0")
    assert (hash_of(as_table(changed)) == hash_of(as_table(rows))) == same


def test_the_logical_hash_tells_a_moved_boundary_between_texts_and_null_from_empty():
    def of(values):
        return hash_of(pa.table({"s": pa.array(values, pa.string())}))

    assert len({of(["ab", "c"]), of(["a", "bc"]), of(["abc", ""]), of(["abc", None]), of([None, "abc"])}) == 5


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=tables.filter(lambda t: len(t) > 1), data=st.data())
def test_the_logical_hash_of_a_file_does_not_know_row_groups_compression_or_row_order(tmp_path, rows, data):
    shuffled = data.draw(st.permutations(rows))
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    pq.write_table(as_table(rows), one, compression="snappy", row_group_size=3)
    pq.write_table(as_table(shuffled), two, compression="zstd", use_dictionary=False)
    assert of_file(one, tmp_path) == of_file(two, tmp_path)


def test_a_file_rewritten_by_another_library_has_the_same_logical_hash(tmp_path):
    raw = r.by_name(recorded("statcan", "18100204-eng.zip"), recorded("statcan", "18100204.json"))
    built = build(r.table_dataset(), r.TABLE_VERSION, raw, tmp_path / "w")
    other = tmp_path / "other.parquet"
    duckdb.sql(f"COPY (SELECT * FROM '{built.path}' ORDER BY value, vector) TO '{other}' (FORMAT parquet, COMPRESSION gzip)")
    order = logical_hash.facts_of(built.path)["order"]
    assert of_file(other, tmp_path, order) == of_file(built.path, tmp_path) == built.logical_hash
