"""The logical hash: one SHA-256 of a table's values that survives upgrades of every library.

Parquet bytes depend on the writer, its version, row groups, dictionaries and compression; values do not. So rows are put
in a canonical order (the file names it in its metadata), and each column is hashed for itself as three streams that do not
depend on how the rows are cut into batches: validity (one byte a row), lengths (of texts and binaries), and values in one
canonical encoding – integers as 64-bit, floats as IEEE 754 doubles with one zero and one NaN, dates and times as integers.

Arrow buffers are never hashed as they are: offsets, slices, dictionaries and the bytes behind nulls are accidents. The
GeoParquet covering is left out: it repeats the geometry, rounded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from d4c_platform.transforms.engine import BATCH_ROWS, engine, quoted

RECIPE = 1  # a change of recipe makes every hash incomparable: count it up
FACTS = b"d4c"  # key of our own facts in the Parquet footer
COVERING = "bbox"  # the GeoParquet covering column


def canonical_type(arrow: pa.DataType) -> str:
    """An Arrow type as the hash knows it: how values are packed (dictionary, large, view, extension) does not count."""
    if isinstance(arrow, pa.BaseExtensionType):
        return canonical_type(arrow.storage_type)
    if pa.types.is_dictionary(arrow):
        return canonical_type(arrow.value_type)
    if pa.types.is_large_string(arrow) or str(arrow) == "string_view":
        return "string"
    if pa.types.is_large_binary(arrow) or str(arrow) == "binary_view":
        return "binary"
    return str(arrow)


class LogicalHash:
    """Takes batches in canonical order; gives the hash at the end."""

    def __init__(self, schema: pa.Schema, *, crs: str | None = None) -> None:
        """Args:
        crs: authority code of the geometry's CRS: the same numbers in another CRS are other values.
        """
        self._columns = [_Column(f.name, canonical_type(f.type)) for f in schema if f.name != COVERING]
        self._crs = crs
        self.rows = 0

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        self.rows += batch.num_rows
        for column in self._columns:
            values = batch.column(batch.schema.get_field_index(column.name))
            for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
                column.update(chunk)

    def hexdigest(self) -> str:
        said = {"recipe": RECIPE, "rows": self.rows, "crs": self._crs, "columns": [c.said() for c in self._columns]}
        return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


class _Column:
    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self._validity, self._lengths, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def update(self, array: pa.Array) -> None:
        self._validity.update(_bytes(array.is_valid().to_numpy(zero_copy_only=False), np.uint8))
        if _is_text_or_binary(array.type):
            self._text(array)
        else:
            self._values.update(_numbers(array, self.name))

    def _text(self, array: pa.Array) -> None:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary.cast(pa.large_binary()).take(array.indices)
        array = array.cast(pa.large_binary())
        if array.null_count:  # the bytes behind a null are an accident
            array = pc.fill_null(array, pa.scalar(b"", pa.large_binary()))
        _, offsets, data = array.buffers()
        bounds = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8) if len(array) else np.zeros(1, np.int64)
        self._lengths.update(_bytes(np.diff(bounds), np.dtype("<i8")))
        if data is not None:
            self._values.update(memoryview(data)[bounds[0] : bounds[-1]])

    def said(self) -> list[str]:
        return [self.name, self.kind, *(h.hexdigest() for h in (self._validity, self._lengths, self._values))]


def _is_text_or_binary(kind: pa.DataType) -> bool:
    return canonical_type(kind) in ("string", "binary")


def _numbers(array: pa.Array, name: str) -> memoryview:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _numbers(array.dictionary_decode(), name)
    if pa.types.is_boolean(kind):
        return _bytes(pc.fill_null(array, False).to_numpy(zero_copy_only=False), np.uint8)
    if pa.types.is_floating(kind):
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False).astype("<f8")
        values = np.where(np.isnan(values), np.float64("nan"), values) + 0.0  # one NaN; -0.0 + 0.0 is 0.0
        return _bytes(values, np.dtype("<f8"))
    if pa.types.is_integer(kind):
        return _bytes(pc.fill_null(array, 0).to_numpy(zero_copy_only=False), np.dtype("<u8" if kind == pa.uint64() else "<i8"))
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return _numbers(array.cast(pa.int32()), name)
    if pa.types.is_temporal(kind):
        return _numbers(array.cast(pa.int64()), name)
    raise TypeError(f"column {name!r}: the logical hash knows no canonical form of {kind}")


def _bytes(values: np.ndarray[Any, Any], kind: Any) -> memoryview:
    return np.ascontiguousarray(values, kind).data


def canonical_order(key: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """A total order of rows: the key first, then every other column, so that no tie is left to chance."""
    key = tuple(key)
    return (*key, *(n for n in names if n not in key and n != COVERING))


def order_by(order: Iterable[str]) -> str:
    """The canonical order in SQL; nulls last, texts by their bytes."""
    return ", ".join(f"{quoted(name)} ASC NULLS LAST" for name in order)


def facts_of(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself in its footer."""
    said = (pq.read_metadata(path).metadata or {}).get(FACTS)
    return dict(json.loads(said)) if said else {}


def of_file(path: Path, workdir: Path, order: Iterable[str] | None = None) -> str:
    """The logical hash of a Parquet file's values, computed anew.

    Args:
        order: the canonical order; the file's own (from its footer), or all columns from left to right, when not given.
    """
    schema = pq.read_schema(path)
    bare = schema.remove_metadata()
    facts = facts_of(path)
    order = tuple(order or facts.get("order") or canonical_order((), schema.names))
    names = [n for n in schema.names if n != COVERING]
    kept = pa.schema([bare.field(n) for n in names])
    hashed = LogicalHash(kept, crs=facts.get("crs"))
    with engine(workdir) as sql:
        columns = ", ".join(map(quoted, names))
        reader = sql.execute(f"SELECT {columns} FROM read_parquet(?) ORDER BY {order_by(order)}", [str(path)])  # noqa: S608 - identifiers are quoted
        for batch in reader.to_arrow_reader(BATCH_ROWS):
            hashed.update(pa.RecordBatch.from_arrays([_in_its_unit(batch.column(f.name), f.type) for f in kept], names=names))
    return hashed.hexdigest()


def _in_its_unit(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """DuckDB knows times in microseconds only; the file, and the hash, count in what the publisher's format counts in."""
    return array.cast(kind) if pa.types.is_temporal(kind) else array
