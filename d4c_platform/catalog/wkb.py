"""Footprints as Well-Known Binary: GeoJSON to WKB and back, and their bounds.

A footprint of the catalog is one of four planar geometry types in longitude, latitude, so the thirty lines below replace a
geometry library: the catalog must open where only pyarrow and httpx are installed.

Not here: the geometry of data (transforms), which needs a real library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from d4c_platform.model.errors import PermanentFailure

_CODES = {"Point": 1, "LineString": 2, "Polygon": 3, "MultiPolygon": 6}  # OGC 06-103r4, table 7
_NAMES = {code: name for name, code in _CODES.items()}

Geometry = Mapping[str, Any]
Bounds = tuple[float, float, float, float]


def to_wkb(geometry: Geometry) -> bytes:
    """The geometry as little-endian WKB, without any Z.

    Raises:
        PermanentFailure: a type that no footprint has.
    """
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in _CODES or not coordinates:
        raise PermanentFailure(f"a footprint cannot be a {kind}", where="catalog", remedy=f"Use one of {', '.join(_CODES)}")
    head = struct.pack("<BI", 1, _CODES[kind])
    match kind:
        case "Point":
            return head + _point(coordinates)
        case "LineString":
            return head + _points(coordinates)
        case "Polygon":
            return head + struct.pack("<I", len(coordinates)) + b"".join(map(_points, coordinates))
        case _:
            parts = [to_wkb({"type": "Polygon", "coordinates": polygon}) for polygon in coordinates]
            return head + struct.pack("<I", len(parts)) + b"".join(parts)


def from_wkb(wkb: bytes) -> dict[str, Any]:
    """The GeoJSON geometry of a footprint's WKB, of either byte order."""
    return _Reader(wkb).geometry()


def bounds(geometry: Geometry) -> Bounds:
    """West, south, east, north."""
    points = list(_walk(geometry["coordinates"]))
    xs, ys = [float(p[0]) for p in points], [float(p[1]) for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def rectangle(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """The outline of a bounding box; a box without width or height is the point or line it really is."""
    corners = [[west, south], [east, south], [east, north], [west, north]]
    if west == east and south == north:
        return {"type": "Point", "coordinates": corners[0]}
    if west == east or south == north:
        return {"type": "LineString", "coordinates": [corners[0], corners[2]]}
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


def _point(point: Any) -> bytes:
    return struct.pack("<2d", float(point[0]), float(point[1]))


def _points(points: Any) -> bytes:
    return struct.pack("<I", len(points)) + b"".join(map(_point, points))


def _walk(coordinates: Any) -> Iterator[Any]:
    if isinstance(coordinates[0], int | float):
        yield coordinates
    else:
        for part in coordinates:
            yield from _walk(part)


class _Reader:
    def __init__(self, wkb: bytes) -> None:
        self._wkb, self._at, self._order = wkb, 0, "<"

    def geometry(self) -> dict[str, Any]:
        self._order = "<" if self._wkb[self._at] == 1 else ">"
        self._at += 1
        (code,) = self._take("I")
        kind = _NAMES.get(code)
        match kind:
            case "Point":
                return {"type": kind, "coordinates": self._xy()}
            case "LineString":
                return {"type": kind, "coordinates": self._many(self._xy)}
            case "Polygon":
                return {"type": kind, "coordinates": self._many(lambda: self._many(self._xy))}
            case "MultiPolygon":
                return {"type": kind, "coordinates": self._many(lambda: self.geometry()["coordinates"])}
        raise PermanentFailure(f"WKB type {code} is not a footprint's", where="catalog")

    def _take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(self._order + form, self._wkb, self._at)
        self._at += struct.calcsize(self._order + form)
        return values

    def _xy(self) -> list[float]:
        return list(self._take("2d"))

    def _many(self, read: Callable[[], Any]) -> list[Any]:
        (count,) = self._take("I")
        return [read() for _ in range(count)]
