"""What a declaration must hold beyond its schema: its name, its area, its columns agree with each other.

A rule looks at a `Dataset` that the schema has passed and yields problems; it reads no file and knows no line.
"""

from __future__ import annotations

import codecs
import math
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from d4c_platform import naming
from d4c_platform.datasets.addresses import address_problems
from d4c_platform.datasets.problem import FieldPath, Problem
from d4c_platform.model.checks import LIMITS
from d4c_platform.model.dataset import (
    CSV_TYPES,
    Area,
    CogTransform,
    CsvTransform,
    Dataset,
    FixedVintage,
    GeoJsonTransform,
    ReleaseVintage,
    ShapefileTransform,
    TilesTransform,
    VectorTransform,
)

_WITHOUT_SHAPES = {"statcan-csv", "csv", "inventory", "cog", "tiles"}  # transforms whose result no preview is drawn from


def rule_problems(dataset: Dataset) -> Iterator[Problem]:
    """Everything that does not agree within a declaration."""
    yield from _name(dataset)
    yield from _version(dataset)
    yield from area_problems(dataset.area, ("area",))
    yield from _columns(dataset)
    yield from _checks(dataset)
    yield from _transform(dataset)
    yield from _source(dataset)
    for language, url in dataset.licence.url.model_dump().items():
        yield from address_problems(url, ("licence", "url", language))


def _source(dataset: Dataset) -> Iterator[Problem]:
    source = dataset.source
    for field, address in source.addresses.items():
        yield from address_problems(address, ("source", field))
    for path, what in source.disagreements(dataset.transform.kind):
        yield Problem(("source", *path), what)


def shared_ids(dataset: Dataset, others: Iterable[Dataset]) -> Iterator[Dataset]:
    """Datasets of whose versions nobody could tell from the id to which dataset they belong.

    A vintage from the release takes the place where a fixed one stands: `…_wards_2018` with a fixed vintage and `…_wards`
    with a yearly one both have a version `…_wards_2018_v1.0.0`.
    """
    for other in others:
        from_release = (isinstance(d.vintage, ReleaseVintage) for d in (dataset, other))
        if other.id != dataset.id and any(from_release) and undated(other.id) == undated(dataset.id):
            yield other


def undated(dataset_id: str) -> str:
    """What remains of an id when its date is taken away: what two datasets must not share when one has none."""
    return str(replace(naming.parse(dataset_id), date=None))


def _name(dataset: Dataset) -> Iterator[Problem]:
    try:
        name = naming.parse(dataset.id)
    except naming.BadName as error:
        yield Problem(("id",), error.sentence().rstrip("."))
        return
    if str(name) != dataset.id:
        yield Problem(("id",), f"it is not the canonical spelling, which is {name}")
    if name.version is not None or name.ext is not None:
        yield Problem(("id",), f"a dataset id has no version and no extension: {replace(name, version=None, ext=None)}")
    if name.package != dataset.package:
        yield Problem(("package",), f"{dataset.package} is not the package in the id, {name.package}")
    if name.dguid != dataset.area.dguid:
        yield Problem(("area", "dguid"), f"{dataset.area.dguid} is not the DGUID in the id, {name.dguid}")
    if not isinstance(dataset.vintage, FixedVintage):
        if name.date is not None:
            yield Problem(("id",), f"the vintage comes from the release, so the id must not hold the date {name.date}")
        return
    date = naming.read_date(dataset.vintage.date)
    if date is None or date.text != dataset.vintage.date:
        meant = f", which is {date.text}" if date else ""
        yield Problem(("vintage", "date"), f"{dataset.vintage.date!r} is not an ISO 8601 date as a name spells it{meant}")
    elif name.date != date.text:
        found = f"holds {name.date}" if name.date else "holds no date"
        yield Problem(("vintage", "date"), f"the fixed vintage {date.text} must stand in the id, which {found}")


def _version(dataset: Dataset) -> Iterator[Problem]:
    try:
        naming.SemVer.parse(dataset.version)
    except naming.BadName as error:
        yield Problem(("version",), error.sentence().rstrip("."))


def area_problems(area: Area, within: FieldPath) -> Iterator[Problem]:
    """What is wrong with an area that stands at a path, or alone in a file."""
    if naming.DGUID.fullmatch(area.dguid) is None:
        yield Problem((*within, "dguid"), f"{area.dguid!r} is not a DGUID")
    geometry, path = area.geometry, (*within, "geometry")
    if extra := sorted(set(geometry) - {"type", "coordinates"}):
        yield Problem((*path, extra[0]), "a geometry holds type and coordinates only")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        yield Problem((*path, "type"), f"it must be Polygon or MultiPolygon, not {kind!r}")
        return
    steps: FieldPath = (*path, "coordinates")
    if not isinstance(coordinates, list) or not coordinates:
        yield Problem(steps, "it is missing or empty")
        return
    for index, polygon in enumerate(coordinates if kind == "MultiPolygon" else [coordinates]):
        place = (*steps, index) if kind == "MultiPolygon" else steps
        if not isinstance(polygon, list) or not polygon:
            yield Problem(place, "a polygon is a list of rings, the outer one first")
            continue
        for number, ring in enumerate(polygon):
            yield from _ring(ring, (*place, number), outer=number == 0)


def _ring(ring: Any, path: FieldPath, *, outer: bool) -> Iterator[Problem]:
    """RFC 7946 §3.1.6: closed, within the world, the outer ring counterclockwise and holes clockwise."""
    if not isinstance(ring, list) or len(ring) < 4:
        yield Problem(path, "a ring has at least four positions, the last equal to the first")
        return
    for index, position in enumerate(ring):
        if not _is_position(position):
            yield Problem((*path, index), f"{position!r} is not a longitude and latitude in degrees")
            return
    if ring[0] != ring[-1]:
        yield Problem((*path, len(ring) - 1), f"the ring is not closed: it must end where it begins, at {ring[0]}")
        return
    # The shoelace formula: positive when the ring runs counterclockwise.
    twice_area = math.fsum((x2 - x1) * (y2 + y1) for (x1, y1), (x2, y2) in pairwise(ring)) * -1
    if twice_area == 0:
        yield Problem(path, "the ring encloses nothing")
    elif (twice_area > 0) != outer:
        wanted = "an outer ring runs counterclockwise" if outer else "a hole runs clockwise"
        yield Problem(path, f"{wanted} (right-hand rule): reverse its positions")


def _is_position(position: Any) -> bool:
    if not isinstance(position, list) or len(position) != 2:
        return False
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in position):
        return False
    return bool(-180 <= position[0] <= 180 and -90 <= position[1] <= 90)


def _columns(dataset: Dataset) -> Iterator[Problem]:
    names = [column.name for column in dataset.columns]
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(("columns", len(names) - 1 - names[::-1].index(name), "name"), f"{name} is declared {count} times")
    for index, name in enumerate(dataset.key):
        if name not in names:
            yield Problem(("key", index), f"{name} is not a declared column")
        elif dataset.columns[names.index(name)].nullable:
            yield Problem(("key", index), f"{name} identifies a row, so its column must say nullable: false")
        if name in dataset.key[:index]:
            yield Problem(("key", index), f"{name} is listed twice")


def _checks(dataset: Dataset) -> Iterator[Problem]:
    named = [choice.check for choice in dataset.checks]
    for index, choice in enumerate(dataset.checks):
        if choice.check in named[:index]:
            yield Problem(("checks", index, "check"), f"{choice.check} is listed twice")
        if choice.waived == (choice.limit is not None):
            yield Problem(("checks", index), "a check is either waived (waived: true) or tuned (limit: a share of the rows)")
        elif choice.limit is not None and choice.check not in LIMITS:
            yield Problem(("checks", index, "limit"), f"{choice.check} has no limit; these have: {', '.join(sorted(LIMITS))}")
        for language, words in choice.reason.model_dump().items():
            if not words.strip():
                yield Problem(("checks", index, "reason", language), "it is empty")


def _transform(dataset: Dataset) -> Iterator[Problem]:
    source, transform = dataset.source, dataset.transform
    if transform.kind not in source.read_by:
        readable = ", ".join(sorted(source.read_by))
        yield Problem(("transform", "kind"), f"{transform.kind} does not read the source kind {source.kind}; {readable} does")
    points = transform.points if isinstance(transform, CsvTransform) else None
    if dataset.preview is not None and transform.kind in _WITHOUT_SHAPES and points is None:
        yield Problem(("preview",), f"{transform.kind} makes no layer that a preview could be drawn from")
    if isinstance(transform, CogTransform):
        yield from _image(dataset, transform)
    if isinstance(transform, TilesTransform) and dataset.key:
        yield Problem(("key",), "tiles have no rows: nothing identifies one")
    if isinstance(transform, CsvTransform):
        yield from _csv(dataset, transform)
    if isinstance(transform, VectorTransform | ShapefileTransform | GeoJsonTransform) and transform.dguid is not None:
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(transform.dguid) if field is not None]
        except ValueError as error:
            yield Problem(("transform", "dguid"), f"the template cannot be read: {error}")
            return
        if not fields or not all(field.isidentifier() for field in fields):
            yield Problem(("transform", "dguid"), "the template must name a source column in braces, as in 2021A0002{PRUID}")


def _csv(dataset: Dataset, transform: CsvTransform) -> Iterator[Problem]:
    if transform.points is not None and transform.points.x == transform.points.y:
        yield Problem(("transform", "points", "y"), f"{transform.points.y} is the other coordinate, too")
    try:
        codecs.lookup(transform.encoding)
    except LookupError:
        yield Problem(("transform", "encoding"), f"{transform.encoding!r} is no text encoding; utf-8 and cp1252 are common")
    for index, column in enumerate(dataset.columns):
        if column.type is not None and column.type not in CSV_TYPES:
            yield Problem(("columns", index, "type"), f"{column.type} is none of what a CSV is read as: {', '.join(CSV_TYPES)}")


def _image(dataset: Dataset, transform: CogTransform) -> Iterator[Problem]:
    """What only a lossy image has, and what a table has and an image has not."""
    if transform.compression == "jpeg" and transform.quality is None:
        yield Problem(("transform", "quality"), "jpeg always loses something: say how much with a quality, for instance 85")
    if transform.compression in ("deflate", "zstd") and transform.quality is not None:
        yield Problem(("transform", "quality"), f"{transform.compression} loses nothing, so it has no quality")
    if dataset.key:
        yield Problem(("key",), "an image has bands, not rows: nothing identifies a row")
