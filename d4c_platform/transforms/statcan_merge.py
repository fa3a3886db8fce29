"""Sorted rows and sorted series, put together again group by group: what the writer takes.

Both come as streams in the same order, so only the series of the group at hand are held. Texts stay numbers: a column of a
group is its few distinct texts and an index a row, which Parquet stores the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from d4c_platform.transforms.engine import BATCH_ROWS
from d4c_platform.transforms.parquet import Column
from d4c_platform.transforms.statcan_select import sorted_rows

PERIOD = {"ref_date": "ref_date", "ref_start_date": "first", "ref_end_date": "last", "ref_freq": "freq"}
"""The columns that depend on the period alone, and what `periods` calls them."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What rows are made of: the periods by rank, and the notes by number. Series are streamed from `sorted_series`."""

    periods: pa.Table
    notes: pa.Table


def groups(
    sql: duckdb.DuckDBPyConnection, columns: Sequence[Column], parts: Parts, group_rows: int
) -> Iterator[pa.RecordBatch]:
    """The artifact's rows in their order, `group_rows` at a time; the last group may be shorter."""
    series = _Series(sql.cursor().execute("SELECT * FROM sorted_series ORDER BY rowid").to_arrow_reader(BATCH_ROWS))
    schema = pa.schema([c.written for c in columns])
    periods = max(len(parts.periods), 1)
    for rows in _cut(sql.cursor().execute(sorted_rows(periods)).to_arrow_reader(BATCH_ROWS), group_rows):
        key = rows.column("key").to_numpy()
        place = rows.column("place").to_numpy()
        held = series.between(int(key[0] // periods), int(place.max()))
        sources = (
            (_Texts(parts.periods, key % periods), PERIOD),
            (_Texts(held, place - series.first), {name: name for name in held.column_names}),
            (_Texts(parts.notes, rows.column("note").to_numpy()), {name: name for name in parts.notes.column_names}),
        )
        arrays = []
        for column in columns:
            if column.name == "value":
                arrays.append(pc.cast(rows.column("value").combine_chunks(), column.type))
                continue
            source, names = next(pair for pair in sources if column.name in pair[1])
            arrays.append(source.column(names[column.name], coded=column.coded))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Texts:
    """The rows of a small table that a group needs, each as often as it needs it.

    What is needed is ordered as the group first needs it, so that a dictionary depends on the group's rows alone.
    """

    def __init__(self, table: pa.Table, rows: Numbers) -> None:
        first = np.full(len(table), len(rows))
        first[rows[::-1]] = np.arange(len(rows) - 1, -1, -1)  # of a row that is needed twice, the last assignment stays
        needed = np.flatnonzero(first < len(rows))
        needed = needed[np.argsort(first[needed])]
        where = np.empty(len(table), np.int64)
        where[needed] = np.arange(len(needed))
        self._table = table.take(pa.array(needed))
        self._rows = where[rows]

    def column(self, name: str, *, coded: bool) -> pa.Array:
        values = self._table.column(name).combine_chunks()
        if not coded:
            return values.take(pa.array(self._rows))
        encoded = values.dictionary_encode()
        return pa.DictionaryArray.from_arrays(encoded.indices.take(pa.array(self._rows)), encoded.dictionary)


class _Series:
    """The sorted series, of which those before the group at hand are let go."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        self._held = reader.schema.empty_table()
        self.first = 0  # the place of the first that is held

    def between(self, first: int, last: int) -> pa.Table:
        """Those from `first` to `last`; the next call asks for none before `first`."""
        pieces = [self._held.slice(min(first - self.first, len(self._held)))]
        read = self.first + len(self._held)
        while read <= last:
            batch = pa.Table.from_batches([self._reader.read_next_batch()])
            pieces.append(batch.slice(min(max(first - read, 0), len(batch))))
            read += len(batch)
        self._held, self.first = pa.concat_tables(pieces), first
        return self._held.slice(0, last - first + 1)


def _cut(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """The rows, so many at a time."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in reader:
        waiting.append(batch)
        held += len(batch)
        while held >= rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, rows)
            rest = table.slice(rows)
            waiting, held = rest.to_batches(), len(rest)
    if held:
        yield pa.Table.from_batches(waiting)
