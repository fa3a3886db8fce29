"""The ArcGIS REST protocol of one layer: what it says of itself, counts, ids and pages of features, with its errors made plain.

Servers of fifteen years answer under the same names. So nothing is taken for granted: what a layer can do is read from its
metadata, errors come with HTTP 200, and every answer is looked at before it is believed. A query for rows always carries a
limit, because one without ends in a 500 or in silence.

Not here: in which order to ask so that no row is lost or doubled (arcgis_walk), the spelling of a feature (arcgis_features).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeGuard

import httpx
import stamina

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.sources.arcgis_features import WHERE, Row, from_esri, from_geojson
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.receipt import KEPT
from d4c_platform.web import Web

WGS84 = 4326
ALL_ROWS = "1=1"
NEEDS_TOKEN = frozenset({498, 499})  # also while a publisher takes a layer away and shares it anew
PASSING_CODES = NEEDS_TOKEN | {408, 429, 500, 502, 503, 504}
AGAIN = "It is tried again on the next run"
LOOK = "Open the layer's address in a browser: if it works there, compare its answer with what `sources.arcgis_layer` asks"


class Busy(TransientFailure):
    """The server said inside an HTTP 200 that it cannot answer just now."""


@dataclass(frozen=True, slots=True)
class Edited:
    """When a layer was last edited, in milliseconds since 1970 as the server says it.

    Attributes:
        schema_ms: the schema's own time, when it is told: a renamed field changes what is harvested, and no row.
    """

    data_ms: int
    schema_ms: int | None

    @property
    def at(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=max(self.data_ms, self.schema_ms or 0))


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer says of itself.

    Attributes:
        most_rows: at most this many rows come in one answer, whatever is asked.
        ordered: whether it sorts, and cuts only what is sorted (`supportsPagination`).
        statistics: whether it can tell its greatest object id.
        geojson: whether it speaks `f=geojson`; only `f=json` otherwise.
        has_z: whether positions have a height, which comes only when it is asked for.
        edited: None when it does not say.
        schema: a digest of fields and geometry type.
        document: the whole answer.
    """

    oid_field: str
    most_rows: int
    ordered: bool
    statistics: bool
    geojson: bool
    has_z: bool
    edited: Edited | None
    schema: str
    document: Mapping[str, Any]


class LayerClient:
    """Asks one layer.

    Args:
        web: its number of attempts is for lost connections and HTTP statuses.
        where: the declared condition, which every query carries.
        attempts: tries of a query that is answered with a passing error inside an HTTP 200.
    """

    FIRST_WAIT_S: ClassVar[float] = 2.0
    """Before the second try: an overloaded ArcGIS Server frees its instances within seconds."""
    POST_OVER_BYTES: ClassVar[int] = 2000
    """A longer URL is asked by POST: IIS in front of ArcGIS Server refuses queries over 2,048 bytes."""
    PAGE_BYTES: ClassVar[int] = 64 << 20
    """Most that one answer may have. It is held in memory while it is read; a page that has more is asked for in parts."""
    DEFAULT_ROWS: ClassVar[int] = 500
    """Where a server older than 10.1 does not say its limit: the smallest default that ArcGIS Server ever had."""

    def __init__(self, web: Web, url: str, where: str, attempts: int = 1) -> None:
        self._web, self.url, self.where, self._attempts = web, url, where, attempts
        self.last: httpx.Response | None = None
        """The answer that came last, for the provenance."""

    def layer(self) -> Layer:
        """What the layer says of itself.

        Raises:
            PermanentFailure: it is no layer whose rows can be read completely.
            TransientFailure: the server cannot answer now.
        """
        return self._described(self._ask("", {}))

    def count(self, *conditions: str) -> int:
        answer = self._ask("/query", {"where": self._all(conditions), "returnCountOnly": "true"})
        count = answer.get("count")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise self._strange(f"a count of rows is answered with {count!r}")
        return count

    def ids(self, *conditions: str) -> list[int]:
        """The object ids of the rows, in order: one answer, so one moment. Not subject to the limit of a page."""
        answer = self._ask("/query", {"where": self._all(conditions), "returnIdsOnly": "true"})
        ids = answer.get("objectIds") or []  # null when there is none
        if not isinstance(ids, list) or not all(isinstance(oid, int) and not isinstance(oid, bool) for oid in ids):
            raise self._strange("the object ids are no list of whole numbers")
        return sorted(ids)

    def greatest(self, layer: Layer) -> int | None:
        """The greatest object id, when the layer can tell it."""
        if not layer.statistics:
            return None
        asked = [{"statisticType": "max", "onStatisticField": layer.oid_field, "outStatisticFieldName": "greatest"}]
        answer = self._ask("/query", {"where": self.where, "outStatistics": json.dumps(asked)})
        features = answer.get("features")
        first = features[0] if isinstance(features, list) and features else None
        values = list(first["attributes"].values()) if isinstance(first, dict) and first.get("attributes") else [None]
        return int(values[0]) if isinstance(values[0], (int, float)) and values[0] == values[0] // 1 else None

    def page(self, layer: Layer, *conditions: str, rows: int) -> list[Row]:
        """At most `rows` rows, as they came: the ones with the lowest object ids where the layer sorts, otherwise any.

        There may be more, and the flag that says so (`exceededTransferLimit`) is not looked at: it stands in either of two
        places, some servers set it always and some never, and a count says the same for certain.
        """
        asked = {
            "where": self._all(conditions),
            "outFields": "*",
            "returnGeometry": "true",
            "outSR": str(WGS84),
        }
        if layer.has_z:
            asked["returnZ"] = "true"
        if layer.ordered:
            asked |= {"orderByFields": layer.oid_field, "resultRecordCount": str(min(rows, layer.most_rows))}
        answer = self._ask("/query", asked, form="geojson" if layer.geojson else "json")
        features = answer.get("features")
        if not isinstance(features, list):
            raise self._strange("an answer has no features")
        self._refuse_other_system(answer, layer, features)
        read = from_geojson if layer.geojson else from_esri
        return [read(feature, layer.oid_field) for feature in features]

    def _all(self, conditions: Sequence[str]) -> str:
        own = [] if self.where == ALL_ROWS and conditions else [f"({self.where})" if conditions else self.where]
        return " AND ".join([*own, *conditions])

    def _ask(self, path: str, parameters: dict[str, str], form: str = "json") -> dict[str, Any]:
        for attempt in stamina.retry_context(
            on=Busy, attempts=self._attempts, timeout=None, wait_initial=self.FIRST_WAIT_S, wait_jitter=self.FIRST_WAIT_S
        ):
            with attempt:
                return self._answer(path, {**parameters, "f": form})
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _answer(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        url = self.url + path
        by_get = len(str(httpx.URL(url, params=parameters))) <= self.POST_OVER_BYTES
        how: dict[str, Any] = {"params": parameters} if by_get else {"data": parameters}
        response = self._web.request(
            "GET" if by_get else "POST", url, where=WHERE, retry=True, limit_bytes=self.PAGE_BYTES, **how
        )
        refuse_astray(self._web, url, response, where=WHERE, kept=KEPT)
        try:
            answer = json.loads(response.content)
        except ValueError as error:
            kind = response.headers.get("Content-Type", "no content type")
            raise Busy(
                f"answered {response.status_code} with {kind} instead of JSON", where=WHERE, file=self.url, remedy=AGAIN
            ) from error
        if not isinstance(answer, dict):
            raise self._strange("an answer is no JSON object")
        if "error" in answer or answer.get("status") == "error":
            raise self._failed(answer)
        self.last = response
        return answer

    def _failed(self, answer: dict[str, Any]) -> D4CError:
        """The failure behind an HTTP 200 with an error in it."""
        error = answer.get("error")
        facts = error if isinstance(error, dict) else answer
        code = facts.get("code")
        words = [facts.get("message"), *_listed(facts.get("details")), *_listed(facts.get("messages"))]
        said = "; ".join(dict.fromkeys(" ".join(word.split()) for word in words if isinstance(word, str) and word.strip()))
        what = f"the server answered with error {code}" + (f": {said[:300]}" if said else "")
        if code in NEEDS_TOKEN:
            remedy = "Publishers close a layer while they replace it; if it stays so, it is no longer public"
            return Busy(f"{what} (it asks for a token)", where=WHERE, file=self.url, remedy=remedy)
        if code in PASSING_CODES:
            return Busy(what, where=WHERE, file=self.url, remedy=AGAIN)
        return PermanentFailure(what, where=WHERE, file=self.url, kept=KEPT, remedy=LOOK)

    def _described(self, document: dict[str, Any]) -> Layer:
        said = document.get("advancedQueryCapabilities")
        advanced = said if isinstance(said, dict) else {}
        fields = [field for field in _listed(document.get("fields")) if isinstance(field, dict)]
        by_type = next((field.get("name") for field in fields if field.get("type") == "esriFieldTypeOID"), None)
        oid_field = document.get("objectIdField") or by_type
        kind, geometry_type = document.get("type"), document.get("geometryType")
        if "type" in document and kind not in {"Feature Layer", "Table"}:
            raise self._unfit(f"it is a {kind}", "Declare one of the layers that hold features")
        if "capabilities" in document and "query" not in str(document["capabilities"]).lower():
            raise self._unfit("the publisher does not let it be queried", "Ask the publisher, or declare their file instead")
        if not isinstance(oid_field, str) or not oid_field:
            raise self._unfit("it has no object id, so nothing can tell whether all rows came", "Declare another layer")
        if geometry_type == "esriGeometryMultiPatch":
            raise self._unfit("it holds multipatches, which GeoJSON has no word for", "Declare the publisher's file instead")
        most = document.get("maxRecordCount")
        columns = [[field.get("name"), field.get("type"), field.get("length")] for field in fields]
        return Layer(
            oid_field=oid_field,
            most_rows=most if isinstance(most, int) and most is not True and most > 0 else self.DEFAULT_ROWS,
            ordered=advanced.get("supportsPagination") is True,
            statistics=(advanced.get("supportsStatistics") or document.get("supportsStatistics")) is True,
            geojson="geojson" in str(document.get("supportedQueryFormats", "")).lower(),
            has_z=document.get("hasZ") is True,
            edited=_edited(document.get("editingInfo")),
            schema=hashlib.sha256(json.dumps([geometry_type, columns], sort_keys=True).encode()).hexdigest(),
            document=document,
        )

    def _refuse_other_system(self, answer: dict[str, Any], layer: Layer, features: list[Any]) -> None:
        """Refuse coordinates of another system than the one that was asked for: they would lie in the sea."""
        if layer.geojson:
            named = answer.get("crs")
            name = str(named["properties"].get("name", "")) if isinstance(named, dict) and "properties" in named else "4326"
            found = None if name.endswith((str(WGS84), "CRS84")) else name
        else:
            said = answer.get("spatialReference")
            codes = (said.get("wkid"), said.get("latestWkid")) if isinstance(said, dict) else (None,)
            drawn = any(isinstance(feature, dict) and feature.get("geometry") for feature in features)
            found = f"{codes[0]}" if drawn and WGS84 not in codes else None
        if found is not None:
            raise self._strange(f"WGS 84 (4326) was asked for, and the coordinates came in {found}")

    def _unfit(self, what: str, remedy: str) -> PermanentFailure:
        return PermanentFailure(what, where=WHERE, file=self.url, kept=KEPT, remedy=remedy)

    def _strange(self, what: str) -> PermanentFailure:
        return PermanentFailure(what, where=WHERE, file=self.url, kept=KEPT, remedy=LOOK)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _edited(said: Any) -> Edited | None:
    """The edit dates of `editingInfo`; None without a believable one: then the content has to tell."""
    if not isinstance(said, dict):
        return None
    data = said.get("dataLastEditDate") or said.get("lastEditDate")
    schema = said.get("schemaLastEditDate")
    return Edited(data, schema if _is_time(schema) else None) if _is_time(data) else None


def _is_time(value: Any) -> TypeGuard[int]:
    """Whether it is a time after 1970 that a calendar has, in milliseconds."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 253_402_300_800_000
