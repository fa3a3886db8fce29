"""Statistics Canada's boundary and geography files: the source kind `statcan-geography`.

They lie as zips on file servers (www12, www150) that say when a zip was *made*, not when it was published: files are zipped
again with the same members, so a new ETag and a new date start a look and prove nothing. What is in a zip are its members; one
that was only stamped again is recognised by them once it is archived. A file that is not there may be a page for people that
is served as a success.

A file comes in English (`…_e.zip`) and in French (`…_f.zip`). One of them is declared, and the release says which.

Not here: what a server says of a file (served_file), what is in it (transforms).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import ClassVar, Self

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.model.sources import StatCanGeographySource
from d4c_platform.sources.looks import Looks
from d4c_platform.sources.served_file import Validators, accept, file_name, probe, unseen
from d4c_platform.sources.source import Expect, Noticed, SourceSettings, SourceUrl
from d4c_platform.web import HttpRefusal, Web, without_query

WHERE = "statcan-geography"
LANGUAGES = {"e": "en", "f": "fr"}
GONE = frozenset({404, 410})
_VARIANT = re.compile(r"_([ef])(?=\.zip$)", re.IGNORECASE)

SHARED: Looks[Validators] = Looks()
"""The process's own."""


class StatCanGeography:
    """The source kind `statcan-geography`.

    Attributes:
        LOOK_HOLDS: files change once in years, for a census or a correction, and a sweep comes every few minutes.
        HASHED_BYTES: at most this much is read of a zip without validators; most boundary files are smaller than that.
    """

    kind: ClassVar[str] = "statcan-geography"
    LOOK_HOLDS: ClassVar[timedelta] = timedelta(days=1)
    HASHED_BYTES: ClassVar[int] = 64 * 1024**2

    def __init__(self, web: Web, settings: SourceSettings | None = None) -> None:
        self._web, self._remember = web, (settings or SourceSettings()).remember

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls(web, settings)

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """The zip's present state, as it was seen within the last day, when it is none of the seen ones."""
        url = _url(dataset)
        # A stand-in's past can change, so what was seen of it does not hold.
        remember = self._web.route(url) == url if self._remember is None else self._remember
        last = SHARED.last(url, now, self.LOOK_HOLDS) if remember else None
        present = last or self._look(url)
        noticed = unseen(
            present.hint,
            present.last_modified,
            seen,
            now,
            same=lambda hint: present.same(Validators.from_hint(hint)),
            more=_variant(url),
        )
        if remember and last is None and not noticed:
            SHARED.keep(url, now, present)
        return noticed

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        url = _url(dataset)
        noticed = Validators.from_hint(candidate.hint)
        acceptable = partial(accept, noticed, url, WHERE)
        return [SourceUrl(file_name(url, Expect.ZIP), url, Expect.ZIP, sha256=noticed.sha256, accept=acceptable)]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Nothing to ask: the answer that brought the zip has said which state it is."""

    def _look(self, url: str) -> Validators:
        try:
            return probe(self._web, url, where=WHERE, expect=Expect.ZIP, hashed_bytes=self.HASHED_BYTES)
        except HttpRefusal as refusal:
            if refusal.status not in GONE:
                raise
            raise PermanentFailure(
                f"there is no such file any more ({refusal.status})",
                where=WHERE,
                file=without_query(url),
                kept="The previous latest stays",
                remedy=self._where_else(url),
            ) from refusal

    def _where_else(self, url: str) -> str:
        """What a person can do about a file that is gone: its sibling in the other language may still be there."""
        sibling = _VARIANT.sub(lambda found: {"e": "_f", "f": "_e", "E": "_F", "F": "_E"}[found[1]], url)
        if sibling != url:
            try:
                probe(self._web, sibling, where=WHERE, expect=Expect.ZIP, hashed_bytes=0)
            except D4CError:
                pass  # no better off; the failure that is told is the first one
            else:
                return f"The other language is still there: declare {sibling}, or the file's new address"
        return "Look for the file's new address on the census geography pages, and declare it"


def _url(dataset: Dataset) -> str:
    if not isinstance(dataset.source, StatCanGeographySource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not a statcan-geography", dataset=dataset.id)
    return dataset.source.url


def _variant(url: str) -> dict[str, str]:
    """The language that a file's name tells; some files have both in one."""
    found = _VARIANT.search(url)
    return {"language": LANGUAGES[found[1].lower()]} if found else {}
