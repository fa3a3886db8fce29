"""The one Parquet writer of the platform: every artifact is written here, so that all are alike and built the same everywhere.

What is fixed and why: zstd 15 (higher levels gain less than a percent); row groups sized for reading a part over HTTP; page
index; no pandas metadata; our own facts as sorted JSON in the footer. Batches arrive in any size and are cut into row groups
of a fixed number of rows (fewer when shapes are large), so the bytes do not depend on how the rows travelled.

Not here: what the columns mean (statcan_columns, shapefile), the `geo` metadata's content (geo).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import ColumnInfo
from d4c_platform.transforms import native_geometry
from d4c_platform.transforms.logical_hash import COVERING, FACTS, RECIPE, LogicalHash, canonical_order

COMPRESSION, COMPRESSION_LEVEL = "zstd", 15
FIXED = MappingProxyType({"compression": COMPRESSION, "version": "2.6", "data_page_version": "1.0", "write_page_index": True})
"""Options of every file, whatever is in it."""

SMALL_TABLE_ROWS = 1_000_000
SMALL_GROUP_ROWS = 20_000  # below a million rows: a bounding box or a series costs a few hundred kilobytes
LARGE_GROUP_ROWS = 131_072  # above: fewer groups, still under the 150,000 that readers ask for; but layers are read by a window
GROUP_BYTES = 64 << 20  # of geometry in a group: it is held whole when it is written, and often when it is read


@dataclass(frozen=True, slots=True)
class Column:
    """One column to write: its Arrow type, its titles, what the source called it, and a Parquet encoding if one is best.

    Attributes:
        coded: its texts arrive as numbers of a dictionary, as Parquet stores them; readers see the type all the same.
    """

    name: str
    type: pa.DataType
    title_en: str = ""
    title_fr: str = ""
    original: str | None = None
    encoding: str | None = None
    coded: bool = False

    @property
    def own_encoding(self) -> str | None:
        """How the values are packed when not by a dictionary: measured to halve a table of daily figures."""
        if self.encoding or not (pa.types.is_date(self.type) or pa.types.is_floating(self.type)):
            return self.encoding
        return "DELTA_BINARY_PACKED" if pa.types.is_date(self.type) else "PLAIN"

    @property
    def field(self) -> pa.Field:
        said = {"title_en": self.title_en, "title_fr": self.title_fr, "original_name": self.original}
        return pa.field(self.name, self.type, metadata={k: v for k, v in sorted(said.items()) if v})

    @property
    def written(self) -> pa.Field:
        """The field as it arrives."""
        return self.field.with_type(pa.dictionary(pa.int32(), self.type)) if self.coded else self.field


@dataclass(frozen=True, slots=True)
class Written:
    """What the writer counted while it wrote."""

    rows: int
    columns: tuple[ColumnInfo, ...]
    logical_hash: str


def rows_per_group(rows: int, *, spatial: bool = False) -> int:
    """How many rows a row group holds, by the table's size.

    A layer's groups stay small: a window of it lies in one or two, and each is fetched whole (0.1 % of 1.5 million polygons
    moved 31 MB with large groups).
    """
    return SMALL_GROUP_ROWS if spatial or rows < SMALL_TABLE_ROWS else LARGE_GROUP_ROWS


def canonical_json(value: Any) -> bytes:
    """JSON with one spelling only."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def write(
    path: Path,
    columns: Sequence[Column],
    batches: Iterable[pa.RecordBatch],
    *,
    expected_rows: int,
    order: Sequence[str],
    facts: Mapping[str, Any],
    geo: Mapping[str, Any] | None = None,
    logical_hash: str | None = None,
    sorted_by: Sequence[str] = (),
    group_rows: int | None = None,
) -> Written:
    """Write a table.

    Args:
        expected_rows: decides the size of row groups before the first row is seen.
        order: the canonical order of rows, for the logical hash; the batches arrive in it unless the hash is given.
        facts: what the file says of itself in its footer, under ``d4c``.
        geo: GeoParquet metadata, when there is a geometry.
        logical_hash: computed before, when the rows are not written in canonical order.
        sorted_by: leading columns the rows are sorted by, ascending and nulls last, told to readers.
        group_rows: rows of a row group when memory matters more than reading; `rows_per_group` decides without it.
    """
    schema = pa.schema([c.field for c in columns])
    nulls = dict.fromkeys(schema.names, 0)
    hashed = LogicalHash(schema, crs=facts.get("crs"))
    group_rows = group_rows or rows_per_group(expected_rows, spatial=geo is not None)
    native = native_geometry.native_schema(schema, geo) if geo is not None and native_geometry.is_native(geo) else None
    options = _options(columns, native)
    arriving = pa.schema([c.written for c in columns])
    with (
        pq.ParquetWriter(path, native or arriving, sorting_columns=_sorting(schema, sorted_by), **options) as writer,
        ThreadPoolExecutor(2) as pool,
    ):
        rows = 0
        working: list[Future[None]] = []
        # A group is compressed and hashed while the next one is made; never more than these two are held. Who asked for
        # smaller groups wants to hold one, and threads have memory of their own.
        hand_over = _at_once if group_rows < SMALL_GROUP_ROWS else pool.submit
        for group in _groups(batches, arriving, group_rows):
            for work in working:
                work.result()
            kept = native_geometry.as_native(group, native) if native is not None else group
            working = [hand_over(writer.write_table, kept, row_group_size=group_rows)]
            if logical_hash is None:
                working.append(hand_over(hashed.update, group))
            rows += group.num_rows
            for name in nulls:
                nulls[name] += group.column(name).null_count
        for work in working:
            work.result()
        written = Written(
            rows=rows,
            columns=tuple(
                ColumnInfo(name=c.name, type=str(c.type), nulls=nulls[c.name], title_en=c.title_en, title_fr=c.title_fr)
                for c in columns
            ),
            logical_hash=logical_hash or hashed.hexdigest(),
        )
        footer = {FACTS: canonical_json({**facts, **_self_description(written, columns, order)})}
        if geo is not None:
            footer[b"geo"] = canonical_json(geo)
        if arriving != schema:
            footer[b"ARROW:schema"] = base64.b64encode(schema.serialize().to_pybytes())
        writer.add_key_value_metadata(footer)
    return written


def _at_once(work: Callable[..., None], *args: Any, **options: Any) -> Future[None]:
    work(*args, **options)
    done: Future[None] = Future()
    done.set_result(None)
    return done


def _self_description(written: Written, columns: Sequence[Column], order: Sequence[str]) -> dict[str, Any]:
    return {
        "columns": [{"name": c.name, "en": c.title_en, "fr": c.title_fr, "original": c.original} for c in columns],
        "logical_hash": written.logical_hash,
        "logical_hash_recipe": RECIPE,
        "order": list(order),
        "rows": written.rows,
    }


def _options(columns: Sequence[Column], native: pa.Schema | None) -> dict[str, Any]:
    # Box corners never repeat: dictionaries only cost there, and split bytes compress a fifth better.
    covering = [f"{COVERING}.{corner}" for c in columns if c.name == COVERING for corner in ("xmin", "ymin", "xmax", "ymax")]
    encodings = {c.name: c.own_encoding for c in columns if c.own_encoding} | dict.fromkeys(covering, "BYTE_STREAM_SPLIT")
    plain = [c.name for c in columns if c.name != COVERING and not pa.types.is_binary(c.type)]
    return {
        **FIXED,
        "compression_level": COMPRESSION_LEVEL,
        "use_dictionary": [name for name in plain if name not in encodings],
        "column_encoding": encodings or None,
        # WKB in the order of its bytes tells a reader nothing; Parquet's own geometry has a box and its types instead.
        "write_statistics": [*plain, *covering, *(f.name for f in native or () if isinstance(f.type, native_geometry.WkbType))],
        # Columns that arrive coded are read as what they are: the schema of readers is then told in the footer.
        "store_schema": not any(c.coded for c in columns),
    }


def _sorting(schema: pa.Schema, names: Sequence[str]) -> list[pq.SortingColumn] | None:
    return [pq.SortingColumn(schema.get_field_index(n), descending=False, nulls_first=False) for n in names] or None


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema, group_rows: int) -> Iterator[pa.Table]:
    """Tables of `group_rows` rows (the last may be shorter), each column in one contiguous piece.

    A group ends before the row whose geometry would make it larger than `GROUP_BYTES`: that depends on the rows alone.
    """
    waiting: list[pa.RecordBatch] = []
    rows = held = 0
    for batch in batches:
        ends = _ends(batch)
        start = 0
        while start < batch.num_rows:
            before = int(ends[start - 1]) if start else 0
            fitting = int(np.searchsorted(ends, before + GROUP_BYTES - held, side="right")) - start
            take = min(batch.num_rows - start, group_rows - rows, max(fitting, 0 if rows else 1))
            if take:
                waiting.append(batch.slice(start, take))
                start, rows = start + take, rows + take
                held += int(ends[start - 1]) - before
            if not take or rows == group_rows:
                yield _table(waiting, schema)
                waiting, rows, held = [], 0, 0
    if rows:
        yield _table(waiting, schema)


def _ends(batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
    """The bytes of binaries (geometry) up to and with each row."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    return np.cumsum(sizes)


def _table(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    table = pa.Table.from_batches(batches)
    arrays = [pc.cast(table.column(f.name), f.type).combine_chunks() for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def declared_order(dataset: Dataset, names: Sequence[str], file: str) -> tuple[str, ...]:
    """The canonical order of a table's rows.

    Raises:
        PermanentFailure: the declared key names a column that the table does not have.
    """
    if absent := [name for name in dataset.key if name not in names]:
        raise PermanentFailure(
            f"the key is declared as {', '.join(dataset.key)}, but there is no column {', '.join(absent)} (there are"
            f" {', '.join(names)})",
            file=file,
            remedy="Correct `key` in the declaration, or tell the publisher",
        )
    return canonical_order(dataset.key, names)


def describe(dataset: Dataset, version_id: str) -> dict[str, Any]:
    """What every file says of itself: enough for a person who finds it alone."""
    return {
        "dataset": dataset.id,
        "version": version_id,
        "key": list(dataset.key),
        "title": dataset.title.model_dump(),
        "publisher": dataset.publisher.model_dump(),
        "licence": dataset.licence.model_dump(),
    }
