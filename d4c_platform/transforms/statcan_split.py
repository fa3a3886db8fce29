"""A full-table CSV whose every row can be read, as numbers: each of its texts is written down once.

A table of a hundred million rows has a few thousand series, and its lines repeat their names, units and coordinates. So a
line is cut in four – its date, its series, its value, and the notes behind it – and dates, series and notes become numbers
while the bytes pass, a hash of each text. What is left are narrow rows that are sorted in a tenth of the time.

This is the quick way, for files that are as they should be. At the first thing that is not – a ragged row, a byte that is no
text, a value that is no number, columns in another order – it gives up, and the file is read again as text, slowly, where
whatever is wrong is found and told (statcan_rows).

Memory is bounded by `PART_BYTES` of text and `KNOWN_BYTES` of known texts, whatever the file's size: beyond, a text is
written down a second time, which makes no difference to what is read.
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.csv_shape import BOM, MAX_RECORD_BYTES, Shape, field_ends, header_of
from d4c_platform.transforms.csv_stage import load
from d4c_platform.transforms.engine import THREADS

PART_BYTES = 64 << 20  # of series text whose numbers are looked up at once
KNOWN_BYTES = 64 << 20  # of distinct texts that are remembered
BLOCK_BYTES = 2 << 20  # what a thread cuts at once: what a processor's cache holds
_NEWLINE, _RETURN, _QUOTE = ord("\n"), ord("\r"), ord('"')

Positions = np.ndarray[Any, np.dtype[np.int64]]


class Irregular(Exception):
    """The file cannot be read the quick way."""


@dataclass(frozen=True, slots=True)
class Places:
    """Which columns are what: the date is the first, then the series, the value, and the notes.

    Attributes:
        value: the place of the value.
        width: how many columns there are.
        decimal: what separates decimals.
    """

    value: int
    width: int
    decimal: str = "."

    @property
    def series(self) -> range:
        return range(1, self.value)

    @property
    def notes(self) -> range:
        return range(self.value + 1, self.width)


@dataclass(slots=True)
class _Cut:
    """The rows of one block: the texts of their parts, and their values."""

    dates: pa.Array
    series: pa.Array
    notes: pa.Array | None
    values: pa.Array


def split(
    sql: duckdb.DuckDBPyConnection, table: str, chunks: Iterable[bytes], places: Places, name: str, workdir: Path
) -> Shape:
    """Read a file into `<table>_rows` (row, series, date, note, value) and the texts its numbers stand for.

    The texts are tables by number: `<table>_series_text`, `<table>_notes_text`, `<table>_dates_text`, their columns named by
    place (c1, c2, …) and their numbers the rowid.

    Args:
        chunks: the file's bytes.

    Raises:
        Irregular: it cannot be read this way; nothing of it is left.
    """
    runs = {"dates": (0,), "series": tuple(places.series), "notes": tuple(places.notes)}
    texts = {run: _Texts(workdir / f"{table}-{run}.csv") for run, columns in runs.items() if columns}
    try:
        blocks = _blocks(chunks, name)
        header, separator = next(blocks)
        if len(header) != places.width:
            raise Irregular
        for run, known in texts.items():
            known.begin(separator.join(f"c{i}" for i in runs[run]))
        sql.execute(f"CREATE TABLE {table}_rows (row BIGINT, series BIGINT, date INTEGER, note INTEGER, value DOUBLE)")
        rows = 0
        for part in _parts(_cuts(blocks, separator, places)):
            numbered = _numbered(part, texts, rows)
            sql.execute(f"INSERT INTO {table}_rows SELECT * FROM numbered")
            rows += len(numbered)
        for run, known in texts.items():
            known.end()
            columns = tuple(f"c{i}" for i in runs[run])
            shape = Shape(columns, separator, known.count, one_line_each=False)
            load(sql, f"{table}_{run}_text", known.path, shape, name, columns)
    except (Irregular, PermanentFailure) as error:
        forget(sql, table)
        raise Irregular from error
    finally:
        for known in texts.values():
            known.close()
    return Shape(header, separator, rows, one_line_each=True)


def forget(sql: duckdb.DuckDBPyConnection, table: str) -> None:
    """Remove what was made of a file."""
    for made in ("rows", "series_text", "notes_text", "dates_text"):
        sql.execute(f"DROP TABLE IF EXISTS {table}_{made}")


def _blocks(chunks: Iterable[bytes], name: str) -> Iterator[Any]:
    """The header and the separator; then the file in blocks of whole records."""
    header = None
    for data in _gathered(chunks):
        if header is None:
            data = data.removeprefix(BOM)
            header = header_of(data, name)
            if header is None:
                raise Irregular
            yield header[:2]
            rest = data[header[2] :]
        else:
            rest += data
        end = _last_end(rest)
        yield rest[:end]
        rest = rest[end:]
        if len(rest) > MAX_RECORD_BYTES:
            raise Irregular
    if header is None:
        raise Irregular
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of `BLOCK_BYTES` or a little more."""
    waiting: list[bytes] = []
    held = 0
    for chunk in chunks:
        waiting.append(chunk)
        held += len(chunk)
        if held >= BLOCK_BYTES:
            yield b"".join(waiting)
            waiting, held = [], 0
    if held:
        yield b"".join(waiting)


def _last_end(data: bytes) -> int:
    """Where the last whole record ends: behind the last line end that an even number of quotes stands before."""
    quotes = np.frombuffer(data, np.uint8) == _QUOTE
    end, before = len(data), np.count_nonzero(quotes)
    while newline := data.rfind(b"\n", 0, end) + 1:
        before -= np.count_nonzero(quotes[newline:end])
        if not before % 2:
            return newline
        end = newline - 1
    return 0


def _cuts(blocks: Iterator[bytes], separator: str, places: Places) -> Iterator[_Cut]:
    """The blocks, cut by a thread each while the next is unpacked, in their order."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[_Cut]] = deque()
        for block in blocks:
            if not block:
                continue
            waiting.append(pool.submit(_cut, block, separator, places))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _cut(block: bytes, separator: str, places: Places) -> _Cut:
    marks = field_ends(block, separator)
    bytes_ = np.frombuffer(block, np.uint8)
    ends_line = bytes_[marks] == _NEWLINE
    records, more = divmod(len(marks), places.width)
    if more or not records or int(ends_line.sum()) != records or not ends_line[places.width - 1 :: places.width].all():
        raise Irregular
    ends = marks.reshape(records, places.width)
    starts = np.concatenate(([0], ends[:-1, -1] + 1))
    ends[:, -1] -= bytes_[ends[:, -1] - 1] == _RETURN
    value_starts, value_ends = ends[:, places.value - 1] + 1, ends[:, places.value]
    quoted = bytes_[value_starts] == _QUOTE
    notes = _texts(block, ends[:, places.value] + 1, ends[:, -1], pa.binary()) if places.notes else None
    return _Cut(
        dates=_texts(block, starts, ends[:, 0], pa.binary()),
        series=_texts(block, ends[:, 0] + 1, ends[:, places.value - 1], pa.binary()),
        notes=notes,
        values=_numbers(_texts(block, value_starts + quoted, value_ends - quoted, pa.string()), places.decimal),
    )


def _texts(block: bytes, starts: Positions, ends: Positions, kind: pa.DataType) -> pa.Array:
    """The pieces of the block between starts and ends, copied behind each other."""
    bounds = np.empty(2 * len(starts) + 1, np.int32)
    bounds[0:-1:2], bounds[1::2], bounds[-1] = starts, ends, ends[-1]
    if (bounds[1:] < bounds[:-1]).any():  # a lone quote, which would end before it begins
        raise Irregular
    both = pa.Array.from_buffers(kind, len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(block)])
    return both.take(pa.array(np.arange(0, len(bounds) - 1, 2, dtype=np.int32)))


def _numbers(texts: pa.Array, decimal: str) -> pa.Array:
    """The values; null where there is no text."""
    if decimal != ".":
        texts = pc.replace_substring(texts, decimal, ".")
    try:
        numbers = pc.cast(pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts), pa.float64())
    except pa.ArrowInvalid as error:
        raise Irregular from error
    if not pc.all(pc.is_finite(numbers), min_count=0).as_py():
        raise Irregular
    return numbers


def _parts(cuts: Iterator[_Cut]) -> Iterator[list[_Cut]]:
    part: list[_Cut] = []
    held = 0
    for cut in cuts:
        part.append(cut)
        held += cut.series.nbytes
        if held > PART_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part


def _numbered(part: list[_Cut], texts: dict[str, _Texts], first: int) -> pa.Table:
    values = pa.chunked_array([cut.values for cut in part])
    numbers = {run: known.numbers(pa.chunked_array([getattr(cut, run) for cut in part])) for run, known in texts.items()}
    return pa.table(
        {
            "row": np.arange(first, first + len(values), dtype=np.int64),
            "series": numbers["series"],
            "date": numbers["dates"].astype(np.int32),
            "note": numbers["notes"].astype(np.int32) if "notes" in numbers else np.zeros(len(values), np.int32),
            "value": values,
        }
    )


@dataclass(slots=True)
class _Texts:
    """Distinct texts of some columns, numbered as they first appear and written to a file in that order."""

    path: Path
    count: int = 0
    _known: pa.Array = field(default_factory=lambda: pa.array([], pa.binary()))
    _first: int = 0  # the number of the first known text
    _file: BinaryIO | None = None

    def begin(self, header: str) -> None:
        self._file = self.path.open("wb")
        self._file.write(header.encode() + b"\n")

    def numbers(self, texts: pa.ChunkedArray) -> Positions:
        """The number of each text.

        Raises:
            Irregular: a text is not UTF-8, or is empty, which a reader would take for no line.
        """
        encoded = texts.dictionary_encode().unify_dictionaries()
        distinct = encoded.chunk(0).dictionary
        found = pc.index_in(distinct, value_set=self._known)
        new = distinct.filter(found.is_null())
        at = np.where(
            found.is_null().to_numpy(zero_copy_only=False),
            self.count + np.cumsum(found.is_null().to_numpy(zero_copy_only=False)) - 1,
            self._first + found.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64),
        )
        self._write(new)
        if self._known.nbytes + new.nbytes > KNOWN_BYTES:
            self._known, self._first = new, self.count - len(new)
        else:
            self._known = pa.concat_arrays([self._known, new])
        return np.concatenate([at[chunk.indices.to_numpy()] for chunk in encoded.chunks])

    def _write(self, new: pa.Array) -> None:
        if self._file is None:
            raise AssertionError("the file was not begun")
        try:
            pc.cast(new, pa.string())
        except pa.ArrowInvalid as error:
            raise Irregular from error
        lines = new.to_pylist()
        if not all(lines):
            raise Irregular
        self._file.writelines(line + b"\n" for line in lines)
        self.count += len(lines)

    def end(self) -> None:
        if self._file is not None:
            self._file.close()

    def close(self) -> None:
        """Remove what is left of the file."""
        self.end()
        self.path.unlink(missing_ok=True)
