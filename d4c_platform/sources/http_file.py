"""One file at a stable URL: the source kind `http-file`.

Servers say little, and some of it wrong, so validators are read with care: only a strong ETag stands alone, a `W/` prefix and
a `-gzip` suffix come from compression and not from the content, and some servers refuse HEAD. Validators are hints: that
content really changed, the archived bytes say. Without any, the content itself is hashed, of a large file its start.

Two servers behind one name may disagree. So the answer that brings the file says itself which state it is: asking before and
after proved nothing about what came in between. And a file that is put back exactly as it was (the same validators) is the
release that was seen then, unless that one never came as far as the archive (detection).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

import httpx

from d4c_platform.model.dataset import Dataset, HttpFileSource
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.sources.headers import encoding, http_date, number
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.receipt import KEPT, looks_like_html
from d4c_platform.sources.source import Expect, Noticed, OtherState, SourceSettings, SourceUrl, eastern_date, utc_key
from d4c_platform.web import HttpRefusal, Web, without_query

WHERE = "http-file"
NO_HEAD = frozenset({403, 405, 501})  # servers that refuse HEAD but answer GET
ZIPPED = frozenset({"shapefile", "statcan-csv"})  # transforms that read a zip
PEEK_BYTES = 512
HASHED_BYTES = 64 * 1024**2  # at most this much is read to notice a file without validators: a sensor tick is short
UNDATED = "undated"


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server says that tells one state of a file from another.

    Attributes:
        sha256: of the whole file, when the server says nothing else.
        start_sha256: of its first `HASHED_BYTES`, when it is larger. A change further on that keeps the length goes unnoticed.
    """

    etag: str | None = None
    weak_etag: str | None = None
    last_modified: datetime | None = None
    content_length: int | None = None
    sha256: str | None = None
    start_sha256: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], length: int | None) -> Self:
        tag = headers.get("ETag", "").strip()
        opaque = re.sub(r"(?:-|;)(?:gzip|br)\"$", '"', tag.removeprefix("W/")) or None
        strong = opaque is not None and opaque == tag
        return cls(opaque if strong else None, None if strong else opaque, http_date(headers.get("Last-Modified")), length)

    @classmethod
    def from_hint(cls, hint: Mapping[str, str]) -> Self:
        length, modified = hint.get("content_length"), hint.get("last_modified")
        return cls(
            hint.get("etag"),
            hint.get("weak_etag"),
            datetime.fromisoformat(modified) if modified else None,
            int(length) if length else None,
            hint.get("sha256"),
            hint.get("start_sha256"),
        )

    @property
    def hint(self) -> dict[str, str]:
        said = {
            "etag": self.etag,
            "weak_etag": self.weak_etag,
            "last_modified": self.last_modified.isoformat() if self.last_modified else None,
            "content_length": str(self.content_length) if self.content_length is not None else None,
            "sha256": self.sha256,
            "start_sha256": self.start_sha256,
        }
        return {name: value for name, value in said.items() if value is not None}

    @property
    def say_something(self) -> bool:
        """Whether they can tell two states apart: a length alone cannot."""
        return bool(self.etag or self.weak_etag or self.last_modified)

    def same(self, other: Validators) -> bool:
        """Whether both speak of the same state of the file."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        if self.start_sha256 and other.start_sha256:
            return self.start_sha256 == other.start_sha256 and self._same_length(other)
        if self.etag and other.etag:
            return self.etag == other.etag
        both = self._said_by_both(other)
        return bool(both) and all(mine == theirs for mine, theirs in both) and self._same_length(other)

    def may_be(self, other: Validators) -> bool:
        """Whether nothing speaks against it: as `same`, but forgives an ETag that differs from server to server when time and
        length agree, and a server that says less when it serves the file than when it was asked about it.
        """
        known_length = self.content_length is not None and self.content_length == other.content_length
        if known_length and self.last_modified and other.last_modified:
            return self.last_modified == other.last_modified
        return self.same(other) if self._said_by_both(other) else self._same_length(other)

    def _said_by_both(self, other: Validators) -> list[tuple[object, object]]:
        said: list[tuple[object, object]] = [
            (self.etag or self.weak_etag, other.etag or other.weak_etag),
            (self.last_modified, other.last_modified),
        ]
        return [(mine, theirs) for mine, theirs in said if mine and theirs]

    def _same_length(self, other: Validators) -> bool:
        return None in {self.content_length, other.content_length} or self.content_length == other.content_length


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
        validators = self._validators(dataset)
        # A publisher's clock may run ahead; a release from the future would hide every later one.
        released_at = min(validators.last_modified or now, now)
        hint = validators.hint
        mark = hashlib.sha256(json.dumps(hint, sort_keys=True).encode()).hexdigest()[:8]
        # Without a date of its own the key has none: with the time of notice in it, two sweeps at once would not agree.
        when = utc_key(validators.last_modified) if validators.last_modified else UNDATED
        key = f"{when}-{mark}"
        in_order = sorted(seen, key=lambda c: c.noticed_at)
        before = [c for c in in_order if c.key == key or validators.same(Validators.from_hint(c.hint))]
        if before and before[-1] is in_order[-1]:
            return []
        # A new file may carry an older date than what is published; as a vintage it must not come before that.
        vintage_time = eastern_date(max([released_at, *(c.released_at for c in seen)]))
        return [Noticed(before[-1].key if before else key, released_at, vintage_time, hint)]

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        url = _url(dataset)
        noticed = Validators.from_hint(candidate.hint)
        accept = partial(_accept, noticed, url)
        return [SourceUrl(_file_name(dataset, url), url, _expected(dataset, url), sha256=noticed.sha256, accept=accept)]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Nothing to ask: the answer that brought the file has said which state it is."""

    def _validators(self, dataset: Dataset) -> Validators:
        url = _url(dataset)
        try:
            response = self._web.request("HEAD", url, where=WHERE)
            refuse_astray(self._web, url, response, where=WHERE, kept=KEPT)
            length = _length(response.headers)
        except HttpRefusal as refusal:
            if refusal.status not in NO_HEAD:
                raise
            with self._web.stream(url, where=WHERE, headers={"Range": "bytes=0-0"}) as response:
                refuse_astray(self._web, url, response, where=WHERE, kept=KEPT)
                length = _whole_length(response)
        if "html" in response.headers.get("Content-Type", "") and _expected(dataset, url) is Expect.ZIP:
            self._refuse_page(url)
        validators = Validators.of(response.headers, length)
        return validators if validators.say_something else self._hashed(url)

    def _refuse_page(self, url: str) -> None:
        with self._web.stream(url, where=WHERE) as response:
            start = next(response.iter_bytes(PEEK_BYTES), b"")
        if looks_like_html(start):
            raise PermanentFailure(
                "an HTML page is served where a zip is expected",
                where=WHERE,
                file=without_query(url),
                kept="The previous latest stays",
                remedy="Open the URL in a browser; wait until the publisher has repaired it, or correct the declaration",
            )

    def _hashed(self, url: str) -> Validators:
        digest, size = hashlib.sha256(), 0
        with self._web.stream(url, where=WHERE) as response:
            refuse_astray(self._web, url, response, where=WHERE, kept=KEPT)
            for chunk in response.iter_bytes(1 << 20):
                digest.update(chunk[: HASHED_BYTES - size])
                size += len(chunk)
                if size > HASHED_BYTES:
                    return Validators(content_length=_length(response.headers), start_sha256=digest.hexdigest())
        return Validators(content_length=size, sha256=digest.hexdigest())


def _accept(noticed: Validators, url: str, headers: Mapping[str, str]) -> None:
    """Refuse an answer whose headers say that it brings another state of the file than the noticed one."""
    if not Validators.of(headers, _length(headers)).may_be(noticed):
        raise OtherState(
            "the publisher has replaced the file since this release was noticed",
            where=WHERE,
            file=without_query(url),
            remedy="Withdraw this version; the newer file is noticed on its own",
        )


def _length(headers: Mapping[str, str]) -> int | None:
    """The file's length; the length of an encoded body says nothing about it."""
    return None if encoding(headers) else number(headers.get("Content-Length"))


def _url(dataset: Dataset) -> str:
    if not isinstance(dataset.source, HttpFileSource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not an http-file", dataset=dataset.id)
    return dataset.source.url


def _expected(dataset: Dataset, url: str) -> Expect:
    zipped = dataset.transform.kind in ZIPPED or urlsplit(url).path.lower().endswith(".zip")
    return Expect.ZIP if zipped else Expect.ANY


def _file_name(dataset: Dataset, url: str) -> str:
    """The file's own name, safe as an object key and on every file system."""
    last = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "file"
    wants_zip = _expected(dataset, url) is Expect.ZIP and not name.lower().endswith(".zip")
    return f"{name}.zip" if wants_zip else name


def _whole_length(response: httpx.Response) -> int | None:
    """The file's length from the answer to a request for one byte, or from a server that ignored the range."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        return number(response.headers.get("Content-Range", "").rpartition("/")[2])
    return number(response.headers.get("Content-Length"))
