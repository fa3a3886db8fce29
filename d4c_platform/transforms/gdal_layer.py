"""One layer of a file that GDAL reads, as a source of features: Arrow batches that are bounded by bytes, in any format.

GDAL hands over as many features as fit into a limit of bytes. It refuses a feature that is larger than the limit, so that one
is read alone, without a limit, and the reading goes on behind it. Its own fast paths are switched off: they do not keep the
limit (FlatGeobuf reads ten thousand features whatever their size).

Text is what the format says it is; only a shapefile's has to be told. Measures (M) and heights (Z) come through as they are.
Curves have no place in GeoParquet and are refused: straight segments instead would be another geometry than was published.

Not here: which file and which layer (vector_file, shapefile_source), what becomes of the features (layer).
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.crs import Recognised
from d4c_platform.transforms.geometry_file import BATCH_BYTES
from d4c_platform.transforms.layer import READ_ROWS, Opened
from d4c_platform.transforms.machine import PUBLISHERS

MOST_BYTES = 2**31 - 1  # of one feature: what an Arrow array of binaries takes
_TOO_LARGE = "Too large feature"  # what GDAL says of one that does not fit into the limit
_BASE = {"OGR_GPKG_STREAM_BASE_IMPL": "YES", "OGR_FLATGEOBUF_STREAM_BASE_IMPL": "YES"}
_LIMIT = "OGR_ARROW_MEM_LIMIT"
_CURVES = ("CircularString", "CompoundCurve", "CurvePolygon", "MultiCurve", "MultiSurface", "Curve", "Surface")
_NO_PLACE = dict(enumerate((*_CURVES, "PolyhedralSurface", "TIN", "Triangle"), start=8))  # by their code in WKB
_UNREADABLE = (
    DataSourceError,
    DataLayerError,
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    *PUBLISHERS,
    UnicodeError,
    NotImplementedError,  # shapely of curves
    shapely.errors.ShapelyError,
)


@dataclass(slots=True)
class _Read:
    """How far the reading came. `shapes` are those of the last batch, which an error is about."""

    rows: int = 0
    shapes: pa.Array | None = None
    whole: bool = False

    def next(self, batch: pa.RecordBatch, schema: pa.Schema, geometry: str) -> pa.RecordBatch:
        self.rows += batch.num_rows
        self.shapes = batch.column(geometry)
        arrays = [a.storage if isinstance(a, pa.ExtensionArray) else a for a in batch.columns]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def refused(self) -> tuple[int, str] | None:
        """The first feature of the last batch, counted from 1, whose kind of geometry GeoParquet does not know."""
        for place, wkb in enumerate(() if self.shapes is None else self.shapes.to_pylist()):
            if wkb and (kind := _NO_PLACE.get((int.from_bytes(wkb[1:5], "little") & 0xFFFF) % 1000)):
                return self.rows - len(self.shapes or ()) + place + 1, kind
        return None


def _plain(schema: pa.Schema) -> pa.Schema:
    """The columns' types without what Arrow calls extensions (JSON): the values stay what the file holds."""
    fields = (f.with_type(f.type.storage_type) if isinstance(f.type, pa.BaseExtensionType) else f for f in schema)
    return pa.schema([f.remove_metadata() for f in fields])


@dataclass(slots=True)
class GdalLayer:
    """A layer of a file.

    Attributes:
        path: the file or folder; its parent is made for it, and may be removed once it is read.
        name: the file and the layer, for messages.
        layer: its name; None for the only one.
        encoding: of its text; None where the format says it.
        identifier: keep the format's own feature id under this name; None leaves it out, as most publishers renumber it.
    """

    path: Path
    name: str
    recognised: Recognised
    layer: str | None = None
    encoding: str | None = None
    identifier: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        read = _Read()
        try:
            with self._reading(0, READ_ROWS, BATCH_BYTES) as (geometry, reader):
                schema = _plain(reader.schema)
            yield Opened(schema, geometry, self._batches(schema, geometry, read))
        except _UNREADABLE as error:
            raise self._refusal(error, read) from error
        else:
            shutil.rmtree(self.path.parent)  # it is read; the disk is wanted for sorting
        finally:
            pyogrio.set_gdal_config_options({_LIMIT: None, **dict.fromkeys(_BASE)})

    def _batches(self, schema: pa.Schema, geometry: str, read: _Read) -> Iterator[pa.RecordBatch]:
        while not read.whole:
            try:
                with self._reading(read.rows, READ_ROWS, BATCH_BYTES) as (_, reader):
                    for batch in reader:
                        yield read.next(batch, schema, geometry)
                read.whole = True
            except pa.ArrowMemoryError as error:
                if _TOO_LARGE not in str(error):
                    raise
                with self._reading(read.rows, 1, MOST_BYTES) as (_, reader):
                    yield read.next(reader.read_next_batch(), schema, geometry)

    @contextmanager
    def _reading(self, skip: int, rows: int, limit: int) -> Iterator[tuple[str, Any]]:
        """GDAL's stream of features from one on, and the name of its geometry."""
        pyogrio.set_gdal_config_options({_LIMIT: str(limit), **_BASE})
        options = {"layer": self.layer, "encoding": self.encoding, "return_fids": self.identifier is not None}
        with warnings.catch_warnings():
            # That pyogrio's own arrays have no measures: what passes here is GDAL's WKB, which has them.
            warnings.filterwarnings("ignore", message="Measured \\(M\\) geometry types")
            opened = pyogrio.open_arrow(self.path, batch_size=rows, skip_features=skip, use_pyarrow=True, **options)
            with opened as (meta, reader):
                yield meta["geometry_name"] or "wkb_geometry", reader

    def _refusal(self, error: BaseException, read: _Read) -> PermanentFailure:
        if (found := read.refused()) is not None:
            row, kind = found
            better = "with straight segments (ogr2ogr -nlt CONVERT_TO_LINEAR)" if kind in _CURVES else "as polygons"
            return PermanentFailure(
                f"feature {row:,} is a {kind}, which GeoParquet has no place for",
                file=self.name,
                remedy=f"Declare an export {better}, or ask the publisher for one; nothing is bent silently",
            )
        as_text = f" as {self.encoding}" if self.encoding else ""
        return PermanentFailure(
            f"the layer cannot be read{as_text} ({str(error).strip().splitlines()[0]})",
            file=self.name,
            remedy="If its text is damaged, declare the right `encoding`; else fetch the release again"
            if self.encoding
            else "Fetch the release again; if it is the same, tell the publisher",
        )
