"""One file at a stable URL: the source kind `http-file`.

All that is known of a publisher here is what the file's server says of it (served_file).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from functools import partial
from typing import ClassVar, Self
from urllib.parse import urlsplit

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.model.sources import HttpFileSource
from d4c_platform.sources.served_file import ZIPPED, Validators, accept, file_name, probe, unseen
from d4c_platform.sources.source import Expect, Noticed, SourceSettings, SourceUrl
from d4c_platform.web import Web

__all__ = ["HttpFile", "Validators"]

WHERE = "http-file"
HASHED_BYTES = 64 * 1024**2  # at most this much is read to notice a file without validators: a sensor tick is short


class HttpFile:
    """The source kind `http-file`."""

    kind: ClassVar[str] = "http-file"

    def __init__(self, web: Web) -> None:
        self._web = web

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls(web)

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """The file's present state, when it is none of the seen ones; or the seen one, when a later one was noticed since."""
        url = _url(dataset)
        present = probe(self._web, url, where=WHERE, expect=_expected(dataset, url), hashed_bytes=HASHED_BYTES)
        return unseen(
            present.hint, present.last_modified, seen, now, same=lambda hint: present.same(Validators.from_hint(hint))
        )

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        url = _url(dataset)
        noticed = Validators.from_hint(candidate.hint)
        acceptable = partial(accept, noticed, url, WHERE)
        return [SourceUrl(_file_name(dataset, url), url, _expected(dataset, url), sha256=noticed.sha256, accept=acceptable)]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Nothing to ask: the answer that brought the file has said which state it is."""


def _url(dataset: Dataset) -> str:
    if not isinstance(dataset.source, HttpFileSource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not an http-file", dataset=dataset.id)
    return dataset.source.url


def _expected(dataset: Dataset, url: str) -> Expect:
    zipped = dataset.transform.kind in ZIPPED or urlsplit(url).path.lower().endswith(".zip")
    return Expect.ZIP if zipped else Expect.ANY


def _file_name(dataset: Dataset, url: str) -> str:
    return file_name(url, _expected(dataset, url))
