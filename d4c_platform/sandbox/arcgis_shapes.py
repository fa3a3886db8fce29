"""GeoJSON geometries as an ArcGIS server writes them: outer rings clockwise, all rings of all parts in one list.

Written on its own, not from the client's code, so that a client that reads it wrongly is found out.
"""

from __future__ import annotations

from typing import Any

Geometry = dict[str, Any]


def to_esri(geometry: Geometry | None) -> dict[str, Any]:
    """The `geometry` member of an `f=json` feature; none at all for a row without one."""
    if geometry is None:
        return {}
    kind, coordinates = geometry["type"], geometry["coordinates"]
    match kind:
        case "Point":
            shape: Geometry = dict(zip("xyz", coordinates, strict=False))
        case "MultiPoint":
            shape = {"points": coordinates}
        case "LineString":
            shape = {"paths": [coordinates]}
        case "MultiLineString":
            shape = {"paths": coordinates}
        case "Polygon":
            shape = {"rings": _reversed(coordinates)}
        case _:
            # Holes last, as servers write them that sort rings by size: a hole is known by where it lies, not by its place.
            outers = [polygon[:1] for polygon in coordinates]
            holes = [polygon[1:] for polygon in coordinates]
            shape = {"rings": [ring for part in (*outers, *holes) for ring in _reversed(part)]}
    if kind != "Point" and _has_z(coordinates):
        shape["hasZ"] = True
    return {"geometry": shape}


def turned(geometry: Geometry | None) -> Geometry | None:
    """The geometry with its rings turned as servers before 10.9 turn them in GeoJSON too: against RFC 7946."""
    if geometry is None or geometry["type"] not in {"Polygon", "MultiPolygon"}:
        return geometry
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        return {**geometry, "coordinates": _reversed(coordinates)}
    return {**geometry, "coordinates": [_reversed(polygon) for polygon in coordinates]}


def _reversed(rings: list[Any]) -> list[Any]:
    return [ring[::-1] for ring in rings]


def _has_z(coordinates: Any) -> bool:
    while coordinates and isinstance(coordinates[0], list):
        coordinates = coordinates[0]
    return len(coordinates) > 2
