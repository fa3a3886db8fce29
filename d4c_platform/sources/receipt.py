"""Receive one file of a release: bring it to local disk while hashing, and look at what arrived before anyone keeps it.

An answer of 200 is no proof of a file: portals serve HTML error pages, gateways cut bodies, zips arrive broken. What trying
again can mend (a broken line, a 503) is tried again (body) and then a `TransientFailure`; the rest is a `PermanentFailure`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Fetching
from d4c_platform.sources import zipfiles
from d4c_platform.sources.body import MOST_STARTS
from d4c_platform.sources.download import KEPT, WHERE, Stopped, download, on_disk
from d4c_platform.sources.source import Answer, Expect, OtherState, SourceUrl
from d4c_platform.web import HttpTrouble, Web, without_query

__all__ = ["KEPT", "KEPT_HEADERS", "LOOK", "WHERE", "Receipt", "looks_like_html", "receive"]

PEEK_BYTES = 512
KEPT_HEADERS = (
    "content-type",
    "content-length",
    "content-encoding",
    "content-disposition",
    "date",
    "etag",
    "last-modified",
    "server",
    "via",
    "age",
)
"""The headers that tell how a file was received. An allow-list: cookies and tokens never reach a record."""

LOOK = "Open the URL in a browser; when the publisher serves the file again, materialize this version again"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A file on local disk, found to be what was expected, and how it came.

    Attributes:
        content_sha256: over the canonical content; two zips with the same members have the same.
        directory_sha256: of a zip, over its members' names, sizes and CRCs; empty for other files.
        redirects: the URLs that were passed on the way, without their queries.
    """

    path: Path
    bytes: int
    sha256: str
    content_sha256: str
    directory_sha256: str
    fetched_at: datetime
    status: int
    headers: dict[str, str]
    redirects: tuple[str, ...]
    fetching: Fetching | None = None


def receive(web: Web, file: SourceUrl, path: Path, stop: Callable[[], bool] | None = None) -> Receipt:
    """Fetch a file to `path` and check it; a file that is refused does not stay there.

    Args:
        stop: asked again and again while the file comes, whether to give it up.

    Raises:
        PermanentFailure: what arrived is not the file, or the way to it leads where it must not.
        OtherState: it is another state of the file than the one that was noticed.
        TransientFailure: the server or the line failed on every attempt.
        HttpRefusal: the server said no.
    """
    try:
        return _received(web, file, path, stop or (lambda: False))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _received(web: Web, file: SourceUrl, path: Path, stop: Callable[[], bool]) -> Receipt:
    arrived = _arrived(web, file, path, stop)
    _check_start(file, path, arrived)
    if file.sha256 is not None and file.sha256 != arrived.sha256:
        raise OtherState(
            "the publisher has replaced the file since this release was noticed",
            where=WHERE,
            file=without_query(file.url),
            kept=KEPT,
            remedy="Withdraw this version; the newer file is noticed on its own",
        )
    content = content_sha256(file, path, arrived.sha256)
    directory = zipfiles.directory_sha256(path) if file.expect is Expect.ZIP else ""
    return Receipt(
        path=path,
        bytes=arrived.bytes,
        sha256=arrived.sha256,
        content_sha256=content,
        directory_sha256=directory,
        fetched_at=datetime.now(UTC),
        status=arrived.status,
        headers=arrived.headers,
        redirects=arrived.redirects,
        fetching=arrived.fetching,
    )


def content_sha256(file: SourceUrl, path: Path, sha256: str) -> str:
    """The hash of a file's canonical content; its own, when its bytes are its content.

    Raises:
        D4CError: it is no sound zip, or not whole.
    """
    if file.content is not None:
        return file.content(path)
    return zipfiles.content_sha256(path, file.name) if file.expect is Expect.ZIP else sha256


def looks_like_html(start: bytes) -> bool:
    """Whether the first bytes are those of a page for people."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (text.startswith(b"<!--") and b"<html" in text)


@dataclass(frozen=True, slots=True)
class _Arrived:
    """The bytes as they came, before anyone looked at them."""

    bytes: int
    sha256: str
    status: int
    headers: dict[str, str]
    redirects: tuple[str, ...] = ()
    fetching: Fetching | None = None


def _arrived(web: Web, file: SourceUrl, path: Path, stop: Callable[[], bool]) -> _Arrived:
    if file.answer is not None:
        return _written(file.answer, path)
    if file.harvest is not None:
        return _harvested(file.harvest, path, stop)
    got = download(web, file, path, stop)
    redirects = tuple(hop.location for hop in got.fetching.hops)
    return _Arrived(got.bytes, got.sha256, got.status, _kept(got.headers), redirects, got.fetching)


def _harvested(harvest: Callable[[BinaryIO], Answer], path: Path, stop: Callable[[], bool]) -> _Arrived:
    started_at = datetime.now(UTC)
    for attempt in range(1, MOST_STARTS + 1):
        try:
            with on_disk(path), io.BufferedWriter(_Stoppable(path, stop)) as out:
                answer = harvest(out)
            break
        except OtherState:
            if attempt == MOST_STARTS:
                raise
        except HttpTrouble as trouble:
            # An answered status was retried by `Web` already; what is left is a body that broke off.
            if trouble.status is not None or attempt == MOST_STARTS:
                raise
    with path.open("rb") as stream:  # the pages came slowly; the file is still in the page cache
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    fetching = Fetching(started_at=started_at, requests=attempt)
    return _Arrived(path.stat().st_size, sha256, answer.status, _kept(answer.headers), fetching=fetching)


class _Stoppable(io.FileIO):
    """A file that is no longer written to when there is no sense in it."""

    def __init__(self, path: Path, stop: Callable[[], bool]) -> None:
        super().__init__(path, "w+")
        self._stop = stop

    def write(self, data: Any, /) -> int:
        if self._stop():
            raise Stopped("another file of the release failed", where=WHERE, kept=KEPT)
        return super().write(data)


def _written(answer: Answer, path: Path) -> _Arrived:
    path.write_bytes(answer.body)
    sha256 = hashlib.sha256(answer.body).hexdigest()
    return _Arrived(len(answer.body), sha256, answer.status, _kept(answer.headers))


def _check_start(file: SourceUrl, path: Path, arrived: _Arrived) -> None:
    with path.open("rb") as stream:
        start = stream.read(PEEK_BYTES)
    if not start:
        raise _not_the_file("the file is empty (0 bytes)", file)
    is_page = looks_like_html(start)
    wants_page = without_query(file.url).lower().endswith((".html", ".htm"))
    if is_page and not (file.expect is Expect.ANY and wants_page):
        raise _not_the_file(f"an HTML page arrived with status {arrived.status} instead of the file", file)
    if file.expect is Expect.ZIP and not start.startswith(zipfiles.MAGIC):
        called = arrived.headers.get("content-type", "no content type")
        kind = zipfiles.other_kind(start) or f"it starts with {start[:8]!r}"
        raise _not_the_file(f"what arrived is no zip but {kind}, and is called {called}", file)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in KEPT_HEADERS if name in headers}


def _not_the_file(what: str, file: SourceUrl) -> PermanentFailure:
    return PermanentFailure(what, where=WHERE, file=f"{file.name} from {without_query(file.url)}", kept=KEPT, remedy=LOOK)
