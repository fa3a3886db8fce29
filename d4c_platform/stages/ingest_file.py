"""One file from its publisher into the portal: read once, hashed on the way, never on this machine's disk.

What is in memory is the part that fills and the part that is sent. A line that breaks is mended by the body; a file that
changed, or whose server promised more than it sends, is begun anew a few times; then it is a failure, and others go on.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from d4c_platform.model.errors import TransientFailure
from d4c_platform.sources.body import Body
from d4c_platform.sources.listing import Listed
from d4c_platform.storage.file_digests import FileHasher
from d4c_platform.storage.store import IMMUTABLE, ObjectStore
from d4c_platform.web import HttpTrouble, Web

ATTEMPTS = 3  # of one file in one run, each from its first byte; what only breaks off is resumed within one
WAIT_S = 0.5
BINARY = "application/octet-stream"


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
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _stored(web, file, to)
        except HttpTrouble as trouble:
            # `Web` has tried an answered status again already; how long a host wants to be left alone, it says itself.
            if trouble.status is not None or attempt == ATTEMPTS:
                raise
        except TransientFailure:
            if attempt == ATTEMPTS:
                raise
        time.sleep(WAIT_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable: the last attempt returns or raises")


def _stored(web: Web, file: Listed, to: Destination) -> dict[str, Any]:
    hasher = FileHasher(to.piece_length, alone=to.alone)
    with Body(web, file.url, file.path) as body:
        media_type = body.headers.get("content-type", BINARY)
        upload = to.store.upload(to.prefix + file.path, body.length, media_type=media_type, cache_control=IMMUTABLE)
        with upload:
            part = bytearray()
            for chunk in body.chunks():
                hasher.update(chunk)
                rest = memoryview(chunk)
                while room := upload.part_length - len(part):
                    part += rest[:room]
                    rest = rest[room:]
                    if len(part) < upload.part_length:
                        break
                    upload.send(part)
                    part = bytearray()
                    if not rest:
                        break
            if part:
                upload.send(part)
            digests = hasher.finish()
            done = upload.finish(digests.sha256, digests.md5)
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
        **_said(body.headers),
    }


def _said(headers: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "content_type": headers.get("content-type"),
        "etag": headers.get("etag"),
        "last_modified": headers.get("last-modified"),
    }
