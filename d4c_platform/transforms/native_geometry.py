"""The geometry type that Parquet has since 2025, for GeoParquet 2.0: WKB that says so itself, with its CRS and statistics.

Arrow writes a column as GEOMETRY when its type is the extension `geoarrow.wkb`; nothing has to be registered for that. Read
back, the column is binary or an extension of binary, as the reading process happens to know the name or not. Everything of
ours goes by the binary below it, so a file of either version has the same logical hash.

1.1 stays the default: programs made before Parquet had the type refuse the whole file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

VERSION = "2.0.0"


class WkbType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow has no types
    """Binary that is WKB. Arrow knows it by its name alone."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        super().__init__(pa.binary(), "geoarrow.wkb")

    def __arrow_ext_serialize__(self) -> bytes:
        return self._said

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Self:
        return cls(serialized)


def is_native(geo: Mapping[str, Any] | None) -> bool:
    """Whether a file with these metadata has its geometry as Parquet's own type."""
    return geo is not None and geo["version"] == VERSION


def native_schema(schema: pa.Schema, geo: Mapping[str, Any]) -> pa.Schema:
    """The schema with Parquet's own type for the geometry. Arrow leaves out longitude and latitude of WGS 84, its default."""
    column = geo["primary_column"]
    said = {"crs": geo["columns"][column]["crs"], "crs_type": "projjson"}
    place = schema.get_field_index(column)
    return schema.set(
        place, schema.field(place).with_type(WkbType(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()))
    )


def as_native(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table of WKB as a table of the native schema; no byte is copied."""
    arrays = [_typed(column, of.type) for column, of in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not isinstance(kind, pa.BaseExtensionType):
        return column
    return pa.chunked_array([pa.ExtensionArray.from_storage(kind, chunk) for chunk in column.chunks], kind)


def native_columns(path: Path) -> frozenset[str]:
    """The columns of a file that are of Parquet's own type: DuckDB needs to be told to see their bytes."""
    schema = pq.read_metadata(path).schema
    columns = (schema.column(i) for i in range(len(schema)))
    return frozenset(c.path for c in columns if c.logical_type.type in ("GEOMETRY", "GEOGRAPHY"))
