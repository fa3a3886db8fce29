"""What the sandbox's catalogue portals and map server ship: three small layers, made up or drawn by hand.

One for each kind of portal, in the layout of `recorded_portals`. They are data as those portals have them, and nobody's: what
is real is only the address that they are asked for at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from d4c_platform.sandbox import ckan, outlines
from d4c_platform.sandbox.census import PROVINCES

UPDATED = datetime(2025, 6, 11, 12, 30, tzinfo=UTC)
PACKAGE, RESOURCE = "sandbox-outlines", "5a4db0c5-0000-4000-8000-000000000001"
UPLOADED = f"open.canada.ca/data/dataset/{PACKAGE}/resource/{RESOURCE}/download/outlines.geojson"
AREAS = "opendatasoft/opendata.vancouver.ca/sandbox-areas.geojson"
PLACES = "arcgis/services1.arcgis.com/sandbox/arcgis/rest/services/Made_Up_Places/FeatureServer/0.geojson"

GRID = 4  # columns and rows of the made-up areas
WEST, SOUTH, STEP = -123.2, 49.21, 0.03  # degrees: within Vancouver
FIRST_PLACE, SO_MANY_PLACES = (-81.0, 44.1), 25  # within Grey County


def files() -> Iterator[tuple[str, bytes]]:
    """Path within the folder of releases, and content. The same bytes every time."""
    yield f"files/{UPLOADED}", _collection(_provinces())
    yield "ckan/open.canada.ca/packages.jsonl", _line(_package())
    yield AREAS, _collection(_areas())
    yield PLACES, _collection(_places())


def _package() -> dict[str, Any]:
    uploaded = ckan.resource(RESOURCE, f"https://{UPLOADED}", form="GEOJSON", url_type="upload")
    titles = {"en": "Outlines of the provinces and territories", "fr": "Contours des provinces et territoires"}
    keywords = {"en": ["sandbox"], "fr": ["bac à sable"]}
    return ckan.package(PACKAGE, [uploaded], title_translated=titles, keywords=keywords)


def _provinces() -> Iterator[dict[str, Any]]:
    for province in PROVINCES:
        rings = [[*line, line[0]] for line in outlines.OUTLINES[province.code]]
        shape = {"type": "MultiPolygon", "coordinates": [[_outer(ring)] for ring in rings]}
        yield _feature(shape, code=province.code, name_en=province.en, name_fr=province.fr)


def _areas() -> Iterator[dict[str, Any]]:
    for number in range(GRID * GRID):
        west, south = WEST + number % GRID * STEP, SOUTH + number // GRID * STEP / 2
        east, north = west + STEP, south + STEP / 2
        ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        shape = {"type": "Polygon", "coordinates": [[[round(x, 4), round(y, 4)] for x, y in ring]]}
        yield _feature(shape, name=f"Area {number + 1}")


def _places() -> Iterator[dict[str, Any]]:
    (west, south) = FIRST_PLACE
    for number in range(SO_MANY_PLACES):
        point = [round(west + number % 5 * 0.1, 4), round(south + number // 5 * 0.1, 4)]
        yield {"id": number + 1, **_feature({"type": "Point", "coordinates": point}, name=f"Place {number + 1}")}


def _feature(shape: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": dict(shape), "properties": properties}


def _outer(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A ring as RFC 7946 wants an outer one: counterclockwise."""
    twice_area = sum((x2 - x1) * (y2 + y1) for (x1, y1), (x2, y2) in pairwise(ring))
    return ring[::-1] if twice_area > 0 else ring


def _collection(features: Iterable[Mapping[str, Any]]) -> bytes:
    return _line({"type": "FeatureCollection", "features": list(features)})


def _line(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, ensure_ascii=False) + "\n").encode()
