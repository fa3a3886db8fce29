"""Thousands of files that a list names, as one release: the source kind `file-list`.

Such a release may have terabytes, so looking at it must be cheap and must not be fooled into fetching it again for nothing.
What is looked at: the list itself, read whole at every look, and of a bounded sample of its files (`probes` of the
declaration) what the server says with HEAD. The sample is those whose hashed path is lowest, so that it stays the same while
the list grows, and spreads over all folders. Of a file the date and length count before its ETag, which differs from server
to server behind one name (where it is made of the inode). The order, comments and spacing of the list count for nothing.

What this cannot see: a file outside the sample that is replaced while the list stays the same. It is seen when any file of
the sample changes, too; a publisher who replaces files one by one needs a larger sample. All probes at every look would be
hundreds of thousands of requests to find out that nothing happened.

Not here: fetching the files (body, and stages.ingest, which knows where they go).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, Self
from urllib.parse import urlsplit

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.model.sources import FileListSource
from d4c_platform.sources.headers import http_date
from d4c_platform.sources.hops import is_private, refuse_astray
from d4c_platform.sources.listing import WHERE, Listed, lines_of, listed
from d4c_platform.sources.receipt import KEPT
from d4c_platform.sources.source import Noticed, OtherState, SourceSettings, SourceUrl, eastern_date, utc_key
from d4c_platform.web import HttpRefusal, Web, without_query

LIST = "list.txt"
"""The name of the archived list, as it was received."""

NO_HEAD = frozenset({403, 405, 501})  # servers that refuse HEAD but answer GET
UNDATED = "undated"
CONTENT = ("list_sha256", "files", "sample_sha256")
"""The hints that tell one release from another."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A list that was read: how many files it names, what it says whatever its order, and its sample."""

    files: int
    sha256: str
    sample: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class _Probe:
    """What the server says of one file."""

    state: str
    bytes: int | None
    modified: datetime | None


class FileList:
    """The source kind `file-list`."""

    kind: ClassVar[str] = "file-list"

    def __init__(self, web: Web) -> None:
        self._web = web

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls(web)

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """The list's present state, when it is none of the seen ones; or the seen one, when a later one was noticed since."""
        hint, modified = self._look(dataset)
        mark = hashlib.sha256("\n".join(hint[name] for name in CONTENT).encode()).hexdigest()[:8]
        key = f"{utc_key(modified) if modified else UNDATED}-{mark}"
        in_order = sorted(seen, key=lambda c: c.noticed_at)
        before = [c for c in in_order if c.key == key or _content(c.hint) == _content(hint)]
        if before and before[-1] is in_order[-1]:
            return []
        released_at = min(modified or now, now)  # a publisher's clock may run ahead
        vintage_time = eastern_date(max([released_at, *(c.released_at for c in seen)]))
        return [Noticed(before[-1].key if before else key, released_at, vintage_time, hint)]

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        """The list alone: the files it names are no part of what a machine can keep on its disk."""
        return [SourceUrl(LIST, declared(dataset).url, in_content=False)]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        hint, _ = self._look(dataset)
        if _content(hint) != _content(candidate.hint):
            raise OtherState(
                "the list, or a file of its sample, is another one than when this release was noticed",
                where=WHERE,
                file=without_query(declared(dataset).url),
                kept=KEPT,
                remedy="Withdraw this version; the newer state is noticed on its own",
            )

    def _look(self, dataset: Dataset) -> tuple[dict[str, str], datetime | None]:
        source = declared(dataset)
        with self._web.stream(source.url, where=WHERE) as response:
            refuse_astray(self._web, source.url, response, where=WHERE, kept=KEPT)
            reading = read(lines_of(response.iter_bytes()), source)
            modified = http_date(response.headers.get("Last-Modified"))
        refuse_private(self._web, source, (entry.url for entry in reading.sample))
        probes = [self._probe(entry.url) for entry in reading.sample]
        sizes = [probe.bytes for probe in probes if probe.bytes is not None]
        states = "\n".join(f"{e.path}\t{p.state}" for e, p in zip(reading.sample, probes, strict=True))
        hint = {
            "list_sha256": reading.sha256,
            "files": str(reading.files),
            "probes": str(len(probes)),
            "sample_sha256": hashlib.sha256(states.encode()).hexdigest(),
        }
        if sizes:
            hint["estimated_bytes"] = str(sum(sizes) * reading.files // len(sizes))
        dates = [moment for moment in (modified, *(probe.modified for probe in probes)) if moment is not None]
        return hint, max(dates, default=None)

    def _probe(self, url: str) -> _Probe:
        try:
            response = self._web.request("HEAD", url, where=WHERE)
            length = response.headers.get("Content-Length")
        except HttpRefusal as refusal:
            if refusal.status not in NO_HEAD:
                raise
            with self._web.stream(url, where=WHERE, headers={"Range": "bytes=0-0"}) as response:
                told = response.headers.get("Content-Range", "").rpartition("/")[2]
                length = told if response.status_code == 206 else response.headers.get("Content-Length")
        refuse_astray(self._web, url, response, where=WHERE, kept=KEPT)
        modified = response.headers.get("Last-Modified")
        state = f"{modified}\t{length}" if modified else f"{response.headers.get('ETag')}\t{length}"
        size = int(length) if length and length.isascii() and length.isdigit() else None
        return _Probe(state, size, http_date(modified))


def declared(dataset: Dataset) -> FileListSource:
    if not isinstance(dataset.source, FileListSource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not a file-list", dataset=dataset.id)
    return dataset.source


def read(lines: Iterable[bytes], source: FileListSource) -> Reading:
    """Read a list once, holding only its sample."""
    total, files = 0, 0
    sample: list[tuple[int, int, Listed]] = []  # a heap with the highest rank on top
    for entry in listed(lines, source.base):
        files += 1
        # A sum of hashes does not depend on the order of the lines, and needs none of them again.
        total += int.from_bytes(hashlib.sha256(f"{entry.url}\t{entry.path}".encode()).digest(), "big")
        rank = -int.from_bytes(hashlib.sha256(entry.path.encode()).digest(), "big")
        if len(sample) < source.probes:
            heapq.heappush(sample, (rank, files, entry))
        elif sample and rank > sample[0][0]:
            heapq.heapreplace(sample, (rank, files, entry))
    chosen = tuple(entry for _, _, entry in sorted(sample, reverse=True))
    return Reading(files, f"{total % (1 << 256):064x}", chosen)


def refuse_private(web: Web, source: FileListSource, urls: Iterable[str]) -> None:
    """A list must not make this machine read what lies behind its firewall and publish it.

    Not judged: a host whose place a stand-in has taken, and lists that lie on a private host themselves.
    """
    if is_private(urlsplit(source.url).hostname or ""):
        return
    for url in urls:
        if is_private(urlsplit(url).hostname or "") and web.route(url) == url:
            raise PermanentFailure(
                f"the list names a file in a private network ({without_query(url)})",
                where=WHERE,
                file=without_query(source.url),
                kept=KEPT,
                remedy="Ask the publisher for a list of public addresses",
            )


def _content(hint: Mapping[str, str]) -> tuple[str | None, ...]:
    return tuple(hint.get(name) for name in CONTENT)
