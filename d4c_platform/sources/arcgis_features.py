"""The features of an ArcGIS answer as canonical GeoJSON: one spelling a feature, whichever format the server speaks.

A line is a feature of RFC 7946: sorted keys, UTF-8, WGS 84, the object id as its `id`, outer rings counterclockwise. ArcGIS
turns them the other way round, tells outer rings from holes by nothing else, and puts all rings of all parts into one list.
What does not fit GeoJSON (true curves, multipatches) is refused, never flattened: the server does that better when it is asked.

Attributes stay as they are served (dates in milliseconds since 1970): what they mean, the layer's metadata says.

Not here: asking for them (arcgis_layer), in which order (arcgis_walk).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from d4c_platform.model.errors import PermanentFailure

WHERE = "arcgis"
KINDS = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"})

Position = Sequence[float]
Ring = list[Position]


@dataclass(frozen=True, slots=True)
class Row:
    """One feature: its object id, and its canonical line without a line break."""

    oid: int
    line: bytes


def from_geojson(feature: Any, oid_field: str) -> Row:
    """A feature of an `f=geojson` answer.

    Raises:
        PermanentFailure: it is none that can be kept; the sentence names it.
    """
    if not isinstance(feature, dict) or not isinstance(feature.get("properties"), dict):
        raise _unreadable("an answer holds something that is no feature with properties")
    properties = feature["properties"]
    oid = _oid(properties.get(oid_field, feature.get("id")), oid_field)
    return _row(oid, _turned(feature.get("geometry"), oid), properties)


def from_esri(feature: Any, oid_field: str) -> Row:
    """A feature of an `f=json` answer.

    Raises:
        PermanentFailure: as `from_geojson`.
    """
    if not isinstance(feature, dict) or not isinstance(feature.get("attributes"), dict):
        raise _unreadable("an answer holds something that is no feature with attributes")
    attributes = feature["attributes"]
    oid = _oid(attributes.get(oid_field), oid_field)
    return _row(oid, _converted(feature.get("geometry"), oid), attributes)


def _row(oid: int, geometry: dict[str, Any] | None, properties: dict[str, Any]) -> Row:
    feature = {"type": "Feature", "id": oid, "geometry": geometry, "properties": properties}
    try:
        text = json.dumps(feature, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return Row(oid, text.encode())
    except ValueError as error:  # half a surrogate pair, or a number that JSON has no word for
        raise _unreadable(f"the feature with object id {oid} cannot be written as JSON in UTF-8 ({error})") from error


def _oid(value: Any, oid_field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unreadable(f"a feature's object id ({oid_field}) is {value!r}, which is no whole number")
    return value


def _turned(geometry: Any, oid: int) -> dict[str, Any] | None:
    """A GeoJSON geometry with nothing in it but its type and its coordinates, its rings turned as RFC 7946 wants them."""
    if geometry is None:
        return None
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in KINDS or not isinstance(geometry.get("coordinates"), list):
        raise _unreadable(f"the geometry of the feature with object id {oid} is no GeoJSON that a layer has: {kind!r}")
    coordinates = geometry["coordinates"]
    if not coordinates:
        return None
    try:
        if kind == "Polygon":
            coordinates = _polygon(coordinates)
        elif kind == "MultiPolygon":
            coordinates = [_polygon(polygon) for polygon in coordinates]
    except (TypeError, IndexError, ValueError) as error:
        raise _unreadable(f"the rings of the feature with object id {oid} cannot be read") from error
    return {"type": kind, "coordinates": coordinates}


def _converted(geometry: Any, oid: int) -> dict[str, Any] | None:
    """An Esri geometry as GeoJSON; None when it is empty."""
    if not geometry:
        return None
    about = f"the geometry of the feature with object id {oid}"
    if not isinstance(geometry, dict):
        raise _unreadable(f"{about} cannot be read")
    if "curveRings" in geometry or "curvePaths" in geometry:
        raise _unreadable(f"{about} has true curves, which GeoJSON cannot hold and which were not asked for")
    places = 3 if geometry.get("hasZ") or "z" in geometry else 2
    try:
        if "x" in geometry:
            return _point(geometry)
        if "points" in geometry:
            return _parts("MultiPoint", _positions(geometry["points"], places))
        if "paths" in geometry:
            paths = [_positions(path, places) for path in geometry["paths"] if path]
            return _parts("LineString", paths[0]) if len(paths) == 1 else _parts("MultiLineString", paths)
        if "rings" in geometry:
            polygons = _polygons([_positions(ring, places) for ring in geometry["rings"] if ring])
            return _parts("Polygon", polygons[0]) if len(polygons) == 1 else _parts("MultiPolygon", polygons)
    except (TypeError, IndexError, ValueError) as error:
        raise _unreadable(f"{about} cannot be read") from error
    raise _unreadable(f"{about} is of a kind that GeoJSON has no word for ({', '.join(sorted(geometry))})")


def _point(geometry: dict[str, Any]) -> dict[str, Any] | None:
    if geometry["x"] in (None, "NaN") or geometry.get("y") in (None, "NaN"):
        return None  # how Esri writes an empty point
    z = geometry.get("z")
    position = [geometry["x"], geometry["y"], *([z] if _is_number(z) else [])]
    return {"type": "Point", "coordinates": _positions([position], 3)[0]}


def _parts(kind: str, coordinates: list[Any]) -> dict[str, Any] | None:
    return {"type": kind, "coordinates": coordinates} if coordinates else None


def _positions(positions: Iterable[Any], places: int) -> Ring:
    """Positions without what GeoJSON has no place for: a measure, or a height that is none.

    Raises:
        TypeError: one of them is no position.
    """
    kept: Ring = []
    for position in positions:
        if not isinstance(position, list) or len(position) < 2 or not all(_is_number(number) for number in position[:2]):
            raise TypeError("no position")  # an arc among the points of a path is an object
        height = position[2:3] if places == 3 and _is_number(position[2] if len(position) > 2 else None) else []
        kept.append([*position[:2], *height])
    return kept


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _polygon(rings: Sequence[Ring]) -> list[Ring]:
    """The rings of one polygon, the outer one first: it counterclockwise, the holes clockwise."""
    return [_wound(ring, clockwise=number > 0) for number, ring in enumerate(rings)]


def _wound(ring: Ring, *, clockwise: bool) -> Ring:
    closed = ring if ring[0] == ring[-1] else [*ring, ring[0]]
    return closed if (_twice_area(closed) < 0) == clockwise else closed[::-1]


def _twice_area(ring: Ring) -> float:
    """Twice the enclosed area; negative when the ring runs clockwise."""
    x0, y0 = ring[0][:2]  # near the origin the differences are exact enough for the smallest parcel
    return math.fsum((a[0] - x0) * (b[1] - y0) - (b[0] - x0) * (a[1] - y0) for a, b in pairwise(ring))


def _polygons(rings: Sequence[Ring]) -> list[list[Ring]]:
    """Polygons from Esri's one list of rings: clockwise ones are outer, each hole belongs to the smallest one around it.

    A counterclockwise ring that lies in none is drawn by ArcGIS as filled, so it is a polygon of its own.
    """
    closed = [ring if ring[0] == ring[-1] else [*ring, ring[0]] for ring in rings]
    outers = [_Outer(ring) for ring in closed if _twice_area(ring) <= 0]
    alone = []
    for hole in (ring for ring in closed if _twice_area(ring) > 0):
        around = [outer for outer in outers if outer.holds(hole)]
        if around:
            min(around, key=lambda outer: outer.area).holes.append(hole)
        else:
            alone.append([hole])
    return [_polygon([outer.ring, *outer.holes]) for outer in outers] + [_polygon(rings) for rings in alone]


class _Outer:
    """An outer ring, with the holes that were found in it."""

    def __init__(self, ring: Ring) -> None:
        self.ring, self.area = ring, abs(_twice_area(ring))
        self.holes: list[Ring] = []
        self._box = _box(ring)

    def holds(self, hole: Ring) -> bool:
        """Whether the hole lies within: the first of its points that is not on the ring itself decides."""
        west, south, east, north = _box(hole)
        if west < self._box[0] or south < self._box[1] or east > self._box[2] or north > self._box[3]:
            return False
        return next((side for point in hole if (side := self._side(point)) is not None), True)

    def _side(self, point: Position) -> bool | None:
        """Whether a point is inside; None on the ring."""
        x, y = point[:2]
        inside = False
        for a, b in pairwise(self.ring):
            ax, ay, bx, by = a[0], a[1], b[0], b[1]
            cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            if cross == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
                return None
            if (ay > y) != (by > y) and (cross > 0) == (by > ay):
                inside = not inside
        return inside


def _box(ring: Ring) -> tuple[float, float, float, float]:
    xs, ys = [point[0] for point in ring], [point[1] for point in ring]
    return min(xs), min(ys), max(xs), max(ys)


def _unreadable(what: str) -> PermanentFailure:
    return PermanentFailure(
        what,
        where=WHERE,
        kept="The previous latest stays",
        remedy="Ask the publisher to repair the layer, or leave such rows out with `where` in the declaration",
    )
