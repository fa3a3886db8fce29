"""A local ArcGIS server: the layers of `arcgis_layers`, or recorded answers, behind the REST protocol of real ones.

What a client can trip over is reproduced: errors inside an HTTP 200, HTML where `f` is missing, `exceededTransferLimit` in one
place or another or on an empty page, pages cut by bytes, layers without pagination that answer in no order, unbounded queries
that fail, edit dates that are there or not, and layers that change in the middle of a harvest.

    POST /_sandbox/edits   {"layer": address, "put": [features], "delete": [object ids], "after_queries": n}

Layers have their host's name as the first path segment, as the publishers' files have (`files`), so that one server stands in
for every publisher's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from d4c_platform.sandbox.arcgis_layers import BadCondition, Edit, SandboxLayer
from d4c_platform.sandbox.arcgis_shapes import to_esri, turned
from d4c_platform.sandbox.faults import App

VERSION = 11.1
MOST_QUERY_BYTES = 2048  # of a URL, for the IIS in front of an ArcGIS Server
Parameters = Mapping[str, str]


class AsLayer(Protocol):
    """What the server can answer for: a layer with rows, or recorded answers."""

    def described(self) -> dict[str, Any]: ...

    def answered(self, asked: Parameters) -> dict[str, Any]: ...


class Trouble(Exception):
    """An answer with an error in it, in the words of the service."""

    def __init__(self, code: int, message: str, *details: str) -> None:
        super().__init__(message)
        self.answer = {"error": {"code": code, "message": message, "details": list(details)}}


class Served:
    """A layer with rows, as the protocol shows it."""

    def __init__(self, layer: SandboxLayer) -> None:
        self.layer = layer

    def described(self) -> dict[str, Any]:
        layer, can = self.layer, self.layer.abilities
        document: dict[str, Any] = {
            "currentVersion": VERSION,
            "id": 0,
            "name": layer.name,
            "type": "Feature Layer" if layer.geometry_type else "Table",
            "objectIdField": layer.oid_field,
            "fields": layer.fields,
            "capabilities": "Query",
            "supportedQueryFormats": "JSON, geoJSON" if can.geojson else "JSON",
            "supportsStatistics": can.statistics,
            "hasZ": can.has_z,
            "advancedQueryCapabilities": {
                "supportsPagination": can.pagination,
                "supportsOrderBy": can.pagination,
                "supportsStatistics": can.statistics,
            },
        }
        if layer.geometry_type:
            document["geometryType"] = layer.geometry_type
        if can.tells_limit:
            document["maxRecordCount"] = can.max_record_count
        if can.edit_date:
            edited, schema = _milliseconds(layer.edited_at), layer.schema_edited_at
            document["editingInfo"] = {"lastEditDate": edited, "dataLastEditDate": edited}
            document["editingInfo"] |= {"schemaLastEditDate": _milliseconds(schema)} if schema else {}
        return {**document, **layer.metadata}

    def answered(self, asked: Parameters) -> dict[str, Any]:
        self.layer.begin_query()
        condition = asked.get("where", "")
        if not condition and not asked.get("objectIds"):
            raise Trouble(400, "Unable to complete operation.", "'where' clause or 'objectIds' is required")
        try:
            if _is_true(asked, "returnCountOnly"):
                return {"count": self.layer.count(condition)}
            if _is_true(asked, "returnIdsOnly"):
                return self._ids(condition)
            if asked.get("outStatistics"):
                return self._statistics(condition, asked["outStatistics"])
            return self._rows(condition, asked)
        except BadCondition as error:
            raise Trouble(400, "Cannot perform query. Invalid query parameters.", str(error)) from error

    def _ids(self, condition: str) -> dict[str, Any]:
        ids, limit = self.layer.ids(condition), self.layer.abilities.ids_limit
        answer = {"objectIdFieldName": self.layer.oid_field, "objectIds": ids[:limit] or None}
        return answer | ({"exceededTransferLimit": True} if limit is not None and len(ids) > limit else {})

    def _statistics(self, condition: str, asked: str) -> dict[str, Any]:
        if not self.layer.abilities.statistics:
            raise Trouble(400, "Unable to complete operation.", "Statistics are not supported")
        (wanted,) = json.loads(asked)
        ids = self.layer.ids(condition)
        if (wanted["statisticType"], wanted["onStatisticField"]) != ("max", self.layer.oid_field):
            raise Trouble(400, "Cannot perform query. Invalid query parameters.", "only the greatest object id is known here")
        return {"features": [{"attributes": {wanted["outStatisticFieldName"].upper(): max(ids, default=None)}}]}

    def _rows(self, condition: str, asked: Parameters) -> dict[str, Any]:
        can, layer = self.layer.abilities, self.layer
        geojson = asked.get("f") == "geojson"
        if geojson and not can.geojson:
            raise Trouble(400, "Invalid or missing input parameters.", "'f' does not support geojson")
        pages = "resultRecordCount" in asked or "resultOffset" in asked
        if pages and not can.pagination:
            raise Trouble(400, "Pagination is not supported.")
        limit = min(int(asked.get("resultRecordCount", can.max_record_count)), can.max_record_count)
        found = layer.matching(
            condition, ordered=can.pagination and "orderByFields" in asked, offset=int(asked.get("resultOffset", 0))
        )
        if can.unbounded_fails and not pages and len(found) > can.max_record_count:
            raise Trouble(500, "Error performing query operation")
        short = layer.next_page_limit()
        kept = _within_bytes(found[: limit if short is None else min(limit, short)], can.page_bytes)
        more = len(kept) < len(found)
        return self._as_geojson(kept, asked, more) if geojson else self._as_json(kept, asked, more)

    def _as_geojson(self, features: list[dict[str, Any]], asked: Parameters, more: bool) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "type": "FeatureCollection",
            "crs": {"type": "name", "properties": {"name": "EPSG:4326"}},
            "features": [
                {
                    "type": "Feature",
                    "id": feature["id"],
                    "geometry": turned(_flat(feature["geometry"], asked)),
                    "properties": {self.layer.oid_field: feature["id"], **feature["properties"]},
                }
                for feature in features
            ],
        }
        if more and self.layer.abilities.flag == "properties":
            answer["properties"] = {"exceededTransferLimit": True}
        elif more:
            answer["exceededTransferLimit"] = True
        return answer

    def _as_json(self, features: list[dict[str, Any]], asked: Parameters, more: bool) -> dict[str, Any]:
        layer = self.layer
        answer: dict[str, Any] = {
            "objectIdFieldName": layer.oid_field,
            "fields": layer.fields,
            "features": [
                {"attributes": {layer.oid_field: f["id"], **f["properties"]}, **to_esri(_flat(f["geometry"], asked))}
                for f in features
            ],
        }
        if layer.geometry_type:
            answer |= {
                "geometryType": layer.geometry_type,
                "spatialReference": {"wkid": int(asked.get("outSR", "3857")), "latestWkid": int(asked.get("outSR", "3857"))},
            }
        return answer | ({"exceededTransferLimit": True} if more else {})


class Recorded:
    """Answers recorded from a real server: `<stem>-metadata.json`, `-count-only`, `-ids-only` and `-0` for rows.

    They are given as they are, whatever condition is asked.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder, self._stem = folder, stem

    def described(self) -> dict[str, Any]:
        return self._read("metadata")

    def answered(self, asked: Parameters) -> dict[str, Any]:
        if _is_true(asked, "returnCountOnly"):
            return self._read("count-only")
        return self._read("ids-only" if _is_true(asked, "returnIdsOnly") else "0")

    def _read(self, part: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self._folder / f"{self._stem}-{part}.json").read_text(encoding="utf-8"))
        return document


def arcgis_app(layers: Callable[[], Mapping[str, AsLayer]]) -> Starlette:
    """A server of the layers that `layers` knows, by address: `<host>/<path>/FeatureServer/<n>`."""

    async def answer(request: Request) -> App:
        if len(str(request.url.query)) > MOST_QUERY_BYTES:
            return HTMLResponse("<h2>HTTP Error 404.15 - Not Found</h2>", status_code=404)
        asked = dict(request.query_params)
        if request.method == "POST":
            asked |= {name: str(value) for name, value in (await request.form()).items()}
        address = request.path_params["address"]
        is_query = address.endswith("/query")
        layer = layers().get(address.removesuffix("/query"))
        if asked.get("f", "html") == "html":
            return HTMLResponse("<html><head><title>ArcGIS REST Services Directory</title></head></html>")
        if layer is None:
            return JSONResponse(Trouble(404, "Service not found").answer)
        try:
            return _as_json(layer.answered(asked) if is_query else layer.described(), asked)
        except Trouble as trouble:
            return JSONResponse(trouble.answer)

    async def edits(request: Request) -> App:
        try:
            document = await request.json()
            layer = layers()[document["layer"]]
            edit = Edit(document.get("put", ()), document.get("delete", ()))
            if not isinstance(layer, Served):
                raise TypeError("recorded answers do not change")
            if "after_queries" in document:
                layer.layer.edit_later(int(document["after_queries"]), edit)
            else:
                layer.layer.edit(edit)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return JSONResponse({"message": f"not an edit: {error}"}, status_code=400)
        return JSONResponse({"edited": document["layer"]}, status_code=201)

    return Starlette(
        routes=[
            Route("/_sandbox/edits", edits, methods=["POST"]),
            Route("/{address:path}", answer, methods=["GET", "POST"]),
        ]
    )


def _as_json(document: dict[str, Any], asked: Parameters) -> Response:
    kind = "application/geo+json" if asked.get("f") == "geojson" else "application/json"
    return Response(json.dumps(document, ensure_ascii=False), media_type=f"{kind};charset=utf-8")


def _within_bytes(features: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    if limit is None:
        return features
    kept, size = [], 0
    for feature in features:
        size += len(json.dumps(feature))
        if size > limit:
            break
        kept.append(feature)
    return kept


def _flat(geometry: dict[str, Any] | None, asked: Parameters) -> dict[str, Any] | None:
    """The geometry without heights, which come only when they are asked for."""
    if geometry is None or _is_true(asked, "returnZ"):
        return geometry

    def cut(part: Any) -> Any:
        return [cut(inner) for inner in part] if part and isinstance(part[0], list) else part[:2]

    return {**geometry, "coordinates": cut(geometry["coordinates"])}


def _is_true(asked: Parameters, name: str) -> bool:
    return asked.get(name, "").lower() == "true"


def _milliseconds(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
