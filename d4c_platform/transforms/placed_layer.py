"""A layer whose rows have their place on the Hilbert curve, read in one order or another.

DuckDB sorts the rows without their shapes and fetches those in the order that came out. Shapes that begin alike are compared
whole, once, so that the order is total and two builds agree.

Not here: where the rows come from (layer), how shapes lie on disk (geometry_file).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import duckdb
import pyarrow as pa

from d4c_platform.transforms import geo
from d4c_platform.transforms.engine import BATCH_ROWS, quoted
from d4c_platform.transforms.geometry_file import GeometryFile, spans
from d4c_platform.transforms.logical_hash import COVERING, order_by

BOUNDS = tuple(f"__{corner}" for corner in geo.CORNERS)
AT, BYTES, BEGINS = "__at", "__bytes", "__begins"  # where a row's shape lies in the geometry file
WHERE = ((AT, pa.int64()), (BYTES, pa.int64()), (BEGINS, pa.binary()))
ROW, PLACE, _TIE = "__row", "__hilbert", "__tie"  # not `rowid`: a publisher may call a column so
BOX = pa.struct([pa.field(corner, pa.float32()) for corner in geo.CORNERS])


def shapes_of(shapes: GeometryFile, batch: pa.RecordBatch) -> list[bytes | None]:
    """The shapes of a batch's rows."""
    where = zip(batch.column(AT).to_pylist(), batch.column(BYTES).to_pylist(), strict=True)
    return [shapes.read(place, size) for place, size in where]


@dataclass(frozen=True, slots=True)
class Placed:
    """The table `placed` and its shapes, to be read in any order."""

    sql: duckdb.DuckDBPyConnection
    shapes: GeometryFile
    schema: pa.Schema

    def break_ties(self) -> None:
        """The table `ties`: rows that differ only behind the beginning of their shape, in the order of the whole shape."""
        others = ", ".join(map(quoted, (*self.schema.names[:-1], BEGINS)))
        tied = self.sql.execute(
            f"SELECT r, {ROW}, {AT}, {BYTES} FROM ("  # noqa: S608 - identifiers are quoted
            f"SELECT {ROW}, {AT}, {BYTES}, dense_rank() OVER (ORDER BY {others}) AS r"
            f" FROM placed WHERE octet_length({BEGINS}) < {BYTES})"
            f" QUALIFY count(*) OVER (PARTITION BY r) > 1 ORDER BY r, {ROW}"
        ).fetchall()
        ids: list[int] = []
        for _, group in groupby(tied, key=itemgetter(0)):
            ids += self.shapes.sorted((identity, place, size) for _, identity, place, size in group)
        ties = pa.table({ROW: pa.array(ids, pa.int64()), _TIE: pa.array(range(len(ids)), pa.int64())})  # noqa: F841
        self.sql.execute("CREATE TABLE ties AS SELECT * FROM ties")

    def in_order(self, order: tuple[str, ...], *, along_hilbert: bool) -> Iterator[pa.RecordBatch]:
        """The rows in canonical order; along the Hilbert curve they have their covering, too."""
        attributes = self.schema.names[:-1]
        by = order_by(BEGINS if name == geo.GEOMETRY else name for name in order)
        if geo.GEOMETRY in order:
            by = by.replace(order_by([BEGINS]), f"{order_by([BEGINS])}, {_TIE} ASC NULLS FIRST")
        chosen = ", ".join([*map(quoted, attributes), AT, BYTES])
        schema = self.schema.remove_metadata()
        if along_hilbert:
            by = f"{PLACE}, {by}"
            corners = ", ".join(f"'{c}': {quoted(column)}" for c, column in zip(geo.CORNERS, BOUNDS, strict=True))
            chosen += f", CASE WHEN {quoted(BOUNDS[0])} IS NULL THEN NULL ELSE {{{corners}}} END AS {COVERING}"
            schema = schema.append(pa.field(COVERING, BOX))
        rows = f"SELECT placed.*, {_TIE} FROM placed LEFT JOIN ties USING ({ROW})"  # noqa: S608 - quoted
        query = f"SELECT {chosen} FROM ({rows}) ORDER BY {by}"  # noqa: S608 - quoted
        for arrived in self.sql.cursor().execute(query).to_arrow_reader(BATCH_ROWS):
            for start, end in spans(arrived.column(BYTES).to_pylist()):
                batch = arrived.slice(start, end - start)
                arrays = [*(batch.column(n) for n in attributes), pa.array(shapes_of(self.shapes, batch), pa.binary())]
                arrays += [batch.column(COVERING)] if along_hilbert else []
                yield pa.RecordBatch.from_arrays([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)
