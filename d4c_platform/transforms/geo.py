"""What makes a table of geometries a good GeoParquet: spatial order, bounding box covering, metadata.

The covering's corners are 32-bit floats rounded outward, so they cost half and never miss a geometry. Rows follow a Hilbert
curve over the centres of the boxes, so that near things are near in the file and a reader of a small area skips most of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from d4c_platform.transforms.crs import WGS84, Recognised
from d4c_platform.transforms.logical_hash import COVERING

GEOMETRY = "geometry"
HILBERT_LEVEL = 16
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TYPES = ("Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")
_MULTI = {"Point": "MultiPoint", "LineString": "MultiLineString", "Polygon": "MultiPolygon"}

Geometries = NDArray[np.object_]
Floats = NDArray[np.float64]


def hilbert(bounds: Floats, total: tuple[float, float, float, float]) -> NDArray[np.int64]:
    """The place of each box's centre on a Hilbert curve over the total bounds; boxes without numbers come last."""
    side = 1 << HILBERT_LEVEL
    known = np.isfinite(bounds).all(axis=1)
    cells = []
    for low, high in ((0, 2), (1, 3)):
        extent = total[high] - total[low]
        centre = (bounds[known, low] + bounds[known, high]) / 2 - total[low]
        cells.append(
            np.clip((centre / extent * side).astype(np.int64) if extent > 0 else centre.astype(np.int64) * 0, 0, side - 1)
        )
    x, y = cells
    place = np.zeros(len(x), np.int64)
    step = side >> 1
    while step:
        right, upper = (x & step) > 0, (y & step) > 0
        place += step * step * ((3 * right) ^ upper)
        turn = ~upper
        flip = turn & right
        x, y = np.where(flip, side - 1 - x, x), np.where(flip, side - 1 - y, y)
        x, y = np.where(turn, y, x), np.where(turn, x, y)
        step >>= 1
    result = np.full(len(bounds), np.iinfo(np.int64).max, np.int64)
    result[known] = place
    return result


def outward(bounds: Floats) -> NDArray[np.float32]:
    """Boxes as 32-bit floats that still hold what they held."""
    rounded = bounds.astype(np.float32)
    low, high = rounded[:, :2], rounded[:, 2:]
    low = np.where(low > bounds[:, :2], np.nextafter(low, np.float32(-np.inf)), low)
    high = np.where(high < bounds[:, 2:], np.nextafter(high, np.float32(np.inf)), high)
    return np.concatenate([low, high], axis=1)


def type_names(geometries: Geometries) -> set[str]:
    """The names of the types that occur, with their dimensions as Parquet names them; nulls have none."""
    present = geometries[~shapely.is_missing(geometries)]
    said = (shapely.get_type_id(present), shapely.has_z(present), shapely.has_m(present))
    found = set(zip(*(column.tolist() for column in said), strict=True))
    return {f"{_TYPES[kind]} {'Z' * z}{'M' * m}".rstrip() for kind, z, m in found}


def needs_multi(names: Iterable[str]) -> bool:
    """Whether a type occurs both single and multiple, so that the singles have to follow."""
    flat = {name.partition(" ")[0] for name in names}
    return any(single in flat and multi in flat for single, multi in _MULTI.items())


def type_names_as_multi(names: Iterable[str]) -> set[str]:
    """The types after `to_multi`."""
    parted = (name.partition(" ") for name in names)
    return {_MULTI.get(flat, flat) + space + dimensions for flat, space, dimensions in parted}


def to_multi(geometries: Geometries) -> Geometries:
    """Single geometries as multiple geometries of one part; everything else as it is."""
    result = geometries.copy()
    kinds = shapely.get_type_id(geometries)
    for kind, make in ((0, shapely.multipoints), (1, shapely.multilinestrings), (3, shapely.multipolygons)):
        chosen = np.flatnonzero((kinds == kind) & ~shapely.is_empty(geometries))
        if len(chosen):
            result[chosen] = make(geometries[chosen], indices=np.arange(len(chosen)))
    return result


def counter_clockwise(geometries: Geometries) -> bool:
    """Whether every outer ring runs counter-clockwise and every hole clockwise: only then may the metadata say so."""
    parts = shapely.get_parts(geometries[~shapely.is_missing(geometries)])
    polygons = parts[shapely.get_type_id(parts) == 3]
    outer = bool(shapely.is_ccw(shapely.get_exterior_ring(polygons)).all())
    rings, of = shapely.get_rings(polygons, return_index=True)
    holes = rings[np.diff(of, prepend=-1) == 0]
    return outer and not bool(shapely.is_ccw(holes).any())


def to_wkb(geometries: Geometries) -> list[bytes | None]:
    """ISO WKB, little-endian, as GeoParquet asks."""
    return list(shapely.to_wkb(geometries, byte_order=1, flavor="iso"))


def wgs84_bounds(geometries: Geometries, bounds: Floats, recognised: Recognised) -> Floats:
    """The box of all vertices in longitude and latitude, as an array of one box, or none.

    Vertices, not corners of boxes: those of a tilted projection reach degrees beyond the territory.
    """
    if recognised.code == WGS84:
        return bounds
    x, y = shapely.get_coordinates(geometries).T
    longitude, latitude = pyproj.Transformer.from_crs(recognised.horizontal, "OGC:CRS84", always_xy=True).transform(x, y)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    if not known.any():
        return np.empty((0, 4))
    longitude, latitude = longitude[known], latitude[known]
    return np.array([[longitude.min(), latitude.min(), longitude.max(), latitude.max()]])


def union(bounds: Floats, so_far: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
    """The box of all boxes; boxes without numbers do not count."""
    known = bounds[np.isfinite(bounds).all(axis=1)]
    if so_far is not None:
        known = np.concatenate([known, np.array([so_far])])
    if not len(known):
        return None
    low, high = known[:, :2].min(0), known[:, 2:].max(0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def metadata(
    recognised: Recognised,
    types: Iterable[str],
    bbox: tuple[float, float, float, float] | None,
    *,
    ccw: bool,
    version: str = "1.1",
) -> dict[str, Any]:
    """GeoParquet file metadata of version 1.1 or 2.0.

    1.1 has no names for shapes with measures (M), so a file with one says that it does not list its types.
    """
    types = sorted(types)
    unnamed = version == "1.1" and any(name.endswith("M") for name in types)
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [] if unnamed else types,
        "crs": recognised.projjson,
        "edges": "planar",
        "covering": {COVERING: {corner: [COVERING, corner] for corner in CORNERS}},
    }
    if bbox is not None:
        column["bbox"] = list(bbox)
    if ccw:
        column["orientation"] = "counterclockwise"
    return {"version": f"{version}.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
