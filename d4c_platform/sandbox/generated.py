"""Files of any number and size that lie nowhere: a publisher of orthoimagery for tests and benchmarks.

The bytes of a file are those of one seeded block, read round and round from a place that depends on the file's path. So a
server costs a copy, a file of a terabyte costs nothing, and whoever knows the path knows the bytes. Ranges, `If-Range` and
validators are answered as `ranged` answers them for files on disk.

"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.datastructures import Headers

from d4c_platform.sandbox.faults import App, Receive, Scope, Send
from d4c_platform.sandbox.ranged import NotSatisfiable, spans

BLOCK = 1 << 20
CHUNK = 256 << 10  # of an answer: one message to the server's loop each
_ROUND = random.Random("Data for Canada").randbytes(BLOCK) * 2  # twice, so that a chunk is one slice from any place


@dataclass(frozen=True, slots=True)
class Generated:
    """A file that is made while it is served. Another `edition` has other bytes, validators and time."""

    size: int
    edition: int = 1

    def chunks(self, path: str, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
        """The bytes of the file from one place to another."""
        seed = int(self._mark(path), 16)
        block, at, end = memoryview(_ROUND), start, self.size if stop is None else stop
        while at < end:
            place = (seed + at) % BLOCK
            take = min(CHUNK, end - at)
            yield block[place : place + take]
            at += take

    def etag(self, path: str) -> str:
        return f'"{self._mark(path)}-{self.size:x}"'

    def _mark(self, path: str) -> str:
        return hashlib.sha256(f"{self.edition} {path}".encode()).hexdigest()[:16]

    @property
    def last_modified(self) -> str:
        return f"Wed, 11 Jun 2025 00:{self.edition % 60:02}:00 GMT"


def generated_app(files: Callable[[], Mapping[str, Generated]], lists: Callable[[], Mapping[str, bytes]]) -> App:
    """A publisher: `/files/<path>` are generated, and `/<name>` are its lists."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix("/")
        document = lists().get(path)
        if document is not None:
            await _start(send, 200, {"content-type": "text/plain", "content-length": str(len(document))})
            await send({"type": "http.response.body", "body": document})
            return
        name = path.removeprefix("files/")
        file = files().get(name)
        if file is None:
            await _start(send, 404, {"content-length": "0"})
            await send({"type": "http.response.body", "body": b""})
            return
        await _serve(name, file, scope, send)

    return app


def list_of(base: str, paths: Mapping[str, Generated]) -> bytes:
    """A list of these files at a server's address."""
    return "".join(f"{base}/files/{quote(path)}\n" for path in paths).encode()


async def _serve(name: str, file: Generated, scope: Scope, send: Send) -> None:
    asked = Headers(scope=scope)
    etag, modified = file.etag(name), file.last_modified
    said = {"etag": etag, "last-modified": modified, "accept-ranges": "bytes", "content-type": "image/tiff"}
    start, stop, status = 0, file.size, 200
    if asked.get("if-range", etag) in {etag, modified} and "range" in asked:
        try:
            found = spans(asked["range"], file.size)
        except NotSatisfiable:
            await _start(send, 416, {**said, "content-range": f"bytes */{file.size}", "content-length": "0"})
            await send({"type": "http.response.body", "body": b""})
            return
        if len(found) == 1:
            start, stop, status = found[0].start, found[0].stop, 206
            said["content-range"] = found[0].content_range(file.size)
    await _start(send, status, {**said, "content-length": str(stop - start)})
    if scope["method"] == "GET":
        for chunk in file.chunks(name, start, stop):
            await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
