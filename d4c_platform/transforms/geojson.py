"""GeoJSON (RFC 7946) as a layer: what its properties are, and its features in Arrow batches that are bounded by bytes.

JSON has no schema, so the text is read twice: once to see every property of every feature, once to hand the features over. A
property has a type when all its values have it; values of several kinds are kept as text, never dropped. Nothing depends on a
sample or on the order of features.

Coordinates are WGS 84, as the standard says. The `crs` member of older files is honoured when it names a system by its code.

Not here: how the text is walked (geojson_text), what becomes of the features (layer).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry import shape

from d4c_platform.model.dataset import Dataset, GeoJsonTransform
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import geo, layer
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.crs import WGS84, Recognised, recognise
from d4c_platform.transforms.geojson_text import CollectionReader
from d4c_platform.transforms.parquet import canonical_json
from d4c_platform.transforms.wrapped import Member, the_file, unwrapped

ENDINGS = (".geojson", ".geojson.gz", ".zip", ".json", ".json.gz")  # a .json beside a .geojson describes it
BATCH_BYTES = 16 << 20  # of WKB handed over at once; decoded JSON is several times as large
FEATURE_ID = "feature_id"
_BOOL, _WHOLE, _LONG, _FRACTION, _TEXT, _OTHER = (1 << i for i in range(6))
_EXACT = 2**53  # beyond, a double no longer tells neighbours apart
_KNOWN = frozenset({"type", "id", "bbox", "geometry", "properties"})
_GEOMETRIES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)
_LIMITS = (-360.0, -90.0, 360.0, 90.0)  # longitudes run on beyond the antimeridian in some files; further out is no degree
_SLACK = 1e-6
_TELL = "Tell the publisher which line is wrong; fetch the release again when it is corrected"


def build(dataset: Dataset, transform: GeoJsonTransform, version_id: str, raw: Mapping[str, Path], workdir: Path) -> BuiltFile:
    """Build the layer.

    Raises:
        PermanentFailure: the file is no FeatureCollection, or a feature of it cannot be read; names the line.
    """
    with unwrapped(the_file(raw, ENDINGS)) as members:
        member = _the_only(members)
        declared = {c.name: c.type for c in dataset.columns}
        source = _FeatureCollection(member, *_surveyed(member, declared))
        return layer.build(dataset, transform.dguid, transform.geoparquet_version, version_id, source, workdir)


def _the_only(members: tuple[Member, ...]) -> Member:
    found = members if len(members) == 1 else tuple(m for m in members if m.path.lower().endswith((".geojson", ".json")))
    if len(found) != 1:
        names = ", ".join(m.path for m in found or members) or "nothing"
        raise PermanentFailure(
            f"the archive holds {len(found)} GeoJSON files ({names}) where one is expected",
            file=members[0].name.partition("/")[0] if members else None,
            remedy="Declare the URL of an archive with one layer",
        )
    return found[0]


@dataclass(slots=True)
class _FeatureCollection:
    """A surveyed file as a source of features."""

    member: Member
    recognised: Recognised
    properties: Mapping[str, pa.DataType]
    has_ids: bool
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.member.name

    @contextmanager
    def opened(self) -> Iterator[layer.Opened]:
        wkb, identity = _free(geo.GEOMETRY, self.properties), _free(FEATURE_ID, self.properties)
        fields = [*(pa.field(*p) for p in self.properties.items()), pa.field(wkb, pa.binary())]
        fields[-1:-1] = [pa.field(identity, pa.string())] if self.has_ids else []
        schema = pa.schema(fields)
        with self.member.open() as stream:
            reader = CollectionReader(stream, self.name)
            try:
                yield layer.Opened(schema, wkb, self._batches(reader, schema))
            except (shapely.errors.ShapelyError, pa.ArrowInvalid) as error:
                raise PermanentFailure(
                    f"the features cannot be read ({str(error).strip().splitlines()[0]})", file=self.name, remedy=_TELL
                ) from error

    def _batches(self, reader: CollectionReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows, held = _Rows(), 0
        for line, feature in reader.features():
            if foreign := feature.keys() - _KNOWN:
                self.counts["foreign_members"] = self.counts.get("foreign_members", 0) + len(foreign)
            geometry = self._geometry(feature.get("geometry"), line)
            rows.append(line, feature, geometry)
            held += len(geometry or b"")
            if len(rows.lines) == layer.READ_ROWS or held > BATCH_BYTES:
                yield rows.batch(schema, self)
                rows, held = _Rows(), 0
        yield rows.batch(schema, self)

    def _geometry(self, said: Any, line: int) -> bytes | None:
        """A geometry as WKB; what is null stays null."""
        if said is None:
            return None
        try:
            _check_types(said)
            geometry = shape(said)
            bounds = shapely.bounds(geometry)
        except (ValueError, TypeError, LookupError, AttributeError, shapely.errors.ShapelyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise PermanentFailure(
                f"the feature on line {line} has a geometry that cannot be read ({reason})", file=self.name, remedy=_TELL
            ) from error
        if self.recognised.code == WGS84 and _is_off_the_earth(bounds):
            raise PermanentFailure(
                f"the feature on line {line} lies at {bounds[0]:g}, {bounds[1]:g}, which is no longitude and latitude",
                file=self.name,
                remedy="The coordinates are of another system than WGS 84 and the file does not say which: declare an export "
                "in WGS 84; nothing is guessed",
            )
        return bytes(shapely.to_wkb(geometry, flavor="iso"))


@dataclass(slots=True)
class _Rows:
    """Features on their way into a batch."""

    lines: list[int] = field(default_factory=list)
    features: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    shapes: list[bytes | None] = field(default_factory=list)

    def append(self, line: int, feature: dict[str, Any], geometry: bytes | None) -> None:
        self.lines.append(line)
        self.features.append((feature.get("properties") or {}, feature.get("id")))
        self.shapes.append(geometry)

    def batch(self, schema: pa.Schema, source: _FeatureCollection) -> pa.RecordBatch:
        columns = [[p.get(name) for p, _ in self.features] for name in source.properties]
        if source.has_ids:
            columns.append([identity for _, identity in self.features])
        arrays = [self._array(f, values, source.name) for f, values in zip(schema, columns, strict=False)]
        return pa.RecordBatch.from_arrays([*arrays, pa.array(self.shapes, pa.binary())], schema=schema)

    def _array(self, of: pa.Field, values: list[Any], file: str) -> pa.Array:
        if pa.types.is_floating(of.type):
            return pa.array([None if v is None else float(v) for v in values], of.type)
        if not pa.types.is_string(of.type):
            return pa.array(values, of.type)
        texts = [v if v is None or isinstance(v, str) else canonical_json(v).decode("utf-8", "surrogatepass") for v in values]
        try:
            return pa.array(texts, pa.string())
        except UnicodeEncodeError as error:
            line = next(n for n, t in zip(self.lines, texts, strict=True) if t and any("\ud800" <= c <= "\udfff" for c in t))
            raise PermanentFailure(
                f"the feature on line {line} has half a character in {of.name}", file=file, remedy=_TELL
            ) from error


def _surveyed(member: Member, declared: Mapping[str, str | None]) -> tuple[Recognised, dict[str, pa.DataType], bool]:
    """The first reading: the coordinate reference system, the type of each property, and whether features have ids."""
    kinds: dict[str, int] = {}
    has_ids = False
    with member.open() as stream:
        reader = CollectionReader(stream, member.name)
        for line, feature in reader.features():
            has_ids = has_ids or feature.get("id") is not None
            properties = feature.get("properties")
            if not isinstance(properties, dict | None):
                raise PermanentFailure(
                    f"the feature on line {line} has properties that are no object", file=member.name, remedy=_TELL
                )
            for name, value in (properties or {}).items():
                kinds[name] = kinds.get(name, 0) | _kind(value, line, member.name)
    types = {name: _type(kind, declared.get(name.lower())) for name, kind in kinds.items()}
    return _recognised(reader.members.get("crs", False), member.name), types, has_ids


def _kind(value: Any, line: int, file: str) -> int:
    match value:
        case None:
            return 0
        case str():
            return _TEXT
        case bool():
            return _BOOL
        case int():
            return _WHOLE if abs(value) <= _EXACT else _LONG if -(2**63) <= value < 2**63 else _OTHER
        case float() if math.isfinite(value):
            return _FRACTION
        case float():
            raise PermanentFailure(f"the feature on line {line} has a number that is too large", file=file, remedy=_TELL)
        case _:
            return _OTHER


def _type(kinds: int, declared: str | None) -> pa.DataType:
    """The type that takes every value as it is; the declared one when it does, too."""
    fits = {
        "bool": not kinds & ~_BOOL,
        "int64": not kinds & ~(_WHOLE | _LONG),
        "double": not kinds & ~(_WHOLE | _FRACTION),
        "string": True,
    }
    names = {"bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64(), "string": pa.string()}
    if declared is not None and fits.get(declared):
        return names[declared]
    return next(names[name] for name, fit in fits.items() if fit) if kinds else pa.string()


def _recognised(crs: Any, file: str) -> Recognised:
    """WGS 84, or what the `crs` member of an older file names.

    Args:
        crs: the member; False when there is none.
    """
    if crs is False:
        return Recognised(WGS84, CRS.from_epsg(4326))
    name = crs.get("properties", {}).get("name") if isinstance(crs, dict) and crs.get("type") == "name" else None
    said = re.fullmatch(r"(?:urn:ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?(OGC|EPSG)[:/].*?(CRS84|\d+)", str(name))
    try:
        if said is None:
            raise CRSError(f"{str(name)[:60]} is no code of EPSG or OGC")
        code = "4326" if said[2] == "CRS84" else said[2]
        return recognise(CRS.from_epsg(int(code)).to_wkt(), file)
    except CRSError as error:
        raise PermanentFailure(
            f"the collection's crs member is not understood ({str(error).splitlines()[0]})",
            file=file,
            remedy="Declare an export in WGS 84, which has no crs member; nothing is guessed",
        ) from error


def _check_types(said: Any) -> None:
    kind = said.get("type")
    if kind not in _GEOMETRIES:
        raise TypeError(f"{kind} is no type of geometry")
    for part in said["geometries"] if kind == "GeometryCollection" else ():
        _check_types(part)


def _is_off_the_earth(bounds: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    low, high = np.array(_LIMITS[:2]) - _SLACK, np.array(_LIMITS[2:]) + _SLACK
    return bool((bounds[:2] < low).any() or (bounds[2:] > high).any())


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name
