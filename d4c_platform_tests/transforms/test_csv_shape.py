"""The shape of a CSV: nothing is lenient, and chunks do not matter."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.csv_shape import Shape, ShapeReader
from d4c_platform.transforms.rejects import MOST, Rejects


def shape_of(data: bytes, chunk: int = 1 << 20) -> Shape:
    return passed(data, chunk)[1]


def passed(data: bytes, chunk: int = 1 << 20, rejects: Rejects | None = None) -> tuple[bytes, Shape]:
    reader = ShapeReader("t.csv", rejects=rejects)
    out = b"".join(reader.take(data[i : i + chunk]) for i in range(0, len(data), chunk))
    return out + reader.end(), reader.shape


cells = st.text(alphabet='ab",;é\n', max_size=6)


@given(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3).filter(any), max_size=8),
    chunk=st.integers(1, 40),
    newline=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    last=st.booleans(),
)
def test_every_record_is_counted_however_the_bytes_are_cut(rows, chunk, newline, bom, last):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=newline).writerows([["x", "y", "z"], *rows])
    data = (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()
    shape = shape_of(data if last else data.removesuffix(newline.encode()), chunk)
    assert shape.header == ("x", "y", "z")
    assert shape.records == len(rows)


@given(rows=st.integers(2, 12), data=st.data(), chunk=st.integers(1, 60))
def test_a_ragged_row_is_named_by_its_line_wherever_it_stands(rows, data, chunk):
    lines = ['"a","b","c"', *(f'"{i}","x, y","z"' for i in range(rows))]
    bad = data.draw(st.integers(1, rows))
    lines[bad] += data.draw(st.sampled_from([',"more"', ',""', ","]))
    with pytest.raises(PermanentFailure, match=rf"line {bad + 1} has 4 fields where the header has 3"):
        shape_of(("\n".join(lines) + "\n").encode(), chunk)


def test_a_short_row_is_named_too():
    with pytest.raises(PermanentFailure, match="line 3 has 2 fields where the header has 3"):
        shape_of(b"a,b,c\n1,2,3\n1,2\n1,2,3\n")


def test_lines_are_counted_as_an_editor_counts_them_past_quoted_newlines():
    with pytest.raises(PermanentFailure, match="line 4 has 2 fields"):
        shape_of(b'a,b,c\n1,"2\n2",3\n1,2\n')


def test_a_file_cut_inside_a_quote_is_refused():
    with pytest.raises(PermanentFailure, match="begins on line 3 has a quote that never closes"):
        shape_of(b'a,b\n1,2\n1,"2')


def test_a_blank_line_is_no_record_and_line_numbers_still_hold():
    assert shape_of(b"a,b\n1,2\n\n3,4\n\n").records == 2
    assert not shape_of(b"a,b\n1,2\n\n3,4\n").one_line_each


def test_french_files_are_recognised_by_their_separator():
    assert shape_of(b'\xef\xbb\xbf"A";"B, C";"D"\r\n"1";"2,5";"3"\r\n') == Shape(("A", "B, C", "D"), ";", 1, one_line_each=True)


def test_an_empty_file_has_no_shape():
    with pytest.raises(PermanentFailure, match="no header"):
        shape_of(b"")


@given(
    ragged=st.lists(st.sampled_from(["", "short", "long", "quoted"]), min_size=1, max_size=20),
    chunk=st.integers(1, 60),
)
def test_every_record_passes_as_it_is_or_is_rejected_with_its_line(tmp_path_factory, ragged, chunk):
    rows = {"": '"a","b, ""c"",\u00e9"', "short": '"a"', "long": '"a","b",""', "quoted": '"a,b"'}
    lines = [f"{rows[kind]}\n" for kind in ragged]
    data = b'\xef\xbb\xbf"x","y"\n' + "".join(lines).encode()
    path = tmp_path_factory.mktemp("rejects") / "rejects.csv"
    with Rejects(path) as rejects:
        out, shape = passed(data, chunk, rejects)
    assert out.decode() == '"x","y"\n' + "".join(line for line, kind in zip(lines, ragged, strict=True) if not kind)
    bad = [i + 2 for i, kind in enumerate(ragged) if kind]
    assert (shape.rejected, shape.records + len(bad)) == (tuple(bad), len(ragged))
    assert [shape.place(n) for n in range(shape.records)] == [f"line {i + 2}" for i, kind in enumerate(ragged) if not kind]
    kept = list(csv.DictReader(path.open(encoding="utf-8"))) if rejects.path else []
    assert [(r["place"], r["row"]) for r in kept] == [(f"line {n}", lines[n - 2].removesuffix("\n")) for n in bad]


def test_a_file_that_is_broken_everywhere_is_not_rejected_row_by_row(tmp_path):
    with pytest.raises(PermanentFailure, match="more than 1,000 rows cannot be kept"), Rejects(tmp_path / "r.csv") as rejects:
        passed(b"a,b\n" + b"1\n" * (MOST + 1), rejects=rejects)
    assert not (tmp_path / "r.csv").exists()
