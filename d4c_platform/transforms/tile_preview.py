"""Tiles of a layer to look at: a small PMTiles beside the data, drawn from the built GeoParquet.

A preview shows where things are and is no data: shapes are simplified to a pixel of the largest scale, and only the key goes
along. It is bounded in features and bytes. GDAL's tile writer keeps to a size by leaving features out of a tile without a word,
so its limits are set beyond ours: when the result is too large, every second feature is left out of the whole preview, and
again, until it fits – and the archive's own description, and the record, say how many are drawn.

Not here: the SVG that a person sees first (preview), tiles that a publisher made (tiles).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyogrio.raw
import shapely
from pyogrio.errors import CRSError, DataLayerError, DataSourceError

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import geo, pmtiles_file
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.tiles import described

LAYER = "data"
MOST_FEATURES = 10_000  # beyond it the writer takes minutes, and a screen shows no more
MOST_SHAPES = 64 << 20  # bytes of all simplified shapes
MOST_FILE = 32 << 20
MOST_TILE = 1 << 20  # bytes of one tile, packed: what a phone loads without a pause
LARGEST_SCALE = 4  # zooms beyond the one at which the layer fills one tile
ZOOMS = (3, 13)  # the largest zoom is never below the first nor beyond the second
PIXELS = 512  # a tile on a screen
BATCH_ROWS = 5_000
_NO_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The features of one attempt."""

    shapes: list[bytes]
    keys: list[list[str | None]]
    features: int
    without_shape: int

    @property
    def counts(self) -> dict[str, int]:
        return {"features": self.features, "features_drawn": len(self.shapes), "null_geometries": self.without_shape}


def tiles(dataset: Dataset, version_id: str, built: BuiltFile, workdir: Path) -> BuiltFile | None:
    """The preview of a built layer; None when it has no shape to draw.

    Args:
        built: the GeoParquet; only read.
    """
    if built.bbox is None or built.crs is None:
        return None
    zoom = largest_zoom(built.bbox)
    path = workdir / f"{version_id}.pmtiles"
    every = max(1, -(-built.rows // MOST_FEATURES))
    while True:
        drawn = _chosen(dataset, built.path, every)
        if not drawn.shapes:
            return None
        alone = len(drawn.shapes) == 1  # it cannot be less
        if alone or sum(map(len, drawn.shapes)) <= MOST_SHAPES:
            _write(path, dataset, drawn, built.crs, zoom)
            contents = pmtiles_file.read(path)
            if alone or (path.stat().st_size <= MOST_FILE and contents.longest <= MOST_TILE):
                return described(path, contents, {"drawn": _told(drawn), "source_format": "GeoParquet"}, drawn.counts)
        every *= 2


def largest_zoom(bbox: tuple[float, float, float, float]) -> int:
    """The zoom up to which tiles are made: a few beyond the one at which the layer fills a tile."""
    west, south, east, north = bbox
    extent = max(east - west, (north - south) * 2, 360 / 2**20)  # a degree of latitude is about two of longitude in Canada
    return min(max(math.floor(math.log2(360 / extent)) + LARGEST_SCALE, ZOOMS[0]), ZOOMS[1])


def _chosen(dataset: Dataset, path: Path, every: int) -> _Drawn:
    """Every so many-th feature of those with a shape, simplified to a pixel of the largest zoom."""
    shapes: list[bytes] = []
    keys: list[list[str | None]] = [[] for _ in dataset.key]
    features = without = 0
    with pq.ParquetFile(path) as file:
        tolerance = _tolerance(file)
        for batch in _batches(file, [geo.GEOMETRY, *dataset.key]):
            found = shapely.from_wkb(batch.column(geo.GEOMETRY).to_numpy(zero_copy_only=False), on_invalid="ignore")
            visible = ~(shapely.is_missing(found) | shapely.is_empty(found))
            without += int((~visible).sum())
            place = np.cumsum(visible) - 1 + features
            features += int(visible.sum())
            chosen = np.flatnonzero(visible & (place % every == 0))
            shapes.extend(shapely.to_wkb(shapely.force_2d(shapely.simplify(found[chosen], tolerance))))
            for values, name in zip(keys, dataset.key, strict=True):
                values += [None if v is None else str(v) for v in batch.column(name).take(pa.array(chosen)).to_pylist()]
            if len(shapes) > 1 and sum(map(len, shapes)) > MOST_SHAPES:
                break  # this attempt is lost; the next one takes fewer
    return _Drawn(shapes, keys, features, without)


def _tolerance(file: pq.ParquetFile) -> float:
    """A pixel of the largest zoom, in the layer's own unit."""
    said: dict[str, Any] = json.loads((file.metadata.metadata or {}).get(b"geo", b"{}"))
    box = said["columns"][geo.GEOMETRY].get("bbox", [0.0, 0.0, 0.0, 0.0])
    low, high = box[: len(box) // 2], box[len(box) // 2 :]
    extent = float(max(high[0] - low[0], high[1] - low[1]))
    return extent / (PIXELS << LARGEST_SCALE)


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for group in range(file.num_row_groups):  # never beyond a row group, whose bytes the writer bounds
        yield from file.iter_batches(BATCH_ROWS, columns=columns, row_groups=[group])


def _write(path: Path, dataset: Dataset, drawn: _Drawn, crs: str, zoom: int) -> None:
    path.unlink(missing_ok=True)
    try:
        _tiled(path, dataset, drawn, crs, zoom)
    except (DataSourceError, DataLayerError, CRSError) as error:
        raise PermanentFailure(
            f"the preview could not be drawn ({str(error).strip().splitlines()[0]})",
            where="transform",
            dataset=dataset.id,
            remedy="Take `preview` out of the declaration, and tell us",
        ) from error


def _tiled(path: Path, dataset: Dataset, drawn: _Drawn, crs: str, zoom: int) -> None:
    pyogrio.raw.write(
        path,
        np.array(drawn.shapes, dtype=object),
        [np.array(values, dtype=object) for values in drawn.keys],
        list(dataset.key),
        layer=LAYER,
        driver="PMTiles",
        geometry_type="Unknown",
        crs=crs,
        NAME=dataset.title.en,
        DESCRIPTION=_told(drawn),
        TYPE="overlay",
        MINZOOM=0,
        MAXZOOM=zoom,
        MAX_SIZE=_NO_LIMIT,
        MAX_FEATURES=_NO_LIMIT,
    )


def _told(drawn: _Drawn) -> str:
    """What the preview shows and what it does not, in both languages."""
    shown, all_ = len(drawn.shapes), drawn.features
    return (
        f"Preview, not data: {shown:,} of {all_:,} features, simplified; those smaller than a pixel are not drawn at "
        f"that scale; {drawn.without_shape:,} have no geometry. | "
        f"Aperçu, non des données : {shown} entités sur {all_}, simplifiées; celles plus petites qu'un pixel ne sont pas "
        f"dessinées à cette échelle; {drawn.without_shape} sont sans géométrie."
    )
