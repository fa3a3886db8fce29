"""The quick way to read a full table: it gives the very file that reading it as text gives, or gives up."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import archive, build, csv_blocks, distinct_texts, statcan_split
from d4c_platform.transforms.csv_blocks import Irregular
from d4c_platform.transforms.engine import engine
from d4c_platform.transforms.statcan_split import Places
from d4c_platform_tests.transforms import releases as r

PLACES = Places(value=10, width=len(r.HEADER_EN))
# With REF_DATE behind the rest the quick way is not open, and the same table is read as text.
OTHER_ORDER = [*range(1, 15), 0]


def moved(row):
    return [row[i] for i in OTHER_ORDER]


def artifact(folder: Path, name: str, *files: Path):
    return build(r.table_dataset(), r.TABLE_VERSION, r.by_name(*files), folder / name)


def quickly(folder: Path, csv: bytes) -> list[tuple[object, ...]]:
    """What the quick way makes of a file, its numbers looked up again."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    path = r.table_zip(folder / "98100001-eng.zip", csv)
    with engine(folder / "work") as sql, archive.opened(path) as opened:
        member = archive.members(opened)[0]
        try:
            shape = statcan_split.split(sql, "en", opened.chunks(member), PLACES, "t.csv", folder / "work")
        except Irregular:
            assert not sql.execute("SHOW TABLES").fetchall()
            raise
        finally:
            assert [p.suffix for p in (folder / "work").iterdir() if p.is_file()] == []
        rows = sql.execute(
            "SELECT d.ref_date, s.* EXCLUDE code, r.value, n.* EXCLUDE code FROM en_rows r JOIN en_dates d ON d.code = r.date"
            " JOIN en_series s ON s.code = r.series JOIN en_notes n ON n.code = r.note ORDER BY r.row"
        ).fetchall()
    assert len(rows) == shape.records
    return rows


texts = st.text(alphabet='ab ",;é\n', max_size=5)
values = st.one_of(st.just(""), st.decimals(-(10**6), 10**6, places=2).map(str), st.integers(-5, 5).map(str))
rows_of_a_table = st.lists(
    st.tuples(
        st.sampled_from(["2016", "2021", "2021-04", "2016/2017"]),
        st.sampled_from(["1.1", "1.10", "2.1", "2.10"]),
        values,
        st.fixed_dictionaries(
            {
                "status": st.sampled_from(["", "x", "E"]),
                "decimals": st.sampled_from(["0", "2"]),
                "uom": texts,
                "dguid": st.sampled_from(["2021A000011124", "10", ""]),
            }
        ),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[:2],
)


@settings(deadline=None, max_examples=30)
@given(rows=rows_of_a_table, vectors=st.sampled_from(["all", "none", "some"]))
def test_the_file_is_that_of_a_reading_as_text_of_its_rows_backwards_byte_for_byte(tmp_path_factory, rows, vectors):
    folder = tmp_path_factory.mktemp("split")
    named = {"all": {}, "none": {"vector": ""}, "some": {}}[vectors]
    table = [r.row(date, coordinate, value, **(said | named)) for date, coordinate, value, said in rows]
    if vectors == "some":
        table = [[*row[:8], "" if row[9].startswith("2") else row[8], *row[9:]] for row in table]
    described = r.metadata_json(folder, data_points=len(table))
    quick = artifact(folder, "quick", r.english_zip(folder, table), described)
    slow = artifact(folder, "slow", r.english_zip(folder, list(map(moved, reversed(table))), moved(r.HEADER_EN)), described)
    assert quick.path.read_bytes() == slow.path.read_bytes()
    assert (quick.counts, quick.period, quick.rows) == (slow.counts, slow.period, len(table))


@pytest.mark.parametrize(
    ("module", "bound"), [(statcan_split, "PART_BYTES"), (distinct_texts, "KNOWN_BYTES"), (csv_blocks, "BLOCK_BYTES")]
)
def test_bounds_of_memory_change_nothing(tmp_path, monkeypatch, module, bound):
    table = [r.row(str(2000 + i % 7), f"{1 + i % 2}.{1 + 9 * (i // 2 % 2)}", f"{i}.5", uom=f"unit {i % 5}") for i in range(28)]
    zipped = r.english_zip(tmp_path, table)
    expected = artifact(tmp_path, "roomy", zipped).path.read_bytes()
    monkeypatch.setattr(module, bound, 100)
    assert artifact(tmp_path, "tight", zipped).path.read_bytes() == expected


def test_every_text_and_number_is_that_of_the_file(tmp_path):
    table = [
        r.row("2021", "1.1", "-0.10", uom='a "b", c\nd;é'),
        r.row("2016", "2.10", "", status="x"),
        r.row("2016", "1.1", "7"),
    ]
    found = quickly(tmp_path, r.csv_bytes(r.HEADER_EN, table))
    for was, row in zip(table, found, strict=True):
        assert [text or "" for text in (*row[:10], *row[11:])] == [*was[:10], *was[11:]]
        assert row[10] == (float(was[10]) if was[10] else None)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_do_not_matter(tmp_path, newline, last):
    table = [r.row("2021", "1.1", "10.5"), r.row("2021", "2.10", "3.5")]
    csv = r.csv_bytes(r.HEADER_EN, table, newline=newline)
    assert quickly(tmp_path, csv if last else csv.removesuffix(newline.encode())) == quickly(
        tmp_path / "plain", r.csv_bytes(r.HEADER_EN, table)
    )


@pytest.mark.parametrize(("uom", "place"), [("Number", "line 3"), ("a\nb", "row 2 after the header")])
def test_a_row_is_named_by_its_line_where_every_row_has_one(tmp_path, uom, place):
    table = [r.row("2021", uom=uom), r.row("2022")]
    french = [r.row("2021", french=True), r.row("2022", value="9.5", french=True)]
    with pytest.raises(PermanentFailure, match=rf"2022 \({place} of the English file\) the value is 10.5 in English"):
        artifact(tmp_path, "w", r.english_zip(tmp_path, table), r.french_zip(tmp_path, french))


def changed(place: int, text: str) -> bytes:
    table = [r.row("2020"), r.row("2021"), r.row("2022")]
    table[1][place] = text
    return r.csv_bytes(r.HEADER_EN, table)


@pytest.mark.parametrize(
    "csv",
    [
        pytest.param(changed(10, "1 234"), id="a value that is no number"),
        pytest.param(changed(10, "1_000"), id="a value of Python's"),
        pytest.param(changed(10, "inf"), id="a value without an end"),
        pytest.param(changed(10, "nan"), id="no value"),
        pytest.param(changed(1, "Canada").replace(b"Canada", b"Qu\xe9bec"), id="a byte that is no text"),
        pytest.param(changed(14, '1","2'.replace('"', "\x00")).replace(b"\x00", b'"'), id="a field too many"),
        pytest.param(changed(1, "x") + b'"2023"\n', id="a row too short"),
        pytest.param(changed(1, "x") + b"\n", id="a line without a row"),
        pytest.param(changed(1, "x") + b'"2023', id="a quote that never closes"),
        pytest.param(r.csv_bytes(r.HEADER_EN[:-1], [r.row()[:-1]]), id="another header"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_not_as_it_should_be_is_left_to_the_reader_of_text(tmp_path, csv):
    with pytest.raises(Irregular):
        quickly(tmp_path, csv)


def test_texts_are_numbers_of_a_dictionary_in_the_file_and_texts_to_readers(tmp_path):
    table = [r.row(str(1900 + i), "1.1", f"{i}.5") for i in range(120)]
    path = artifact(tmp_path, "built", r.english_zip(tmp_path, table), r.metadata_json(tmp_path, data_points=120)).path
    schema = pq.read_schema(path)
    assert {str(schema.field(n).type) for n in ("geo_en", "geo_fr", "vector", "status", "ref_date")} == {"string"}
    assert schema.field("geo_fr").metadata[b"title_fr"] == "Géographie (français)".encode()
    column = pq.read_metadata(path).row_group(0).column(schema.get_field_index("geo_en"))
    assert "RLE_DICTIONARY" in column.encodings
    assert column.statistics.min == "Canada"
