"""The layers that the local ArcGIS server holds: rows in SQLite, edited whenever a test or a visitor wants.

A layer is what a real one is: rows with object ids, a schema, limits, and abilities that it has or has not. Conditions are
answered by a real SQL engine. Edits can wait for the n-th query, so that a layer changes in the middle of somebody's harvest.

Not here: the protocol (arcgis), the shapes of its geometries (arcgis_shapes).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

FlagPlace = Literal["top", "properties"]
_SQL_TYPES = {"esriFieldTypeOID": "INTEGER", "esriFieldTypeInteger": "INTEGER", "esriFieldTypeDouble": "REAL"}


class BadCondition(ValueError):
    """A condition that the server does not understand."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a layer can do, and how it disappoints.

    Attributes:
        max_record_count: most rows of one answer.
        tells_limit: whether the metadata says so; servers before 10.1 do not.
        pagination: whether it sorts, offsets and limits. Without, rows come in the order they are stored in.
        statistics: whether it answers `outStatistics`.
        geojson: whether it speaks `f=geojson`.
        flag: where `exceededTransferLimit` stands in an `f=geojson` answer.
        page_bytes: an answer is cut once its features have this many bytes.
        short_pages: most rows of the first, second… answer with rows, over and over: the limit on bytes, made exact. 0 is an
            empty answer that says that there is more.
        unbounded_fails: whether a query for more rows than `max_record_count` without a limit ends in error 500.
        ids_limit: most object ids of one answer, where a server cuts those too.
        edit_date: whether it tells when it was edited.
        has_z: whether positions have a height.
    """

    max_record_count: int = 1000
    tells_limit: bool = True
    pagination: bool = True
    statistics: bool = True
    geojson: bool = True
    flag: FlagPlace = "top"
    page_bytes: int | None = None
    short_pages: Sequence[int] = ()
    unbounded_fails: bool = False
    ids_limit: int | None = None
    edit_date: bool = True
    has_z: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of a layer, at one moment.

    Attributes:
        put: GeoJSON features with their object id as `id`: added, or put in place of the row with that id.
        delete: object ids.
        edited_at: what the layer then says; the present without it.
    """

    put: Sequence[Mapping[str, Any]] = ()
    delete: Sequence[int] = ()
    edited_at: datetime | None = None


@dataclass(slots=True)
class SandboxLayer:
    """One layer, as the server holds it.

    Attributes:
        features: GeoJSON features with their object id as `id`; `properties` without it.
        queries: how many were asked so far.
        moments: the object ids the layer had, from the beginning to now, once for each edit.
    """

    features: Iterable[Mapping[str, Any]]
    name: str = "Layer"
    oid_field: str = "OBJECTID"
    geometry_type: str | None = "esriGeometryPoint"
    abilities: Abilities = field(default_factory=Abilities)
    edited_at: datetime = datetime(2025, 6, 11, 12, 30, tzinfo=UTC)
    schema_edited_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    queries: int = 0
    answers_with_rows: int = 0
    moments: list[frozenset[int]] = field(default_factory=list)
    fields: list[dict[str, Any]] = field(init=False)
    _waiting: list[tuple[int, Edit]] = field(default_factory=list)
    _rows: sqlite3.Connection = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        features = list(self.features)
        self.fields = [
            {"name": self.oid_field, "type": "esriFieldTypeOID", "alias": self.oid_field},
            *_fields(features),
        ]
        self._rows = sqlite3.connect(":memory:", check_same_thread=False)
        columns = ", ".join(f'"{f["name"]}" {_SQL_TYPES.get(f["type"], "TEXT")}' for f in self.fields)
        self._rows.execute(f"CREATE TABLE layer ({columns}, _feature TEXT)")
        self._put(features)
        self.moments.append(self.oids())

    def oids(self) -> frozenset[int]:
        with self._lock:
            return frozenset(oid for (oid,) in self._rows.execute(f'SELECT "{self.oid_field}" FROM layer'))  # noqa: S608

    def edit(self, edit: Edit) -> None:
        """Change rows now, all at one moment."""
        with self._lock:
            for oid in [*edit.delete, *(feature["id"] for feature in edit.put)]:
                self._rows.execute(f'DELETE FROM layer WHERE "{self.oid_field}" = ?', (oid,))  # noqa: S608
            self._put(edit.put)
            self.edited_at = edit.edited_at or datetime.now(UTC)
            self.moments.append(self.oids())

    def edit_later(self, after_queries: int, edit: Edit) -> None:
        """Change rows just before the query that follows the next `after_queries` ones."""
        with self._lock:
            self._waiting.append((self.queries + after_queries, edit))
            self._waiting.sort(key=lambda waiting: waiting[0])

    def begin_query(self) -> None:
        """Count a query, after the edits that were waiting for it."""
        with self._lock:
            while self._waiting and self._waiting[0][0] <= self.queries:
                self.edit(self._waiting.pop(0)[1])
            self.queries += 1

    def count(self, condition: str) -> int:
        """How many rows a condition holds for.

        Raises:
            BadCondition: it cannot be read.
        """
        with self._lock:
            return int(self._select("count(*)", condition)[0][0])

    def ids(self, condition: str) -> list[int]:
        """The object ids of the rows that a condition holds for, in the order they are stored in.

        Raises:
            BadCondition: it cannot be read.
        """
        with self._lock:
            return [oid for (oid,) in self._select(f'"{self.oid_field}"', condition)]

    def matching(self, condition: str, *, ordered: bool, offset: int = 0) -> list[dict[str, Any]]:
        """The features that a condition holds for, at most one more than an answer may have.

        Raises:
            BadCondition: it cannot be read.
        """
        order = f'ORDER BY "{self.oid_field}"' if ordered else "ORDER BY rowid DESC"
        tail = f"{order} LIMIT {self.abilities.max_record_count + 1} OFFSET {offset}"
        with self._lock:
            return [json.loads(text) for (text,) in self._select("_feature", condition, tail)]

    def next_page_limit(self) -> int | None:
        """How many rows the next answer may have by its bytes; None when nothing was said."""
        with self._lock:
            self.answers_with_rows += 1
            short = self.abilities.short_pages
            return short[(self.answers_with_rows - 1) % len(short)] if short else None

    def _select(self, what: str, condition: str, tail: str = "") -> list[tuple[Any, ...]]:
        try:
            return self._rows.execute(f"SELECT {what} FROM layer WHERE ({condition}) {tail}").fetchall()  # noqa: S608 - it is the protocol
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise BadCondition(str(error)) from error

    def _put(self, features: Iterable[Mapping[str, Any]]) -> None:
        names = [f["name"] for f in self.fields]
        places = ", ".join("?" for _ in [*names, "_feature"])
        for feature in features:
            values = {**feature["properties"], self.oid_field: feature["id"]}
            row = [values.get(name) for name in names]
            self._rows.execute(f"INSERT INTO layer VALUES ({places})", [*row, json.dumps(feature)])  # noqa: S608


def _fields(features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The schema that the rows have, in the order in which fields are met."""
    types: dict[str, str] = {}
    for feature in features:
        for name, value in feature["properties"].items():
            kind = {int: "esriFieldTypeInteger", float: "esriFieldTypeDouble"}.get(type(value), "esriFieldTypeString")
            if value is not None or name not in types:
                types[name] = kind
    return [{"name": name, "type": kind, "alias": name} for name, kind in types.items()]


def addresses_in(folder: Path) -> dict[str, Path]:
    """The files of a folder that hold a layer each, by the layer's address."""
    files = sorted(folder.glob("**/*Server/*.geojson"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def layers_in(folder: Path) -> dict[str, SandboxLayer]:
    """The layers of a folder, by address: `<host>/<path>/FeatureServer/0.geojson` is served as `<host>/<path>/FeatureServer/0`.

    A FeatureCollection whose features have no whole number as `id` gets object ids in the order of the file.
    """
    found = {}
    for address, file in addresses_in(folder).items():
        features = json.loads(file.read_text(encoding="utf-8"))["features"]
        numbered = [{**f, "id": f["id"] if isinstance(f.get("id"), int) else n} for n, f in enumerate(features, 1)]
        kinds = {f["geometry"]["type"] for f in features if f["geometry"]}
        geometry_type = ESRI_TYPES[max(kinds)] if kinds else None
        edited_at = datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
        found[address] = SandboxLayer(numbered, name=file.parent.parent.name, geometry_type=geometry_type, edited_at=edited_at)
    return found


ESRI_TYPES = {
    "Point": "esriGeometryPoint",
    "MultiPoint": "esriGeometryMultipoint",
    "LineString": "esriGeometryPolyline",
    "MultiLineString": "esriGeometryPolyline",
    "Polygon": "esriGeometryPolygon",
    "MultiPolygon": "esriGeometryPolygon",
}
