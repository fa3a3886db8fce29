"""An export's content is its records, in whatever order they come; and a cut one is never taken for a whole one."""

from __future__ import annotations

import csv
import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4c_platform.sources import unordered as module
from d4c_platform.sources.unordered import Cut, content_of

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
rows = st.lists(st.fixed_dictionaries({"name": text, "note": st.none() | text, "n": st.integers(-(2**53), 2**53)}), max_size=8)
quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)


def as_geojson(records: list[dict[str, Any]], **how: Any) -> bytes:
    features = [{"type": "Feature", "geometry": None, "properties": r} for r in records]
    return json.dumps({"type": "FeatureCollection", "features": features}, **how).encode()


def as_csv(records: list[dict[str, Any]], **how: Any) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, **({"lineterminator": "\r\n"} | how))
    writer.writerow(["name", "note", "n"])
    writer.writerows([r["name"], r["note"], r["n"]] for r in records)
    return "\ufeff".encode() + out.getvalue().encode()


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    schema = pa.schema([("name", pa.string()), ("note", pa.string()), ("n", pa.int64())])
    pq.write_table(pa.Table.from_pylist(records, schema), out, row_group_size=3)
    return out.getvalue()


WRITERS = {"geojson": as_geojson, "csv": as_csv, "parquet": as_parquet}


def content(tmp_path: Path, form: str, body: bytes) -> tuple[int, str]:
    file = tmp_path / "export"
    file.write_bytes(body)
    return content_of(file, form)


@pytest.mark.parametrize("form", WRITERS)
@given(records=rows, seed=st.integers(0, 9))
@quiet
def test_the_same_records_in_any_order_are_the_same_content(tmp_path: Path, form: str, records: list, seed: int) -> None:
    shuffled = random.Random(seed).sample(records, len(records))
    first = content(tmp_path, form, WRITERS[form](records))
    assert content(tmp_path, form, WRITERS[form](shuffled)) == first
    assert first[0] == len(records)


@pytest.mark.parametrize("form", WRITERS)
@given(records=rows.filter(len), seed=st.integers(0, 9))
@quiet
def test_a_changed_lost_or_doubled_record_is_other_content(tmp_path: Path, form: str, records: list, seed: int) -> None:
    at = seed % len(records)
    first = content(tmp_path, form, WRITERS[form](records))
    changed = [*records[:at], records[at] | {"n": records[at]["n"] + 1}, *records[at + 1 :]]
    for other in (changed, records[:at] + records[at + 1 :], [*records, records[at]], [*records, records[at], records[at]]):
        assert content(tmp_path, form, WRITERS[form](other)) != first


@pytest.mark.parametrize("form", WRITERS)
@given(records=rows.filter(len), share=st.floats(0, 1, exclude_max=True))
@quiet
def test_an_export_that_ends_early_is_cut_or_has_fewer_records(tmp_path: Path, form: str, records: list, share: float) -> None:
    whole = WRITERS[form](records)
    try:
        count, _ = content(tmp_path, form, whole[: int(len(whole) * share)])
    except Cut:
        return
    assert form == "csv"  # it has no end of its own, so only the portal's count can tell
    assert count < len(records)


@pytest.mark.parametrize("form", WRITERS)
def test_two_equal_records_do_not_cancel_each_other(tmp_path: Path, form: str) -> None:
    a, b, c = ({"name": name, "note": None, "n": 1} for name in "abc")
    assert content(tmp_path, form, WRITERS[form]([a, a, b])) != content(tmp_path, form, WRITERS[form]([c, c, b]))


def test_spelling_and_the_order_of_keys_are_no_content_and_numbers_are(tmp_path: Path) -> None:
    records = [{"name": "é", "note": None, "n": 1}]
    plain = content(tmp_path, "geojson", as_geojson(records))
    for how in ({"indent": 3}, {"ensure_ascii": False}, {"sort_keys": True}, {"separators": (",", ":")}):
        assert content(tmp_path, "geojson", as_geojson(records, **how)) == plain
    assert content(tmp_path, "geojson", as_geojson(records).replace(b"1}", b"1.5}")) != plain


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_a_value_may_lie_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    body = as_geojson([{"name": "été " * 9, "n": -12.5e3, "note": [True, None]}] * 3, ensure_ascii=False)
    body = body.replace(b"{", b'{"totalFeatures": 31415, ', 1)
    whole = content(tmp_path, "geojson", body)
    monkeypatch.setattr(module, "CHUNK_CHARS", chunk)
    assert content(tmp_path, "geojson", body) == whole


@pytest.mark.parametrize(
    ("form", "body", "why"),
    [
        ("geojson", b"", "breaks off"),
        ("geojson", b"[]", "breaks off or is damaged"),
        ("geojson", b'{"type": "FeatureCollection"}', "has no features"),
        ("geojson", b'{"features": [{"type": "Feature"}]', "is missing"),
        ("geojson", b'{"features": [{"type": "Feature"} {"type": "Feature"}]}', "',' is missing"),
        ("geojson", b'{"features": [3]}', "no feature"),
        ("geojson", b'{"features": []}{"error_code": "Timeout"}', "follows after its end"),
        ("geojson", b'{"features": [\xff]}', "no UTF-8"),
        ("csv", b"", "no header"),
        ("csv", b"a,b\n1,2", "last record does not end"),
        ("csv", b'a,b\n1,"2\n', "last record does not end"),
        ("parquet", b"PAR1", "cannot be read as Parquet"),
        ("parquet", b"<html>", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_whole_export_says_where(tmp_path: Path, form: str, body: bytes, why: str) -> None:
    with pytest.raises(Cut, match=why):
        content(tmp_path, form, body)


def test_a_line_end_in_quotes_is_part_of_the_record(tmp_path: Path) -> None:
    assert content(tmp_path, "csv", b'a,b\n1,"two\nlines, ""quoted"""\n2,3\n')[0] == 2


@pytest.mark.parametrize(("form", "body"), [("geojson", b'{"features": ["' + b"x" * 5000), ("csv", b'a\n"' + b"x\n" * 2500)])
def test_a_record_without_an_end_is_not_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, body: bytes
) -> None:
    monkeypatch.setattr(module, "CHUNK_CHARS", 100)
    monkeypatch.setattr(module, "MOST_RECORD_BYTES", 1000)
    with pytest.raises(Cut, match="a record has more than 1,000"):
        content(tmp_path, form, body)


@pytest.mark.parametrize("form", ["geojson", "csv"])
def test_a_long_export_is_read_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    body = WRITERS[form]([{"name": "é" * 100, "note": None, "n": n} for n in range(10_000)])
    file = tmp_path / "export"
    file.write_bytes(body)
    monkeypatch.setattr(module, "CHUNK_CHARS", 10_000)
    tracemalloc.start()
    try:
        assert content_of(file, form)[0] == 10_000
        assert tracemalloc.get_traced_memory()[1] < len(body) / 5
    finally:
        tracemalloc.stop()
