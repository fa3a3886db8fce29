"""Datasets of Opendatasoft portals (Vancouver): the source kind `opendatasoft`, through the Explore API v2.1.

The portal says when it last processed a dataset's data (`data_processed`), when it last changed (`modified`, which counts a
comma in the description too) and how many records it has. The first and the last of these start a look; many datasets are
processed every night without a change, and then the content says so once it is archived.

An export is one call however large it is, while reading by pages stops at 10,000 records: so it is always the whole export. It
is streamed, in no promised order (unordered), and it can end early without a sign: its records are counted against what the
portal says it has. An anonymous client may be shown a dataset and none of its records; that ends in the same count.

Calls are counted: a quota a day, and its headers are heeded (answers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

import httpx

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate
from d4c_platform.model.sources import OpendatasoftSource
from d4c_platform.sources.documents import canonical_json, json_of
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.looks import Looks
from d4c_platform.sources.receipt import KEPT
from d4c_platform.sources.served_file import safe_name, unseen
from d4c_platform.sources.source import Answer, Expect, Noticed, OtherState, SourceSettings, SourceUrl
from d4c_platform.sources.unordered import Cut, content_of
from d4c_platform.web import HttpRefusal, Web, without_query

WHERE = "opendatasoft"
API = "/api/explore/v2.1/catalog/datasets/"
ASKED = {
    # A portal may have other defaults; the same question gives the same answer everywhere.
    "geojson": "timezone=UTC",
    "csv": "delimiter=%2C&timezone=UTC",
    "parquet": "timezone=UTC",
}
CHANGED = "Look at `metas.default` in the portal's answer: the service has changed"


@dataclass(frozen=True, slots=True)
class State:
    """What the portal says of a dataset's data.

    Attributes:
        processed: when its data was processed last, as the portal spells it; when it was modified, if it does not say.
    """

    processed: str
    records: int
    title: str = ""
    modified: str = ""

    @property
    def hint(self) -> dict[str, str]:
        return {"data_processed": self.processed, "records_count": str(self.records)}

    @property
    def about(self) -> dict[str, str]:
        said = {"title": self.title, "modified": self.modified}
        return {name: value for name, value in said.items() if value}

    def same(self, hint: Mapping[str, str]) -> bool:
        return {name: hint.get(name) for name in self.hint} == self.hint


SHARED: Looks[State] = Looks()
"""The process's own."""


class Opendatasoft:
    """The source kind `opendatasoft`.

    Attributes:
        LOOK_HOLDS: anonymous clients have some thousand calls a day for a whole portal; 24 for each dataset leave room.
    """

    kind: ClassVar[str] = "opendatasoft"
    LOOK_HOLDS: ClassVar[timedelta] = timedelta(hours=1)

    def __init__(self, web: Web, settings: SourceSettings | None = None) -> None:
        self._web, self._remember = web, (settings or SourceSettings()).remember

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls(web, settings)

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """The dataset's present state, when it is none of the seen ones."""
        declared = _declared(dataset)
        url = _url(declared)
        # A stand-in's past can change, so what was seen of it does not hold.
        remember = self._web.route(url) == url if self._remember is None else self._remember
        last = SHARED.last(url, now, self.LOOK_HOLDS) if remember else None
        state = last or self._asked(declared)[0]
        noticed = unseen(state.hint, _moment(state.processed), seen, now, same=state.same, more=state.about)
        if remember and last is None and not noticed:
            SHARED.keep(url, now, state)
        return noticed

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        """The export, and the dataset as the portal describes it."""
        declared = _declared(dataset)
        state, document, response = self._asked(declared)
        _same_state(state, candidate, declared)
        name = safe_name(declared.dataset)
        export = SourceUrl(
            f"{name}.{declared.format}",
            f"{_url(declared)}/exports/{declared.format}?{ASKED[declared.format]}",
            content=partial(self._content, declared, candidate, state),
        )
        answer = Answer(canonical_json(document), response.status_code, response.headers)
        # It tells when the data was processed, which is new every night.
        about = SourceUrl(f"{name}.dataset.json", _url(declared), Expect.JSON, in_content=False, answer=answer)
        return [export, about]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Ask whether the data was processed again while it was exported: then the export may be of both states."""
        declared = _declared(dataset)
        _same_state(self._asked(declared)[0], candidate, declared)

    def _content(self, declared: OpendatasoftSource, candidate: Candidate, state: State, path: Path) -> str:
        """The content of an export that has all the records the portal says there are."""
        try:
            count, sha256 = content_of(path, declared.format)
        except Cut as cut:
            what = f"the export is not whole: {cut}"
        else:
            if count == state.records:
                return sha256
            what = f"the export has {count:,} records where the portal says there are {state.records:,}"
        # Processed again meanwhile, it is another state and not a broken one.
        _same_state(self._asked(declared)[0], candidate, declared)
        raise TransientFailure(
            what,
            where=WHERE,
            file=declared.dataset,
            kept=KEPT,
            remedy="It is tried again on the next run; if it stays so, the portal does not give all records to everybody, "
            "or leaves some out of this format: look at it there, or declare another format",
        )

    def _asked(self, declared: OpendatasoftSource) -> tuple[State, Mapping[str, Any], httpx.Response]:
        """The dataset as the portal describes it now.

        Raises:
            PermanentFailure: there is no such dataset, it is not public, or it has no records.
        """
        url = _url(declared)
        try:
            response = self._web.request("GET", url, where=WHERE)
        except HttpRefusal as refusal:
            raise _refused(refusal, declared) from refusal
        refuse_astray(self._web, url, response, where=WHERE, kept=KEPT)
        document = json_of(response, url, WHERE)
        metas = document.get("metas") if isinstance(document, dict) else None
        default = metas.get("default") if isinstance(metas, dict) else None
        if not isinstance(document, dict) or not isinstance(default, dict):
            raise _permanent(
                "the answer describes no dataset", declared, "Look at the portal's answer: the service has changed"
            )
        if document.get("has_records") is False:
            raise _permanent(
                "the dataset has no records to export, only attachments or a link",
                declared,
                "Declare the file itself as an http-file",
            )
        processed = default.get("data_processed") or default.get("modified")
        records = default.get("records_count")
        if not isinstance(processed, str) or _moment(processed) is None or not isinstance(records, int):
            raise _permanent(
                "the portal does not say when the data was processed, or how many records it has",
                declared,
                CHANGED,
            )
        title, modified = str(default.get("title") or ""), str(default.get("modified") or "")
        return State(processed, records, title, modified), document, response


def _same_state(state: State, candidate: Candidate, declared: OpendatasoftSource) -> None:
    if not state.same(candidate.hint):
        raise OtherState(
            f"the data was processed again ({state.processed}, {state.records:,} records) since this release was noticed",
            where=WHERE,
            file=declared.dataset,
            remedy="Withdraw this version; the newer state is noticed on its own",
        )


def _refused(refusal: HttpRefusal, declared: OpendatasoftSource) -> PermanentFailure:
    if refusal.status == 404:
        return _permanent(
            "the portal has no such dataset",
            declared,
            "Look for it on the portal: it may have another id there, or have been removed; what is published stays",
        )
    if refusal.status in {401, 403}:
        return _permanent(
            f"the dataset is not open to everybody ({refusal.status})", declared, "Ask the publisher whether it is meant to be"
        )
    return refusal


def _permanent(what: str, declared: OpendatasoftSource, remedy: str) -> PermanentFailure:
    file = f"{declared.dataset} at {without_query(declared.portal)}"
    return PermanentFailure(what, where=WHERE, file=file, kept=KEPT, remedy=remedy)


def _declared(dataset: Dataset) -> OpendatasoftSource:
    if not isinstance(dataset.source, OpendatasoftSource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not an opendatasoft", dataset=dataset.id)
    return dataset.source


def _url(declared: OpendatasoftSource) -> str:
    return f"{declared.portal.rstrip('/')}{API}{quote(declared.dataset, safe='@')}"


def _moment(text: str) -> datetime | None:
    """A time of the portal's; UTC without a zone. None when it is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
