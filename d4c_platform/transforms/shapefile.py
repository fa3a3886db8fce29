"""A zipped shapefile to GeoParquet 1.1, in bounded memory.

GDAL streams Arrow batches; each is measured as it passes and kept in DuckDB on disk; then one sort along the Hilbert curve
streams into the writer. No GeoDataFrame holds the layer: pandas would also turn integers with a null into floats.

The geometry stays what the publisher published, in its own CRS: null and invalid shapes are kept and counted. Only when
single and multiple shapes are mixed, as shapefiles mix them, the single ones become multiple ones of one part.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import duckdb
import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from d4c_platform.model.dataset import Dataset, ShapefileTransform
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.naming import DGUID
from d4c_platform.transforms import geo, parquet, shapefile_source
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.crs import Recognised
from d4c_platform.transforms.engine import BATCH_ROWS, engine, quoted
from d4c_platform.transforms.layer_columns import LayerColumn, columns_of, dguids
from d4c_platform.transforms.logical_hash import COVERING, LogicalHash, canonical_order, order_by
from d4c_platform.transforms.shapefile_source import ShapefileSource

READ_ROWS = 10_000  # features that GDAL hands over at once; a province's coastline makes one feature large
_BOUNDS = tuple(f"__{corner}" for corner in geo.CORNERS)
_PLACE = "__hilbert"


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


def build(
    dataset: Dataset, transform: ShapefileTransform, version_id: str, raw: Mapping[str, Path], workdir: Path
) -> BuiltFile:
    """Build the layer.

    Raises:
        PermanentFailure: the archive is not one whole shapefile, or its text or shapes cannot be read.
    """
    zips = [path for name, path in sorted(raw.items()) if name.lower().endswith(".zip")]
    if len(zips) != 1:
        raise PermanentFailure(
            f"a layer's release is one zip, not {sorted(raw)}", file=", ".join(sorted(raw)) or None, remedy="Archive it again"
        )
    source = shapefile_source.unpack(zips[0], transform.encoding, workdir)
    seen = Seen()
    with engine(workdir) as sql:
        columns = _stage(sql, source, dataset, transform, seen)
        shutil.rmtree(source.path.parent)  # it is in DuckDB now; the disk is wanted for sorting
        schema = pa.schema([*(c.column.field for c in columns), pa.field(geo.GEOMETRY, pa.binary())])
        multi = geo.needs_multi(seen.types)
        types = geo.type_names_as_multi(seen.types) if multi else seen.types
        _place(sql, schema, seen, multi=multi)
        order = canonical_order(dataset.key, schema.names)
        written = parquet.write(
            workdir / f"{version_id}.parquet",
            [*(c.column for c in columns), *_geometry_columns()],
            _in_order(sql, schema, f"{_PLACE}, {order_by(order)}", covering=True),
            expected_rows=seen.rows,
            order=order,
            facts={**parquet.describe(dataset, version_id), "crs": source.recognised.code},
            geo=geo.metadata(source.recognised, types, seen.total, ccw=seen.ccw and bool(seen.rows)),
            logical_hash=_hash(sql, schema, order, source.recognised),
        )
        return BuiltFile(
            path=workdir / f"{version_id}.parquet",
            rows=written.rows,
            columns=written.columns,
            logical_hash=written.logical_hash,
            key=dataset.key,
            bbox=seen.wgs84,
            crs=source.recognised.code,
            geometry_types=tuple(sorted(types)),
            counts=MappingProxyType({"source_rows": seen.rows, **seen.counts}),
        )


def _stage(
    sql: duckdb.DuckDBPyConnection, source: ShapefileSource, dataset: Dataset, transform: ShapefileTransform, seen: Seen
) -> tuple[LayerColumn, ...]:
    """Read the layer once into the table `layer`: attributes, WKB, bounds."""
    try:
        with pyogrio.open_arrow(source.path, encoding=source.encoding, batch_size=READ_ROWS, use_pyarrow=True) as (
            meta,
            reader,
        ):
            wkb = meta["geometry_name"] or "wkb_geometry"
            columns = columns_of(reader.schema, wkb, dataset, transform, source.name)
            schema = pa.schema(
                [
                    *(c.column.field for c in columns),
                    pa.field(geo.GEOMETRY, pa.binary()),
                    *(pa.field(n, pa.float64()) for n in _BOUNDS),
                ]
            ).remove_metadata()
            batches = (_measured(batch, wkb, columns, schema, transform, source, seen) for batch in reader)
            _fill(sql, "layer", schema, batches)
    except (
        DataSourceError,
        DataLayerError,
        pa.ArrowException,
        duckdb.Error,
        UnicodeError,
        shapely.errors.ShapelyError,
    ) as error:
        raise PermanentFailure(
            f"the shapefile cannot be read as {source.encoding} ({str(error).strip().splitlines()[0]})",
            file=source.name,
            remedy="If its text is damaged, declare the right `encoding`; else fetch the release again",
        ) from error
    return columns


def _measured(
    batch: pa.RecordBatch,
    wkb: str,
    columns: tuple[LayerColumn, ...],
    schema: pa.Schema,
    transform: ShapefileTransform,
    source: ShapefileSource,
    seen: Seen,
) -> pa.RecordBatch:
    raw = batch.column(wkb)
    geometries = shapely.from_wkb(raw.to_numpy(zero_copy_only=False))
    bounds = shapely.bounds(geometries)
    missing, empty = shapely.is_missing(geometries), shapely.is_empty(geometries)
    seen.rows += batch.num_rows
    seen.types |= geo.type_names(geometries)
    seen.total = geo.union(bounds, seen.total)
    seen.wgs84 = geo.union(geo.wgs84_bounds(geometries, bounds, source.recognised), seen.wgs84)
    seen.ccw = seen.ccw and geo.counter_clockwise(geometries)
    seen.counts["null_geometries"] += int(missing.sum())
    seen.counts["empty_geometries"] += int(empty.sum())
    seen.counts["invalid_geometries"] += int((~shapely.is_valid(geometries) & ~missing).sum())
    arrays = []
    for c in columns:
        values = dguids(batch, transform, source.name) if c.source is None else batch.column(c.source)
        if c.column.name == "dguid":
            seen.counts["invalid_dguids"] += sum(v is not None and not DGUID.fullmatch(str(v)) for v in values.to_pylist())
        if pa.types.is_string(values.type):
            values.validate(full=True)  # bytes that are not the text they were declared to be
        arrays.append(values.cast(c.column.type))
    arrays.append(pa.array(geo.to_wkb(geometries), pa.binary()))
    arrays += [pa.array(bounds[:, i], pa.float64()) for i in range(4)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _place(sql: duckdb.DuckDBPyConnection, schema: pa.Schema, seen: Seen, *, multi: bool) -> None:
    """The table `placed`: the layer with its place on the Hilbert curve and its covering box."""
    total = seen.total or (0.0, 0.0, 0.0, 0.0)
    names = [*schema.names, *_BOUNDS]
    out = pa.schema(
        [
            *schema.remove_metadata(),
            *(pa.field(n, pa.float32()) for n in _BOUNDS),
            pa.field(_PLACE, pa.int64()),
        ]
    )

    def placed() -> Iterator[pa.RecordBatch]:
        selected = ", ".join(map(quoted, names))
        reader = sql.cursor().execute(f"SELECT {selected} FROM layer ORDER BY rowid").to_arrow_reader(READ_ROWS)  # noqa: S608
        for batch in reader:
            arrays = [batch.column(name) for name in schema.names]
            if multi:
                geometries = geo.to_multi(shapely.from_wkb(batch.column(geo.GEOMETRY).to_numpy(zero_copy_only=False)))
                arrays[-1] = pa.array(geo.to_wkb(geometries), pa.binary())
            bounds = np.stack([batch.column(n).to_numpy(zero_copy_only=False) for n in _BOUNDS], axis=1)
            arrays += [pa.array(corner, pa.float32(), from_pandas=True) for corner in geo.outward(bounds).T]
            arrays.append(pa.array(geo.hilbert(bounds, total), pa.int64()))
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


def _in_order(sql: duckdb.DuckDBPyConnection, schema: pa.Schema, order: str, *, covering: bool) -> pa.RecordBatchReader:
    chosen = ", ".join(map(quoted, schema.names))
    if covering:
        corners = ", ".join(f"'{corner}': {quoted(column)}" for corner, column in zip(geo.CORNERS, _BOUNDS, strict=True))
        chosen += f", CASE WHEN {quoted(_BOUNDS[0])} IS NULL THEN NULL ELSE {{{corners}}} END AS {COVERING}"
    return sql.cursor().execute(f"SELECT {chosen} FROM placed ORDER BY {order}").to_arrow_reader(BATCH_ROWS)  # noqa: S608


def _hash(sql: duckdb.DuckDBPyConnection, schema: pa.Schema, order: tuple[str, ...], recognised: Recognised) -> str:
    """The logical hash, in canonical order: the Hilbert order may change with a library, the values do not."""
    hashed = LogicalHash(schema, crs=recognised.code)
    for batch in _in_order(sql, schema, order_by(order), covering=False):
        hashed.update(batch)
    return hashed.hexdigest()


def _geometry_columns() -> tuple[parquet.Column, parquet.Column]:
    box = pa.struct([pa.field(corner, pa.float32()) for corner in geo.CORNERS])
    return (
        parquet.Column(geo.GEOMETRY, pa.binary(), "Geometry", "Géométrie"),
        parquet.Column(COVERING, box, "Bounding box of the geometry", "Rectangle englobant de la géométrie"),
    )
