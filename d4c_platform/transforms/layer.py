"""A layer – rows with shapes, from whatever format – to GeoParquet, in bounded memory.

A format hands over Arrow batches; each is measured as it passes, its rows go to DuckDB and its shapes to a file beside it; then
one sort along the Hilbert curve streams into the writer. Batches are bounded by bytes, not only by rows: one shape may be
megabytes. No GeoDataFrame holds the layer: pandas would also turn integers with a null into floats.

The geometry stays what the publisher published, in its own CRS: null and invalid shapes are kept and counted. Only when
single and multiple shapes are mixed, as shapefiles mix them, the single ones become multiple ones of one part.

Not here: how a format is opened and read (shapefile, geojson).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import duckdb
import numpy as np
import pyarrow as pa
import shapely

from d4c_platform.model.dataset import Dataset
from d4c_platform.naming import DGUID
from d4c_platform.transforms import geo, parquet
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.crs import Recognised
from d4c_platform.transforms.engine import engine, quoted
from d4c_platform.transforms.geometry_file import GeometryFile, spans
from d4c_platform.transforms.layer_columns import LayerColumn, columns_of, dguids
from d4c_platform.transforms.logical_hash import COVERING, LogicalHash
from d4c_platform.transforms.placed_layer import BOUNDS, BOX, BYTES, PLACE, ROW, WHERE, Placed, shapes_of

READ_ROWS = 10_000  # features that are handed over at once, fewer when they are large


@dataclass(slots=True)
class Seen:
    """What passed by while the layer was read."""

    rows: int = 0
    types: set[str] = field(default_factory=set)
    total: tuple[float, float, float, float] | None = None
    wgs84: tuple[float, float, float, float] | None = None
    ccw: bool = True
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("null_geometries", "empty_geometries", "invalid_geometries", "invalid_dguids"), 0
        )
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A layer that is being read. Its batches have the schema's columns; `wkb` names the one that holds the shapes."""

    schema: pa.Schema
    wkb: str
    batches: Iterable[pa.RecordBatch]


class LayerSource(Protocol):
    """A file of features of one format."""

    @property
    def name(self) -> str:
        """The file, for messages."""
        ...

    @property
    def recognised(self) -> Recognised:
        """The coordinate reference system it declares."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What only the format's reader can count; complete once the layer is read."""
        ...

    def opened(self) -> AbstractContextManager[Opened]:
        """Read it, once; what is wrong with it, also with a batch that was handed over, ends in a failure that names it."""
        ...


def build(
    dataset: Dataset, dguid: str | None, geoparquet: str, version_id: str, source: LayerSource, workdir: Path
) -> BuiltFile:
    """Build the layer.

    Args:
        dguid: the declared rule of the DGUID column.
        geoparquet: the version of the format, 1.1 or 2.0.

    Raises:
        PermanentFailure: its text or shapes cannot be read, or the DGUID rule does not fit it.
    """
    seen = Seen()
    with (
        engine(workdir) as sql,
        GeometryFile(workdir / "shapes.wkb") as read,
        GeometryFile(workdir / "shapes-multi.wkb") as multiplied,
    ):
        columns = _stage(sql, read, source, dataset, dguid, seen)
        schema = pa.schema([*(c.column.field for c in columns), pa.field(geo.GEOMETRY, pa.binary())])
        multi = geo.needs_multi(seen.types)
        types = geo.type_names_as_multi(seen.types) if multi else seen.types
        _place(sql, schema, seen, read, multiplied if multi else None)
        layer = Placed(sql, multiplied if multi else read, schema)
        order = parquet.declared_order(dataset, schema.names, source.name)
        layer.break_ties()
        written = parquet.write(
            workdir / f"{version_id}.parquet",
            [*(c.column for c in columns), *_geometry_columns()],
            layer.in_order(order, along_hilbert=True),
            expected_rows=seen.rows,
            order=order,
            facts={**parquet.describe(dataset, version_id), "crs": source.recognised.identity},
            geo=geo.metadata(source.recognised, types, seen.total, ccw=seen.ccw and bool(seen.rows), version=geoparquet),
            logical_hash=_hash(layer, schema, order, source.recognised),
        )
        return BuiltFile(
            path=workdir / f"{version_id}.parquet",
            rows=written.rows,
            columns=written.columns,
            logical_hash=written.logical_hash,
            key=dataset.key,
            bbox=seen.wgs84,
            crs=source.recognised.identity,
            geometry_types=tuple(sorted(types)),
            counts=MappingProxyType({"source_rows": seen.rows, **seen.counts, **source.counts}),
        )


def _stage(
    sql: duckdb.DuckDBPyConnection, shapes: GeometryFile, source: LayerSource, dataset: Dataset, dguid: str | None, seen: Seen
) -> tuple[LayerColumn, ...]:
    """Read the layer once: attributes and bounds into the table `layer`, WKB into the geometry file."""
    with source.opened() as layer:
        columns = columns_of(layer.schema, layer.wkb, dataset, dguid, source.name)
        schema = pa.schema(
            [
                *(c.column.field for c in columns),
                *(pa.field(n, pa.float64()) for n in BOUNDS),
                *(pa.field(n, kind) for n, kind in WHERE),
                pa.field(ROW, pa.int64()),
            ]
        ).remove_metadata()
        batches = (_measured(batch, layer.wkb, columns, schema, shapes, dguid, source, seen) for batch in layer.batches)
        _fill(sql, "layer", schema, batches)
    return columns


def _measured(
    batch: pa.RecordBatch,
    wkb: str,
    columns: tuple[LayerColumn, ...],
    schema: pa.Schema,
    shapes: GeometryFile,
    dguid: str | None,
    source: LayerSource,
    seen: Seen,
) -> pa.RecordBatch:
    raw = batch.column(wkb)
    geometries = shapely.from_wkb(raw.to_numpy(zero_copy_only=False))
    bounds = shapely.bounds(geometries)
    missing, empty = shapely.is_missing(geometries), shapely.is_empty(geometries)
    before, seen.rows = seen.rows, seen.rows + batch.num_rows
    seen.types |= geo.type_names(geometries)
    seen.total = geo.union(bounds, seen.total)
    seen.wgs84 = geo.union(geo.wgs84_bounds(geometries, bounds, source.recognised), seen.wgs84)
    seen.ccw = seen.ccw and geo.counter_clockwise(geometries)
    seen.counts["null_geometries"] += int(missing.sum())
    seen.counts["empty_geometries"] += int(empty.sum())
    seen.counts["invalid_geometries"] += int((~shapely.is_valid(geometries) & ~missing).sum())
    if measures := int(shapely.has_m(geometries).sum()):
        seen.counts["measured_geometries"] = seen.counts.get("measured_geometries", 0) + measures
    arrays = []
    for c in columns:
        values = dguids(batch, dguid or "", source.name) if c.source is None else batch.column(c.source)
        if c.column.name == "dguid":
            seen.counts["invalid_dguids"] += sum(v is not None and not DGUID.fullmatch(str(v)) for v in values.to_pylist())
        if pa.types.is_string(values.type):
            values.validate(full=True)  # bytes that are not the text they were declared to be
        arrays.append(values.cast(c.column.type))
    arrays += [pa.array(bounds[:, i], pa.float64()) for i in range(4)]
    arrays += _kept(shapes, geo.to_wkb(geometries))
    arrays.append(pa.array(range(before, seen.rows), pa.int64()))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _kept(shapes: GeometryFile, geometries: list[bytes | None]) -> list[pa.Array]:
    return [pa.array(values, kind) for values, (_, kind) in zip(shapes.append(geometries), WHERE, strict=True)]


def _place(
    sql: duckdb.DuckDBPyConnection, schema: pa.Schema, seen: Seen, shapes: GeometryFile, multiplied: GeometryFile | None
) -> None:
    """The table `placed`: the layer with its place on the Hilbert curve and its covering box.

    Args:
        multiplied: where the shapes go as multiple ones, when they have to be.
    """
    total = seen.total or (0.0, 0.0, 0.0, 0.0)
    attributes = schema.names[:-1]
    names = [*attributes, *BOUNDS, *(n for n, _ in WHERE), ROW]
    out = pa.schema(
        [
            *list(schema.remove_metadata())[:-1],
            *(pa.field(n, pa.float32()) for n in BOUNDS),
            *(pa.field(n, kind) for n, kind in WHERE),
            pa.field(ROW, pa.int64()),
            pa.field(PLACE, pa.int64()),
        ]
    )

    def placed() -> Iterator[pa.RecordBatch]:
        selected = ", ".join(map(quoted, names))
        reader = sql.cursor().execute(f"SELECT {selected} FROM layer ORDER BY {ROW}").to_arrow_reader(READ_ROWS)  # noqa: S608
        for arrived in reader:
            for start, end in spans(arrived.column(BYTES).to_pylist()):
                batch = arrived.slice(start, end - start)
                arrays = [batch.column(name) for name in attributes]
                bounds = np.stack([batch.column(n).to_numpy(zero_copy_only=False) for n in BOUNDS], axis=1)
                arrays += [pa.array(corner, pa.float32(), from_pandas=True) for corner in geo.outward(bounds).T]
                if multiplied is None:
                    arrays += [batch.column(n) for n, _ in WHERE]
                else:
                    single = shapely.from_wkb(np.array(shapes_of(shapes, batch), dtype=object))
                    arrays += _kept(multiplied, geo.to_wkb(geo.to_multi(single)))
                arrays += [batch.column(ROW), pa.array(geo.hilbert(bounds, total), pa.int64())]
                yield pa.RecordBatch.from_arrays([a.cast(f.type) for a, f in zip(arrays, out, strict=True)], schema=out)

    _fill(sql, "placed", out, placed())
    sql.execute("DROP TABLE layer")


def _fill(sql: duckdb.DuckDBPyConnection, table: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Make a table of batches, inserting them one by one from this thread.

    Handing DuckDB a reader to pull from would run GDAL, GEOS and PROJ on its threads, which crashed PROJ.
    """
    batch = schema.empty_table()
    sql.execute(f"CREATE TABLE {table} AS SELECT * FROM batch")  # noqa: S608 - our own names
    for batch in batches:  # noqa: B007 - DuckDB reads it by its name
        sql.execute(f"INSERT INTO {table} SELECT * FROM batch")  # noqa: S608 - our own names


def _hash(layer: Placed, schema: pa.Schema, order: tuple[str, ...], recognised: Recognised) -> str:
    """The logical hash, in canonical order: the Hilbert order may change with a library, the values do not."""
    hashed = LogicalHash(schema, crs=recognised.identity)
    for batch in layer.in_order(order, along_hilbert=False):
        hashed.update(batch)
    return hashed.hexdigest()


def _geometry_columns() -> tuple[parquet.Column, parquet.Column]:
    return (
        parquet.Column(geo.GEOMETRY, pa.binary(), "Geometry", "Géométrie"),
        parquet.Column(COVERING, BOX, "Bounding box of the geometry", "Rectangle englobant de la géométrie"),
    )
