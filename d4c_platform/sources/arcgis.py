"""One layer of an ArcGIS server: the source kind `arcgis`.

A layer is archived as one GeoJSON file in a canonical form (one feature a line, in the order of the object ids), so that equal
content has equal bytes whenever and from whichever server it is read, and beside it what the layer says of itself (field types,
domains, aliases), which does not count as content.

When it changed, a hosted layer says itself (`editingInfo`); a key is made of that date alone. Others, most on MapServers, say
nothing: a release is then what its content hashes to, read by a look at a bounded rhythm (arcgis_looks). Both only start a
harvest: whether anything changed, the archived bytes say. A layer that is put back as it was is the release that was seen then.

A harvest reads a live layer page by page. It is kept only when the edit date (or the hash that was noticed) and the rows are
the same before and after, and the object ids are exactly those that the layer has (arcgis_walk); otherwise it is read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import BinaryIO, ClassVar, Self

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.model.sources import ArcgisSource
from d4c_platform.sources.arcgis_features import WHERE
from d4c_platform.sources.arcgis_layer import ALL_ROWS, Edited, Layer, LayerClient
from d4c_platform.sources.arcgis_looks import SHARED, Looked, Looks
from d4c_platform.sources.arcgis_walk import LayerChanged, Walk, refuse_empty
from d4c_platform.sources.documents import canonical_json
from d4c_platform.sources.receipt import KEPT
from d4c_platform.sources.source import Answer, Expect, Noticed, OtherState, SourceSettings, SourceUrl, eastern_date, utc_key
from d4c_platform.web import Web

DATA, METADATA = "layer.geojson", "layer.json"
"""The archived files' names: neutral, so that a layer that only moves to another address keeps its content hash."""
UNDATED = "undated"
KEPT_HEADERS = frozenset({"content-type", "date", "server", "via"})  # of the last of many answers: its length says nothing


@dataclass(frozen=True, slots=True)
class State:
    """What tells one state of a layer from another.

    Attributes:
        edited: when the layer says that it was edited.
        sha256: of its content, when it says nothing.
        sign: what was cheap to know when the content was read.
        where: the declared condition: other rows of the same layer are another state.
    """

    edited: Edited | None = None
    sha256: str | None = None
    sign: str | None = None
    where: str = ALL_ROWS

    @classmethod
    def from_hint(cls, hint: Mapping[str, str]) -> Self:
        data, schema = hint.get("data_edited_ms"), hint.get("schema_edited_ms")
        edited = Edited(int(data), int(schema) if schema else None) if data else None
        return cls(edited, hint.get("sha256"), hint.get("sign"), hint.get("where", ALL_ROWS))

    @property
    def hint(self) -> dict[str, str]:
        edited = self.edited
        said = {
            "data_edited_ms": str(edited.data_ms) if edited else None,
            "schema_edited_ms": str(edited.schema_ms) if edited and edited.schema_ms else None,
            "sha256": self.sha256,
            "sign": self.sign,
            "where": self.where if self.where != ALL_ROWS else None,
        }
        return {name: value for name, value in said.items() if value is not None}

    @property
    def key(self) -> str:
        telling = {name: value for name, value in self.hint.items() if name != "sign"}
        mark = hashlib.sha256(json.dumps(telling, sort_keys=True).encode()).hexdigest()[:8]
        # Without a date of its own the key has none: with the time of notice in it, two sweeps at once would not agree.
        return f"{utc_key(self.edited.at) if self.edited else UNDATED}-{mark}"

    def same(self, other: State) -> bool:
        """Whether both speak of the same state of the layer."""
        if self.where != other.where:
            return False
        if self.edited and other.edited:
            return self.edited == other.edited
        return self.sha256 is not None and self.sha256 == other.sha256


class ArcgisLayer:
    """The source kind `arcgis`."""

    kind: ClassVar[str] = "arcgis"

    SETTLE: ClassVar[timedelta] = timedelta(minutes=15)
    """A layer that was edited just now is left to rest: publishers load rows in many edits, and half a load is no release."""
    PATIENCE: ClassVar[timedelta] = timedelta(days=1)
    """A layer that is edited all day is noticed once a day all the same."""
    ATTEMPTS: ClassVar[int] = 4
    """Tries of one query while harvesting: thousands follow each other, and one busy moment must not undo them all."""

    def __init__(self, web: Web, settings: SourceSettings | None = None, looks: Looks | None = None) -> None:
        self._web, self._remember = web, (settings or SourceSettings()).remember
        self._own = looks or Looks()

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls(web, settings)

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """The layer's present state, when it is none of the seen ones; or the seen one, when a later one was noticed since."""
        declared = _declared(dataset)
        client = LayerClient(self._web, declared.layer, declared.where)
        layer = client.layer()
        in_order = sorted(seen, key=lambda c: c.noticed_at)
        state = (
            State(layer.edited, where=declared.where)
            if layer.edited is not None
            else self._by_content(client, layer, in_order, now)
        )
        if state is None or (in_order and state.same(State.from_hint(in_order[-1].hint))):
            return []
        if state.edited is not None and in_order and self._is_unsettled(state.edited, in_order[-1], now):
            return []
        refuse_empty(client)
        # A publisher's clock may run ahead; a release from the future would hide every later one.
        released_at = min(state.edited.at if state.edited else now, now)
        before = [c for c in in_order if c.key == state.key or state.same(State.from_hint(c.hint))]
        # A layer that is put back may carry an older date than what is published; as a vintage it must not come before that.
        vintage_time = eastern_date(max([released_at, *(c.released_at for c in seen)]))
        return [Noticed(before[-1].key if before else state.key, released_at, vintage_time, state.hint)]

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        """The layer's rows, harvested when they are asked for, and what it says of itself."""
        declared, noticed = _declared(dataset), State.from_hint(candidate.hint)
        client = LayerClient(self._web, declared.layer, declared.where, self.ATTEMPTS)
        layer = client.layer()
        _refuse_other(layer, noticed, client)
        harvest = partial(self._harvest, declared, noticed)
        about = Answer(canonical_json(dict(layer.document)), 200, _kept(client))
        return [
            SourceUrl(DATA, declared.layer, Expect.JSON, sha256=noticed.sha256, harvest=harvest),
            SourceUrl(METADATA, declared.layer, Expect.JSON, in_content=False, answer=about),  # it tells the edit date
        ]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Nothing to ask: the harvest itself has asked after its last page."""

    def _harvest(self, declared: ArcgisSource, noticed: State, out: BinaryIO) -> Answer:
        client = LayerClient(self._web, declared.layer, declared.where, self.ATTEMPTS)
        layer = client.layer()
        _refuse_other(layer, noticed, client)
        walk = Walk(client, layer, out.write)
        headers: dict[str, str] = {}
        while walk.step():
            headers = _kept(client)
        walk.prove()
        after = client.layer()
        if (after.edited, after.schema) != (layer.edited, layer.schema):
            raise LayerChanged(
                "the layer was edited while it was read",
                where=WHERE,
                file=declared.layer,
                kept=KEPT,
                remedy="Withdraw this version; the newer state is noticed on its own",
            )
        return Answer(b"", 200, headers)

    def _by_content(self, client: LayerClient, layer: Layer, in_order: Sequence[Candidate], now: datetime) -> State | None:
        """The state of a layer without an edit date; None while its content is not known."""
        sign = f"{client.count()} rows, object ids to {client.greatest(layer)}, schema {layer.schema[:16]}"
        newest = State.from_hint(in_order[-1].hint) if in_order else State()
        known = (
            Looked(in_order[-1].noticed_at, newest.sign or "", newest.sha256)
            if newest.sha256 and newest.where == client.where
            else None
        )
        asked = self._web.route(client.url)
        shared = asked == client.url if self._remember is None else self._remember
        looks = SHARED if shared else self._own
        sha256 = looks.content(client, (asked, client.where), layer, sign, known, now)
        return State(sha256=sha256, sign=sign, where=client.where) if sha256 is not None else None

    def _is_unsettled(self, edited: Edited, newest: Candidate, now: datetime) -> bool:
        return timedelta() <= now - edited.at < self.SETTLE and now - newest.noticed_at < self.PATIENCE


def _refuse_other(layer: Layer, noticed: State, client: LayerClient) -> None:
    """Refuse a layer that says itself that it is in another state than the noticed one."""
    if noticed.edited is not None and layer.edited != noticed.edited:
        at = f"{layer.edited.at:%Y-%m-%d %H:%M} UTC" if layer.edited else "a time that it no longer tells"
        raise OtherState(
            f"the layer was edited at {at}; this release is the edit of {noticed.edited.at:%Y-%m-%d %H:%M} UTC",
            where=WHERE,
            file=client.url,
            kept=KEPT,
            remedy="Withdraw this version; the newer state is noticed on its own",
        )


def _kept(client: LayerClient) -> dict[str, str]:
    headers = client.last.headers if client.last is not None else {}
    return {name: headers[name] for name in KEPT_HEADERS if name in headers}


def _declared(dataset: Dataset) -> ArcgisSource:
    if not isinstance(dataset.source, ArcgisSource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not an arcgis layer", dataset=dataset.id)
    return dataset.source
