"""A full-table CSV whose every row can be read, as numbers: each of its texts is written down once.

A table of a hundred million rows has a few thousand series, and its lines repeat their names, units and coordinates. So a
line is cut in four – its date, its series, its value, and the notes behind it – and dates, series and notes become numbers
while the bytes pass, a hash of each text. What is left are narrow rows that are sorted in a tenth of the time.

This is the quick way, for files that are as they should be. At the first thing that is not – a ragged row, a byte that is no
text, a value that is no number, columns in another order – it gives up, and the file is read again as text, slowly, where
whatever is wrong is found and told (statcan_rows).

Memory is bounded by `PART_BYTES` of text and what distinct_texts remembers, whatever the file's size.
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.csv_blocks import Irregular, blocks
from d4c_platform.transforms.csv_shape import Shape, field_ends
from d4c_platform.transforms.csv_stage import load
from d4c_platform.transforms.distinct_texts import DistinctTexts
from d4c_platform.transforms.engine import THREADS

PART_BYTES = 32 << 20  # of series text whose numbers are looked up at once
_NEWLINE, _RETURN, _QUOTE = ord("\n"), ord("\r"), ord('"')

Positions = np.ndarray[Any, np.dtype[np.int64]]


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
    """The rows of one block: the texts of their parts, their values, and on how many lines they stand."""

    lines: int
    dates: pa.Array
    series: pa.Array
    notes: pa.Array | None
    values: pa.Array


def split(
    sql: duckdb.DuckDBPyConnection, table: str, chunks: Iterable[bytes], places: Places, name: str, workdir: Path
) -> Shape:
    """Read a file into the narrow tables of statcan_rows: `<table>_rows`, `<table>_series`, `<table>_notes`, `<table>_dates`.

    Args:
        chunks: the file's bytes.

    Raises:
        Irregular: it cannot be read this way; nothing of it is left.
    """
    runs = {"dates": (0,), "series": tuple(places.series), "notes": tuple(places.notes)}
    texts = {run: DistinctTexts(workdir / f"{table}-{run}.csv") for run, columns in runs.items() if columns}
    try:
        records = blocks(chunks, name)
        header, separator = next(records)
        if len(header) != places.width:
            raise Irregular
        for run, known in texts.items():
            known.begin(separator.join(f"c{i}" for i in runs[run]))
        sql.execute(f"CREATE TABLE {table}_rows (row BIGINT, series BIGINT, date INTEGER, note INTEGER, value DOUBLE)")
        rows, lines = 0, 0
        for part in _parts(_cuts(records, separator, places)):
            numbered = _numbered(part, texts, rows)
            sql.execute(f"INSERT INTO {table}_rows SELECT * FROM numbered")
            rows += len(numbered)
            lines += sum(cut.lines for cut in part)
        for run, known in texts.items():
            known.end()
            columns = tuple(f"c{i}" for i in runs[run])
            shape = Shape(columns, separator, known.count, one_line_each=False)
            load(sql, f"{table}_{run}_text", known.path, shape, name, columns)
            named = "c0 AS ref_date" if run == "dates" else "*"
            sql.execute(f"CREATE VIEW {table}_{run} AS SELECT rowid AS code, {named} FROM {table}_{run}_text")
        if not places.notes:
            sql.execute(f"CREATE VIEW {table}_notes AS SELECT 0 AS code")
    except (Irregular, PermanentFailure) as error:
        forget(sql, table)
        raise Irregular from error
    finally:
        for known in texts.values():
            known.close()
    return Shape(header, separator, rows, one_line_each=lines == rows and not any("\n" in name for name in header))


def forget(sql: duckdb.DuckDBPyConnection, table: str) -> None:
    """Remove what was made of a file."""
    sql.execute(f"DROP TABLE IF EXISTS {table}_rows")
    for run in ("series", "notes", "dates"):
        sql.execute(f"DROP VIEW IF EXISTS {table}_{run}")
        sql.execute(f"DROP TABLE IF EXISTS {table}_{run}_text")


def _cuts(records: Iterator[bytes], separator: str, places: Places) -> Iterator[_Cut]:
    """The blocks, cut by a thread each while the next is unpacked, in their order."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[_Cut]] = deque()
        for block in records:
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
        lines=block.count(b"\n"),
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


def _numbered(part: list[_Cut], texts: dict[str, DistinctTexts], first: int) -> pa.Table:
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
