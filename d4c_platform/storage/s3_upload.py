"""An S3 object written while its bytes still arrive: one request when it is small, parts when it is not.

A part is sent while the next one fills, so at most two are in memory (three, while the size is unknown). The sha-256 is known
only after the last byte, when the metadata of an upload in parts can no longer be set: of a large object the caller's own
record keeps it, and what is proved here is the MD5 of every part, compared by the server.

Nobody but a killed run of the caller can have written the key before. So the condition is `If-None-Match`, and an object that
stands there is left when it has these very bytes, else replaced under `If-Match`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from d4c_platform.storage import s3_errors
from d4c_platform.storage.parts import multipart_etag, part_length
from d4c_platform.storage.s3_write import Write
from d4c_platform.storage.store import Conflict, ObjectInfo, Uploaded


class S3Upload:
    """One upload; see `store.Upload`.

    Args:
        write: a write of the key: of a new object, or in place of the one with this etag.
        head: what is under the key now.
    """

    def __init__(
        self,
        write: Callable[[str | None], Write],
        head: Callable[[], ObjectInfo | None],
        where: str,
        key: str,
        size: int | None,
    ) -> None:
        self.part_length = part_length(size)
        self._new, self._head, self._where, self._key = write, head, where, key
        self._write = write(None)
        self._fits = size is None or size <= self.part_length  # in one request, as far as is known
        self._held: bytes | bytearray | None = None
        self._upload_id: str | None = None
        self._sender: ThreadPoolExecutor | None = None
        self._on_its_way: Future[dict[str, Any]] | None = None
        self._parts: list[dict[str, Any]] = []
        self._md5s: list[bytes] = []
        self._bytes = 0

    def __enter__(self) -> S3Upload:
        return self

    def __exit__(self, *about: object) -> None:
        if self._sender is not None:
            self._sender.shutdown(wait=True, cancel_futures=True)
        if self._upload_id is not None:
            self._write.abort(self._upload_id)

    def send(self, part: bytes | bytearray) -> None:
        self._bytes += len(part)
        if self._fits and self._held is None and self._upload_id is None:
            self._held = part  # it may be the only one
            return
        with self._explained():
            if self._held is not None:
                self._dispatch(self._held)
                self._held = None
            self._dispatch(part)

    def finish(self, sha256: str, md5: bytes) -> Uploaded:
        if self._upload_id is None:
            data = self._held or b""
            return self._settled(multipart_etag([md5]), lambda write: write.whole(data, sha256, md5))
        with self._explained():
            self._collect()
        return self._settled(multipart_etag(self._md5s), self._complete)

    def _complete(self, write: Write) -> ObjectInfo:
        assert self._upload_id is not None
        done = write.complete(self._upload_id, self._parts, self._bytes)
        self._upload_id = None
        return done

    def _settled(self, etag: str, act: Callable[[Write], ObjectInfo]) -> Uploaded:
        try:
            return Uploaded(act(self._write), etag, self.part_length)
        except Conflict:
            there = self._head()
            if there is None:
                raise
        same = (there.bytes, there.etag) == (self._bytes, etag)
        return Uploaded(there if same else act(self._new(there.etag)), etag, self.part_length)

    def _dispatch(self, part: bytes | bytearray) -> None:
        if self._upload_id is None:
            self._upload_id = self._write.begin()
            self._sender = ThreadPoolExecutor(1, thread_name_prefix="s3-upload")
        self._collect()
        assert self._sender is not None
        self._on_its_way = self._sender.submit(self._send, self._upload_id, len(self._md5s) + 1, part)

    def _send(self, upload_id: str, number: int, part: bytes | bytearray) -> dict[str, Any]:
        md5 = hashlib.md5(part, usedforsecurity=False).digest()
        sent = self._write.send(upload_id, number, part, md5)
        self._md5s.append(md5)
        return sent

    def _collect(self) -> None:
        if self._on_its_way is not None:
            self._parts.append(self._on_its_way.result())
            self._on_its_way = None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise s3_errors.failure(error, self._where, self._key) from error
