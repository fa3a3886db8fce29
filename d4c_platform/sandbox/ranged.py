"""Answer a request with a file's bytes as RFC 9110 says: conditions, one range, several ranges, HEAD.

Starlette's `FileResponse` is not enough here: it looks at the path and opens it later, so a file replaced in between is sent
with its predecessor's length and ETag; it never answers 304; and it answers 400 to a Range header that it does not
understand where the RFC says to ignore it. Here the file is opened first and everything is said of that open file, so an
answer is always one object's bytes. Memory stays at one chunk an answer.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from d4c_platform.sandbox.faults import App, Receive, Scope, Send

CHUNK_BYTES = 256 * 1024  # one hop to a reading thread each: larger gains nothing, smaller costs throughput
MOST_RANGES = 32  # more in one request is a mistake or an attack; the header is then ignored

MEDIA_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".torrent": "application/x-bittorrent",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".zip": "application/zip",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".xml": "application/xml",
    ".pmtiles": "application/vnd.pmtiles",
    ".tif": "image/tiff",
}


def media_type(path: Path) -> str:
    return MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes: the first one, and the one after the last."""

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class NotSatisfiable(Exception):
    """None of the ranges lies within the file."""


def spans(header: str, size: int) -> list[Span]:
    """The ranges a Range header asks for; empty when the header is to be ignored.

    Raises:
        NotSatisfiable: well-formed, but nothing of it lies within the file.
    """
    unit, equals, value = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return []
    found: list[Span] = []
    parts = [p.strip() for p in value.split(",") if p.strip()]
    for part in parts:
        first, dash, last = (p.strip() for p in part.partition("-"))
        if not dash or not (first or last) or not all(p.isascii() and p.isdigit() for p in (first, last) if p):
            return []
        if first and last and int(last) < int(first):
            return []
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        if start < stop:
            found.append(Span(start, stop))
    if len(parts) > MOST_RANGES:
        return []
    if parts and not found:
        raise NotSatisfiable
    return found


class FileAnswer:
    """An ASGI answer with a file's bytes.

    Args:
        path: a regular file; anything else answers `missing`.
        headers: sent with every successful answer, 304 and 416 included.
        missing: the app that answers when there is no such file.
    """

    def __init__(self, path: Path, *, headers: Mapping[str, str] | None = None, missing: App | None = None) -> None:
        self._path, self._headers = path, dict(headers or {})
        self._missing: App = missing or PlainTextResponse("Not Found", status_code=404)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            handle = await anyio.to_thread.run_sync(partial(os.open, self._path, os.O_RDONLY))
        except OSError:
            await self._missing(scope, receive, send)
            return
        try:
            info = os.fstat(handle)
            if stat.S_ISREG(info.st_mode):
                await self._of(handle, info, scope, send)
            else:
                await self._missing(scope, receive, send)
        finally:
            os.close(handle)

    async def _of(self, handle: int, info: os.stat_result, scope: Scope, send: Send) -> None:
        asked = Headers(scope=scope)
        # The inode is part of it: a replaced file may have its predecessor's size and, on a coarse clock, its time.
        etag = f'"{info.st_ino:x}-{info.st_mtime_ns:x}-{info.st_size:x}"'
        modified = formatdate(info.st_mtime, usegmt=True)
        said = {"accept-ranges": "bytes", "etag": etag, "last-modified": modified, **self._headers}
        if _unchanged(asked, etag, int(info.st_mtime)):
            await _send(send, 304, said)
            return
        wanted: list[Span] = []
        # Range is defined for GET only (RFC 9110 §14.2), and If-Range must name exactly this representation.
        if scope["method"] == "GET" and asked.get("if-range", etag) in {etag, modified}:
            try:
                wanted = spans(asked.get("range", ""), info.st_size)
            except NotSatisfiable:
                await _send(send, 416, {**said, "content-range": f"bytes */{info.st_size}", "content-length": "0"})
                return
        kind = media_type(self._path)
        body = scope["method"] == "GET"
        match wanted:
            case []:
                whole = Span(0, info.st_size)
                await _send(send, 200, {**said, "content-type": kind, "content-length": str(info.st_size)}, more=body)
                if body:
                    await _send_spans(send, handle, [(b"", whole)], b"")
            case [span]:
                length = str(span.stop - span.start)
                about = {"content-type": kind, "content-range": span.content_range(info.st_size), "content-length": length}
                await _send(send, 206, {**said, **about}, more=True)
                await _send_spans(send, handle, [(b"", span)], b"")
            case several:
                await self._several(send, handle, info.st_size, several, said, kind)

    async def _several(self, send: Send, handle: int, size: int, wanted: list[Span], said: dict[str, str], kind: str) -> None:
        boundary = secrets.token_hex(13)
        heads = [
            f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {s.content_range(size)}\r\n\r\n".encode() for s in wanted
        ]
        parts = [(head if i == 0 else b"\r\n" + head, span) for i, (head, span) in enumerate(zip(heads, wanted, strict=True))]
        end = f"\r\n--{boundary}--\r\n".encode()
        length = sum(len(head) + span.stop - span.start for head, span in parts) + len(end)
        about = {"content-type": f"multipart/byteranges; boundary={boundary}", "content-length": str(length)}
        await _send(send, 206, {**said, **about}, more=True)
        await _send_spans(send, handle, parts, end)


def _unchanged(asked: Headers, etag: str, modified: int) -> bool:
    """Whether the client's copy is this representation (RFC 9110 §13.2.2: If-None-Match wins over If-Modified-Since)."""
    known = asked.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in [t.strip().removeprefix("W/") for t in known.split(",")]
    since = asked.get("if-modified-since")
    try:
        return since is not None and modified <= int(parsedate_to_datetime(since).timestamp())
    except (TypeError, ValueError):
        return False


async def _send(send: Send, status: int, headers: Mapping[str, str], *, more: bool = False) -> None:
    raw = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if not more:
        await send({"type": "http.response.body", "body": b""})


async def _send_spans(send: Send, handle: int, parts: list[tuple[bytes, Span]], end: bytes) -> None:
    for head, span in parts:
        if head:
            await _send_more(send, head)
        at = span.start
        while at < span.stop:
            read: Callable[[], bytes] = partial(os.pread, handle, min(CHUNK_BYTES, span.stop - at), at)
            chunk = await anyio.to_thread.run_sync(read)
            if not chunk:  # the file was cut while it was sent: break the answer off rather than fill it up
                raise OSError(f"the file ended at byte {at}, before the {span.stop} that were announced")
            await _send_more(send, chunk)
            at += len(chunk)
    await send({"type": "http.response.body", "body": end})


async def _send_more(send: Send, body: bytes) -> None:
    message: MutableMapping[str, Any] = {"type": "http.response.body", "body": body, "more_body": True}
    await send(message)
