"""The shape of a CSV: nothing is lenient, and chunks do not matter."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.csv_shape import Shape, ShapeReader


def shape_of(data: bytes, chunk: int = 1 << 20) -> Shape:
    reader = ShapeReader("t.csv")
    for i in range(0, len(data), chunk):
        reader.update(data[i : i + chunk])
    return reader.finish()


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
