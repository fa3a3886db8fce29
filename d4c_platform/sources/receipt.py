"""Receive one file of a release: stream it once to local disk while hashing, and look at what arrived before anyone keeps it.

An answer of 200 is no proof of a file: portals serve HTML error pages, gateways cut bodies, zips arrive broken. What trying
again can mend (a broken line, a 503) is tried again here and then a `TransientFailure`; the rest is a `PermanentFailure`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import httpx

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.sources import zipfiles
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.source import Answer, Expect, OtherState, SourceUrl
from d4c_platform.web import HttpTrouble, Web, without_query

WHERE = "receipt"
BODY_ATTEMPTS = 3  # of a body that breaks off or is another server's; opening it is retried by `Web` itself
CHUNK_BYTES = 1 << 20
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

KEPT = "The previous latest stays"
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


def receive(web: Web, file: SourceUrl, path: Path) -> Receipt:
    """Fetch a file to `path` and check it.

    Raises:
        PermanentFailure: what arrived is not the file, or the way to it leads where it must not.
        OtherState: it is another state of the file than the one that was noticed.
        TransientFailure: the server or the line failed on every attempt.
        HttpRefusal: the server said no.
    """
    arrived = _arrived(web, file, path)
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
    redirects: tuple[str, ...]


def _arrived(web: Web, file: SourceUrl, path: Path) -> _Arrived:
    if file.answer is not None:
        return _written(file.answer, path)
    for attempt in range(1, BODY_ATTEMPTS + 1):
        try:
            return _harvested(file.harvest, path) if file.harvest is not None else _downloaded(web, file, path)
        except OtherState:
            if attempt == BODY_ATTEMPTS:  # the next answer may come from another server behind the same name
                raise
        except HttpTrouble as trouble:
            # An answered status was retried by `Web` already; what is left is a body that broke off.
            if trouble.status is not None or attempt == BODY_ATTEMPTS:
                path.unlink(missing_ok=True)
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _downloaded(web: Web, file: SourceUrl, path: Path) -> _Arrived:
    with web.stream(file.url, where=WHERE) as response:
        refuse_astray(web, file.url, response, where=WHERE, kept=KEPT)
        if file.accept is not None:
            file.accept(response.headers)
        return _streamed(response, path, file)


def _harvested(harvest: Callable[[BinaryIO], Answer], path: Path) -> _Arrived:
    try:
        with path.open("wb") as out:
            answer = harvest(out)
    except OSError as error:
        raise _unwritten(error, path) from error
    with path.open("rb") as stream:  # the pages came slowly; the file is still in the page cache
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return _Arrived(path.stat().st_size, sha256, answer.status, _kept(answer.headers), ())


def _streamed(response: httpx.Response, path: Path, file: SourceUrl) -> _Arrived:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("wb") as out:
            for chunk in _body(response):
                digest.update(chunk)
                size += out.write(chunk)
    except OSError as error:
        raise _unwritten(error, path) from error
    declared = response.headers.get("Content-Length")
    if declared and not _encoded(response) and declared.isdecimal() and int(declared) != size:
        raise HttpTrouble(
            f"{size:,} of {int(declared):,} bytes arrived",
            status=None,
            where=WHERE,
            file=without_query(file.url),
            kept=KEPT,
            remedy="It is tried again on the next run",
        )
    redirects = tuple(without_query(str(step.headers.get("Location", step.url))) for step in response.history)
    return _Arrived(size, digest.hexdigest(), response.status_code, _kept(response.headers), redirects)


def _unwritten(error: OSError, path: Path) -> TransientFailure:
    return TransientFailure(
        f"it could not be written to the local disk ({error.strerror})",
        where=WHERE,
        file=str(path),
        kept=KEPT,
        remedy="Make room there, or point D4C_WORK_DIR to a larger disk, and materialize this version again",
    )


def _encoded(response: httpx.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}


def _body(response: httpx.Response) -> Iterator[bytes]:
    # We ask for no encoding; a server that compresses all the same is undone, so that the archive holds the file itself.
    return response.iter_bytes(CHUNK_BYTES) if _encoded(response) else response.iter_raw(CHUNK_BYTES)


def _written(answer: Answer, path: Path) -> _Arrived:
    path.write_bytes(answer.body)
    sha256 = hashlib.sha256(answer.body).hexdigest()
    return _Arrived(len(answer.body), sha256, answer.status, _kept(answer.headers), ())


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
        kind = arrived.headers.get("content-type", "no content type")
        raise _not_the_file(f"what arrived is no zip: it starts with {start[:8]!r} and is called {kind}", file)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in KEPT_HEADERS if name in headers}


def _not_the_file(what: str, file: SourceUrl) -> PermanentFailure:
    return PermanentFailure(what, where=WHERE, file=f"{file.name} from {without_query(file.url)}", kept=KEPT, remedy=LOOK)
