"""The object store protocol: the few operations the platform needs, with the guarantees it relies on.

Every write is atomic (a reader sees the old object or the new one, never half), may be conditional, and is streamed in
bounded memory. `local.py` and `s3.py` implement it; the rest of the platform does not know which one it talks to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from d4c_platform.model.errors import PermanentFailure

NO_CACHE = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of one object.

    Attributes:
        key: the object key, relative to the store's root.
        bytes: size in bytes.
        etag: an opaque tag that changes when the object is replaced.
        sha256: hex digest recorded with the object when it was written, if the store keeps one.
    """

    key: str
    bytes: int
    etag: str
    sha256: str | None = None


class Conflict(PermanentFailure):
    """A conditional write lost: the object exists, or is no longer the one that was read."""


class NoObject(PermanentFailure):
    """There is no object under this key."""


class Upload(Protocol):
    """An object that is written while its bytes still arrive: part by part, in bounded memory, invisible until it is finished.

    A context manager: leaving it unfinished leaves nothing behind.

    Attributes:
        part_length: what every part but the last has to hold, in bytes.
    """

    part_length: int

    def __enter__(self) -> Upload: ...

    def __exit__(self, *about: object) -> None: ...

    def send(self, part: bytes | bytearray) -> None:
        """Take the next part; it belongs to the upload from now on. May wait for the part before."""
        ...

    def finish(self, sha256: str, md5: bytes) -> Uploaded:
        """Make the object visible. What a killed run left under the key gives way; the same bytes stay as they are.

        Args:
            sha256: hex digest of all bytes.
            md5: their MD5 digest.
        """
        ...


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An object that was written part by part.

    Attributes:
        s3_etag: what an S3 server calls these bytes in parts of this length: an MD5, or the MD5 of the parts' and their number.
    """

    info: ObjectInfo
    s3_etag: str
    part_length: int


class ObjectStore(Protocol):
    """A bucket, or a folder that behaves like one."""

    def head(self, key: str) -> ObjectInfo | None:
        """The object's facts, or None when there is none."""
        ...

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Stream the object's bytes. Raises NoObject."""
        ...

    def read(self, key: str) -> bytes:
        """The whole of a small object. Raises NoObject."""
        ...

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        media_type: str = "application/octet-stream",
        cache_control: str | None = None,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Write an object atomically.

        Args:
            sha256: hex digest to keep with the object, when the caller knows it.
            if_absent: only when there is no object under the key.
            if_match: only when the object's etag is still this one.

        Raises:
            Conflict: the condition does not hold; nothing was written.
        """
        ...

    def upload(
        self,
        key: str,
        size: int | None,
        *,
        media_type: str = "application/octet-stream",
        cache_control: str | None = None,
    ) -> Upload:
        """Begin to write an object of which nobody has all bytes yet.

        Args:
            size: how many will come, as far as it is known: it decides the length of the parts.
        """
        ...

    def drop_uploads(self, prefix: str) -> int:
        """End the unfinished uploads below a prefix, which only a killed run leaves; returns how many there were.

        Only for keys that nobody else writes at the same time.
        """
        ...

    def copy(
        self,
        source: str,
        key: str,
        *,
        cache_control: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Copy within the store, on the server's side, under the same conditions as `put`."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is fine."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, in key order."""
        ...

    def url(self, key: str) -> str:
        """The public URL of a key."""
        ...
