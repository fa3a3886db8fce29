"""A CSV with coordinates in two of its columns, as a layer of points; the columns stay, typed as every CSV's.

A coordinate that is empty, that is no number, or that is no longitude or latitude where the system has those, makes no point:
the row is kept with a null geometry and counted, because the rest of it is as good as it was. (A column that is declared to be
a number still has to be one in every row.) Which system the numbers are in nobody could tell from them: it is declared.

Not here: how the CSV is read and typed (csv_table), what becomes of the points (layer).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import shapely

from d4c_platform.model.dataset import CsvPoints, CsvTransform, Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import csv_table, layer
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.crs import Recognised, recognise
from d4c_platform.transforms.engine import engine, literal
from d4c_platform.transforms.parquet import Column
from d4c_platform.transforms.wrapped import the_file, unwrapped

MEMORY_LIMIT = "256MB"  # of the text's engine while it is only scanned: the layer's engine sorts at the same time
_X, _Y, _HAS = "__x", "__y", "__has"
_WKB = "__wkb"
_LIMITS = (360.0, 90.0)  # longitudes run on beyond the antimeridian in some files; further out is no degree


def build(
    dataset: Dataset, transform: CsvTransform, points: CsvPoints, version_id: str, raw: Mapping[str, Path], workdir: Path
) -> BuiltFile:
    """Build the layer.

    Raises:
        PermanentFailure: a file, a row or a value is not what was declared, or there are no such columns.
    """
    path = the_file(raw, csv_table.ENDINGS)
    source = _Points(path, dataset, transform, points, _declared(points.crs, path.name), workdir)
    return layer.build(dataset, None, points.geoparquet_version, version_id, source, workdir)


def _declared(code: str, file: str) -> Recognised:
    try:
        return recognise(code, file)
    except PermanentFailure as error:
        raise PermanentFailure(
            f"the declared system {code} is none that is known of places on the earth",
            file=file,
            remedy="Correct `points.crs` in the declaration, for instance EPSG:4326",
        ) from error


@dataclass(slots=True)
class _Points:
    """A CSV as a source of features."""

    path: Path
    dataset: Dataset
    transform: CsvTransform
    points: CsvPoints
    recognised: Recognised
    workdir: Path
    counts: dict[str, int] = field(default_factory=lambda: {"absent_coordinates": 0, "bad_coordinates": 0})

    @property
    def name(self) -> str:
        return self.path.name

    @contextmanager
    def opened(self) -> Iterator[layer.Opened]:
        with engine(self.workdir) as sql:
            with unwrapped(self.path) as members:
                parts = csv_table.staged(sql, members, self.transform, self.name, self.workdir)
            columns = csv_table.columns_of(self.dataset, parts[0])
            csv_table.refuse_unreadable(sql, parts, columns)
            x, y = (self._place(name, columns) for name in (self.points.x, self.points.y))
            self.counts["source_files"] = len(parts)
            sql.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
            schema = pa.schema([*(c.field for c in columns), pa.field(_WKB, pa.binary())])
            yield layer.Opened(schema, _WKB, self._batches(sql, columns, schema, x, y))

    def _place(self, name: str, columns: tuple[Column, ...]) -> int:
        names = [c.name for c in columns]
        if name not in names:
            raise PermanentFailure(
                f"the coordinates are declared as {self.points.x} and {self.points.y}, but there is no column {name} (there"
                f" are {', '.join(names)})",
                file=self.name,
                remedy="Correct `points` in the declaration, or tell the publisher",
            )
        return names.index(name)

    def _batches(
        self, sql: duckdb.DuckDBPyConnection, columns: tuple[Column, ...], schema: pa.Schema, x: int, y: int
    ) -> Iterator[pa.RecordBatch]:
        both = f"{csv_table.value_of(x)} IS NOT NULL AND {csv_table.value_of(y)} IS NOT NULL"
        query = f"SELECT {csv_table.made_of(columns)}, {_number(x)} AS {_X}, {_number(y)} AS {_Y}, {both} AS {_HAS}"
        reader = sql.execute(f"{query} FROM {csv_table.TABLE} ORDER BY rowid").to_arrow_reader(layer.READ_ROWS)
        for batch in reader:
            places = np.stack([batch.column(n).to_numpy(zero_copy_only=False) for n in (_X, _Y)], axis=1).astype(np.float64)
            has = batch.column(_HAS).to_numpy(zero_copy_only=False)
            good = np.isfinite(places).all(axis=1)
            if self.recognised.horizontal.is_geographic:
                good &= (np.abs(np.nan_to_num(places)) <= _LIMITS).all(axis=1)
            self.counts["absent_coordinates"] += int((~has).sum())
            self.counts["bad_coordinates"] += int((has & ~good).sum())
            shapes = np.full(len(places), None, dtype=object)
            shapes[good] = shapely.to_wkb(shapely.points(places[good]), byte_order=1, flavor="iso")
            arrays = [batch.column(c.name).cast(c.type) for c in columns]
            yield pa.RecordBatch.from_arrays([*arrays, pa.array(shapes, pa.binary())], schema=schema)


def _number(place: int) -> str:
    """A field as a number; null when it is none."""
    form, value = csv_table.FORMS["double"], csv_table.value_of(place)
    return f"CASE WHEN regexp_full_match({value}, {literal(form.spelling)}) THEN try_cast({value} AS {form.sql}) END"
