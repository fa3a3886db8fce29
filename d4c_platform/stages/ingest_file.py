"""One file from its publisher into the portal: read once, hashed on the way, never on this machine's disk.

What is in memory is the part that fills and the part that is sent. When the body starts over, so does the upload. What the
body could not mend, and what the store could not after the tries of its own, is a failure; others go on.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sources.body import Beginning, Body
from d4c_platform.sources.listing import WHERE, Listed
from d4c_platform.sources.receipt import PEEK_BYTES, looks_like_html
from d4c_platform.storage.file_digests import FileDigests, FileHasher
from d4c_platform.storage.store import IMMUTABLE, ObjectStore, Uploaded
from d4c_platform.web import Web

BINARY = "application/octet-stream"
KEPT = "What was fetched before stays"
PAGES = (".html", ".htm", ".xhtml")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a release's files go, and how they are cut.

    Attributes:
        prefix: of every key; ends with the folder's name and `/`.
        alone: the folder has one file only, whose last piece is then not filled.
    """

    store: ObjectStore
    prefix: str
    piece_length: int
    alone: bool


def ingest_file(web: Web, file: Listed, to: Destination) -> dict[str, Any]:
    """Fetch a file and store it; returns the step for the journal.

    Raises:
        PermanentFailure: it is not served, or what is served is not it.
        TransientFailure: the server, the line or the store failed again and again.
    """
    body = Body(web, file.url, where=WHERE, kept=KEPT)
    with ExitStack() as begun, closing(body.pieces()) as pieces:
        for piece in pieces:
            if isinstance(piece, Beginning):
                begun.close()  # of an upload that is not finished nothing stays
                writing = _Writing(file, to, piece)
                begun.enter_context(writing.upload)
            else:
                writing.take(piece)
        digests, done = writing.finish()
    return {
        "path": file.path,
        "url": file.url,
        "bytes": digests.bytes,
        "sha256": digests.sha256,
        "md5": digests.md5.hex(),
        "merkle_root": digests.merkle_root,
        "piece_length": digests.piece_length,
        "pieces": base64.b64encode(digests.pieces).decode("ascii"),
        "s3_etag": done.s3_etag,
        "part_bytes": done.part_length,
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "resumed": body.resumed,
        **_said(body.beginning.headers),
    }


class _Writing:
    """The file from one beginning on: the part that fills, the upload that takes the full ones, and all digests."""

    def __init__(self, file: Listed, to: Destination, beginning: Beginning) -> None:
        self._file, self._status = file, beginning.status
        media_type = beginning.headers.get("content-type", BINARY)
        key = to.prefix + file.path
        self.upload = to.store.upload(key, beginning.length, media_type=media_type, cache_control=IMMUTABLE)
        self._hasher = FileHasher(to.piece_length, alone=to.alone)
        self._part = bytearray()
        self._sent = False

    def take(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        rest = memoryview(chunk)
        while rest:
            room = self.upload.part_length - len(self._part)
            self._part += rest[:room]
            rest = rest[room:]
            if len(self._part) == self.upload.part_length:
                self._send()

    def finish(self) -> tuple[FileDigests, Uploaded]:
        if self._part:
            self._send()
        digests = self._hasher.finish()
        return digests, self.upload.finish(digests.sha256, digests.md5)

    def _send(self) -> None:
        if not self._sent:
            self._refuse_page()
        self.upload.send(self._part)
        self._part, self._sent = bytearray(), True

    def _refuse_page(self) -> None:
        if looks_like_html(bytes(self._part[:PEEK_BYTES])) and not self._file.path.lower().endswith(PAGES):
            raise PermanentFailure(
                f"an HTML page arrived with status {self._status} instead of the file",
                where=WHERE,
                file=self._file.path,
                kept=KEPT,
            )


def _said(headers: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "content_type": headers.get("content-type"),
        "etag": headers.get("etag"),
        "last_modified": headers.get("last-modified"),
    }
