"""A file as its server speaks of it: which state it is in, and whether an answer brings that very state.

Servers say little, and some of it wrong, so validators are read with care: only a strong ETag stands alone, a `W/` prefix and
a `-gzip` suffix come from compression and not from the content, and some servers refuse HEAD. Validators are hints: that
content really changed, the archived bytes say. Without any, the content itself is hashed, of a large file its start.

Two servers behind one name may disagree. So the answer that brings the file says itself which state it is: asking before and
after proved nothing about what came in between. And a file that is put back exactly as it was (the same validators) is the
release that was seen then, unless that one never came as far as the archive (detection).

Not here: where a file lies and what a state means to its publisher (the kinds: http_file, statcan_geography, ckan).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import unquote, urlsplit

import httpx

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.sources.headers import encoding, http_date, number
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.receipt import KEPT, looks_like_html
from d4c_platform.sources.source import Expect, Noticed, OtherState, eastern_date, utc_key
from d4c_platform.web import HttpRefusal, Web, without_query

NO_HEAD = frozenset({403, 405, 501})  # servers that refuse HEAD but answer GET
ZIPPED = frozenset({"shapefile", "statcan-csv"})  # transforms that read a zip
PEEK_BYTES = 512
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

    @property
    def tell_all(self) -> bool:
        """Whether no change can go unnoticed by them; of a file of which only the start was read, one can."""
        return self.start_sha256 is None

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


def probe(web: Web, url: str, *, where: str, expect: Expect, hashed_bytes: int) -> Validators:
    """Ask a server which state a file is in, without fetching it when the server can tell.

    Args:
        where: the kind of source, for messages.
        hashed_bytes: at most this much is read of a file without validators.

    Raises:
        PermanentFailure: a page is served in the file's place, or the way to it leads where it must not.
        HttpRefusal, HttpTrouble: the server said no, or failed.
    """
    try:
        response = web.request("HEAD", url, where=where)
        refuse_astray(web, url, response, where=where, kept=KEPT)
        length = _length(response.headers)
    except HttpRefusal as refusal:
        if refusal.status not in NO_HEAD:
            raise
        with web.stream(url, where=where, headers={"Range": "bytes=0-0"}) as response:
            refuse_astray(web, url, response, where=where, kept=KEPT)
            length = _whole_length(response)
    if "html" in response.headers.get("Content-Type", "") and expect is Expect.ZIP:
        _refuse_page(web, url, where)
    validators = Validators.of(response.headers, length)
    return validators if validators.say_something else _hashed(web, url, where, hashed_bytes)


def accept(noticed: Validators, url: str, where: str, headers: Mapping[str, str]) -> None:
    """Refuse an answer whose headers say that it brings another state of the file than the noticed one.

    Raises:
        OtherState: it does.
    """
    if not Validators.of(headers, _length(headers)).may_be(noticed):
        raise OtherState(
            "the publisher has replaced the file since this release was noticed",
            where=where,
            file=without_query(url),
            remedy="Withdraw this version; the newer file is noticed on its own",
        )


def unseen(
    state: Mapping[str, str],
    modified: datetime | None,
    seen: Sequence[Candidate],
    now: datetime,
    *,
    same: Callable[[Mapping[str, str]], bool],
    more: Mapping[str, str] | None = None,
) -> list[Noticed]:
    """The present state, when it is none of the seen ones; or the seen one, when a later one was noticed since.

    Args:
        state: what tells this state from another; the release's key and hint.
        modified: the publisher's date of it.
        same: whether a seen release's hint speaks of this very state.
        more: what else belongs into the hint, and tells no states apart.
    """
    # A publisher's clock may run ahead; a release from the future would hide every later one.
    released_at = min(modified or now, now)
    mark = hashlib.sha256(json.dumps(dict(state), sort_keys=True).encode()).hexdigest()[:8]
    # Without a date of its own the key has none: with the time of notice in it, two sweeps at once would not agree.
    key = f"{utc_key(modified) if modified else UNDATED}-{mark}"
    in_order = sorted(seen, key=lambda c: c.noticed_at)
    before = [c for c in in_order if c.key == key or same(c.hint)]
    if before and before[-1] is in_order[-1]:
        return []
    # A new file may carry an older date than what is published; as a vintage it must not come before that.
    vintage_time = eastern_date(max([released_at, *(c.released_at for c in seen)]))
    return [Noticed(before[-1].key if before else key, released_at, vintage_time, {**(more or {}), **state})]


def file_name(url: str, expect: Expect) -> str:
    """The file's own name, safe as an object key and on every file system."""
    name = safe_name(unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]))
    return f"{name}.zip" if expect is Expect.ZIP and not name.lower().endswith(".zip") else name


def safe_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "file"


def _refuse_page(web: Web, url: str, where: str) -> None:
    with web.stream(url, where=where) as response:
        start = next(response.iter_bytes(PEEK_BYTES), b"")
    if looks_like_html(start):
        raise PermanentFailure(
            "an HTML page is served where a zip is expected",
            where=where,
            file=without_query(url),
            kept="The previous latest stays",
            remedy="Open the URL in a browser; wait until the publisher has repaired it, or correct the declaration",
        )


def _hashed(web: Web, url: str, where: str, most_bytes: int) -> Validators:
    digest, size = hashlib.sha256(), 0
    with web.stream(url, where=where) as response:
        refuse_astray(web, url, response, where=where, kept=KEPT)
        for chunk in response.iter_bytes(1 << 20):
            digest.update(chunk[: most_bytes - size])
            size += len(chunk)
            if size > most_bytes:
                return Validators(content_length=_length(response.headers), start_sha256=digest.hexdigest())
    return Validators(content_length=size, sha256=digest.hexdigest())


def _length(headers: Mapping[str, str]) -> int | None:
    """The file's length; the length of an encoded body says nothing about it."""
    return None if encoding(headers) else number(headers.get("Content-Length"))


def _whole_length(response: httpx.Response) -> int | None:
    """The file's length from the answer to a request for one byte, or from a server that ignored the range."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        return number(response.headers.get("Content-Range", "").rpartition("/")[2])
    return number(response.headers.get("Content-Length"))
