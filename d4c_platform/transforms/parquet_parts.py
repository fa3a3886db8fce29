"""A large table cut into several Parquet files, and put together again.

A file of many gigabytes can be read in part, but not sent again in part: who lost the last megabyte, or holds one province,
wants files of a size that a mirror, a client and a torrent can deal with. So a table that became larger than `LARGE_BYTES` is
published as parts of at most `PART_BYTES`, cut between row groups: rows keep their order, which is the one of the table, so
that a part is a range of it – of series, or of a curve through the area – and its footer says which rows it has.

The table is built, checked and compared whole; parts are what is published. The same table gives the same parts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d4c_platform.transforms import native_geometry
from d4c_platform.transforms.logical_hash import COVERING, FACTS
from d4c_platform.transforms.parquet import COMPRESSION_LEVEL, FIXED, canonical_json

LARGE_BYTES = 2 << 30  # above, a table is cut (the GeoParquet guide's advice)
PART_BYTES = 1 << 30
SAID = ("part", "parts", "part_first_row", "part_rows")  # what a part's footer says besides the table's own facts
ENDING = "part-{:04}.parquet"


def cut(whole: Path, folder: Path) -> tuple[Path, ...]:
    """Write the parts of a table.

    Args:
        folder: where they are written, as `part-0001.parquet`, ….

    Returns:
        The parts in order; none when the table is not large.
    """
    if whole.stat().st_size <= LARGE_BYTES:
        return ()
    file = pq.ParquetFile(whole)
    pieces = list(_pieces(file.metadata))
    folder.mkdir(parents=True)
    options = _options(whole, COMPRESSION_LEVEL)
    first, paths = 0, []
    for number, groups in enumerate(pieces, 1):
        path = folder / ENDING.format(number)
        rows = sum(file.metadata.row_group(g).num_rows for g in groups)
        said = dict(zip(SAID, (number, len(pieces), first, rows), strict=True))
        _write(path, [(file, groups)], said, options)
        paths.append(path)
        first += rows
    return tuple(paths)


def join(parts: Sequence[Path], whole: Path) -> None:
    """Put parts together again to a file with the rows and facts of the table, quickly rather than small."""
    files = [pq.ParquetFile(path) for path in parts]
    _write(whole, [(file, range(file.num_row_groups)) for file in files], None, _options(parts[0], 1))


def rows_of(part: Path) -> int:
    return int(pq.read_metadata(part).num_rows)


def _pieces(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    groups: list[int] = []
    held = 0
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        size = sum(found.column(i).total_compressed_size for i in range(found.num_columns))
        if groups and held + size > PART_BYTES:
            yield groups
            groups, held = [], 0
        groups.append(group)
        held += size
    yield groups


def _write(
    path: Path,
    pieces: Sequence[tuple[pq.ParquetFile, Sequence[int]]],
    said: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> None:
    file = pieces[0][0]
    schema = _schema(file)
    with pq.ParquetWriter(path, schema, **options) as writer:
        for source, groups in pieces:
            for group in groups:
                table = source.read_row_group(group)
                writer.write_table(_typed(table, schema), row_group_size=max(table.num_rows, 1))
        kept = {key: value for key, value in (file.metadata.metadata or {}).items() if key != b"ARROW:schema"}
        facts = {k: v for k, v in json.loads(kept[FACTS]).items() if k not in SAID}
        kept[FACTS] = canonical_json({**facts, **(said or {})})
        if said and b"geo" in kept:
            kept[b"geo"] = canonical_json(_within(json.loads(kept[b"geo"]), file.metadata, pieces[0][1]))
        writer.add_key_value_metadata(kept)


def _schema(file: pq.ParquetFile) -> pa.Schema:
    """The schema as it was written: as it is read, it has numbers of fields and names of extensions that are not ours."""
    said = file.metadata.metadata or {}
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(said[b"ARROW:schema"]))).remove_metadata()
    geo = json.loads(said[b"geo"]) if b"geo" in said else None
    if geo is None or not native_geometry.is_native(geo):
        return schema
    place = schema.get_field_index(geo["primary_column"])
    said_of_it = {k: v for k, v in (schema.field(place).metadata or {}).items() if not k.startswith(b"ARROW:extension")}
    plain = pa.field(geo["primary_column"], pa.binary(), metadata=said_of_it)
    return native_geometry.native_schema(schema.set(place, plain), geo)


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    plain = [
        pa.chunked_array([chunk.storage for chunk in c.chunks], c.type.storage_type)
        if isinstance(c.type, pa.BaseExtensionType)
        else c
        for c in table.columns
    ]
    return native_geometry.as_native(pa.Table.from_arrays(plain, names=schema.names), schema)


def _within(geo: dict[str, Any], metadata: pq.FileMetaData, groups: Sequence[int]) -> dict[str, Any]:
    """The GeoParquet metadata of a part: where a covering tells it, its own bounding box."""
    corners = {}
    for i in range(metadata.num_columns):
        name = metadata.schema.column(i).path
        if not name.startswith(f"{COVERING}."):
            continue
        found = [metadata.row_group(g).column(i).statistics for g in groups]
        known = [s for s in found if s is not None and s.has_min_max]
        if known:
            side = name.removeprefix(f"{COVERING}.")
            corners[side] = min(s.min for s in known) if side.endswith("min") else max(s.max for s in known)
    column = geo["columns"][geo["primary_column"]]
    if len(corners) == len(column.get("bbox", ())):
        column["bbox"] = [corners[side] for side in ("xmin", "ymin", "xmax", "ymax")]
    return geo


def _options(path: Path, level: int) -> dict[str, Any]:
    """How the table was written, column by column, so that its parts are written alike."""
    group = pq.read_metadata(path).row_group(0)
    native = native_geometry.native_columns(path)
    columns = [group.column(i) for i in range(group.num_columns)]
    coded = [c.path_in_schema for c in columns if "RLE_DICTIONARY" in c.encodings]
    plain = {c.path_in_schema: next((e for e in c.encodings if e not in ("RLE", "BIT_PACKED")), "PLAIN") for c in columns}
    return {
        **FIXED,
        "compression_level": level,
        "use_dictionary": coded,
        "column_encoding": {name: encoding for name, encoding in plain.items() if name not in coded} or None,
        "write_statistics": [c.path_in_schema for c in columns if c.is_stats_set or c.path_in_schema in native],
        "store_schema": True,
        "sorting_columns": group.sorting_columns or None,
    }
