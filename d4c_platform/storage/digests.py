"""Everything that is ever asked about an artifact's bytes, from one pass over them.

sha-256 and md5 (mirrors' checksums), the SHA-1 pieces of a v1 torrent (BEP 3), the 16 KiB leaves and root of the v2 merkle
tree (BEP 52) and, when asked for, the ETag of an S3 multipart upload. Nothing here keeps the bytes: memory is the leaves,
32 bytes for every 16 KiB (0.2 % of the size).

Not libtorrent's own hashing: it needs the file on disk, holds the GIL throughout and knows neither sha-256 nor md5. The
tests compare this module with it, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Digests

BLOCK = 16 * 1024
"""Bytes of a leaf of the BEP 52 merkle tree."""

SMALLEST_PIECE = 16 * 1024
USUAL_LARGEST_PIECE = 16 * 1024 * 1024  # clients make no larger ones by themselves
LARGEST_PIECE = 64 * 1024 * 1024  # Transmission's limit; a flipped bit costs a whole piece
AIMED_PIECES = 2048  # 40 KB of hashes: a small .torrent, and a small unit of repair
MOST_PIECES = 120_000  # beyond, the .torrent nears the size that libtorrent refuses
UNKNOWN_SIZE_PIECE = 4 * 1024 * 1024  # right for 8 GiB, tolerable from 100 MB to 400 GB

READ_CHUNK = 4 * 1024 * 1024


def piece_length_for(size: int) -> int:
    """The v1 piece length for a file of this size: a power of two from 16 KiB to 64 MiB.

    The smallest that gives at most 2048 pieces (32 MiB: 16 KiB, 2 GiB: 1 MiB), up to 16 MiB, which then stays until there
    are 120 000 pieces (1.9 TiB); larger only for what is larger still. A pure function of the size, because the piece length
    is part of the info-hash.
    """
    piece = SMALLEST_PIECE
    while piece < USUAL_LARGEST_PIECE and piece * AIMED_PIECES < size:
        piece *= 2
    while piece < LARGEST_PIECE and piece * MOST_PIECES < size:
        piece *= 2
    return piece


def merkle_root(leaves: bytes) -> bytes:
    """The BEP 52 root over leaf hashes: the layer is filled with zero hashes up to a power of two."""
    layer, pad = leaves, bytes(32)
    while len(layer) > 32:
        if len(layer) % 64:
            layer += pad
        layer = b"".join(hashlib.sha256(layer[i : i + 64]).digest() for i in range(0, len(layer), 64))
        pad = hashlib.sha256(pad + pad).digest()
    return layer


class OnePass:
    """All digests of a stream, fed chunk by chunk.

    Args:
        size_hint: the size when it is known up front: it decides the piece length. A wrong hint still gives valid digests,
            with a piece length that another pass would not choose.
        part_size: also compute the ETag that an S3 multipart upload with parts of this size gets.
        executor: hash in these threads; `hashlib` releases the GIL.
    """

    def __init__(self, size_hint: int | None, *, part_size: int | None = None, executor: Executor | None = None) -> None:
        self.piece_length = UNKNOWN_SIZE_PIECE if size_hint is None else piece_length_for(size_hint)
        self.bytes = 0
        self._executor = executor
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._pieces = Blocks(sha1, self.piece_length)
        self._leaves = Blocks(hashlib.sha256, BLOCK)
        self._parts = Blocks(_md5, part_size) if part_size else None
        self._lanes: list[Callable[[memoryview], object]] = [
            self._leaves.update,
            self._md5.update,
            self._sha256.update,
            self._pieces.update,
            *([self._parts.update] if self._parts else []),
        ]

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. The chunk may be reused by the caller afterwards."""
        data = memoryview(chunk)
        self.bytes += len(data)
        if self._executor is None:
            for lane in self._lanes:
                lane(data)
        else:
            for done in [self._executor.submit(lane, data) for lane in self._lanes]:
                done.result()

    def finish(self) -> tuple[Digests, bytes]:
        """The digests, and the merkle leaves (32 bytes for every 16 KiB). Raises PermanentFailure for no bytes at all."""
        if not self.bytes:
            raise PermanentFailure("has no bytes: an empty file is no artifact", where="digests")
        leaves = self._leaves.finish()
        digests = Digests(
            bytes=self.bytes,
            sha256=self._sha256.hexdigest(),
            md5=self._md5.hexdigest(),
            piece_length=self.piece_length,
            pieces=base64.b64encode(self._pieces.finish()).decode("ascii"),
            merkle_root=merkle_root(leaves).hex(),
        )
        return digests, leaves

    def s3_etag(self) -> str:
        """The ETag (without quotes) of the same bytes uploaded in parts of `part_size`; below that size, in one request."""
        if self._parts is None:
            raise ValueError("OnePass was made without a part_size")
        parts = self._parts.finish()
        if self.bytes <= self._parts.size:
            return self._md5.hexdigest()
        return f"{_md5(parts).hexdigest()}-{len(parts) // 16}"


def digest(path: Path) -> tuple[Digests, bytes]:
    """All digests of a file and its merkle leaves, reading it once. Raises PermanentFailure when it changes meanwhile."""
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(4, thread_name_prefix="digest") as threads:
        before = os.fstat(file.fileno())
        one_pass = OnePass(before.st_size, executor=threads)
        buffer = bytearray(READ_CHUNK)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            one_pass.update(view[:count])
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or one_pass.bytes != before.st_size:
        raise PermanentFailure(
            "was changed while its digests were computed", where="digests", file=path.name, remedy="Build the artifact again"
        )
    try:
        return one_pass.finish()
    except PermanentFailure as error:
        error.file = path.name
        raise


class Blocks:
    """The hashes of consecutive blocks of one size; the last may be shorter.

    Args:
        new: makes an empty hash.
    """

    def __init__(self, new: Callable[..., Any], size: int) -> None:
        self._new, self.size = new, size
        self._hash, self._room = new(), size
        self._digests = bytearray()

    def update(self, data: memoryview) -> None:
        at, end = 0, len(data)
        while at < end:
            take = min(self._room, end - at)
            self._hash.update(data[at : at + take])
            at += take
            self._room -= take
            if not self._room:
                self._close_block()

    def finish(self) -> bytes:
        if self._room < self.size:
            self._close_block()
        return bytes(self._digests)

    def _close_block(self) -> None:
        self._digests += self._hash.digest()
        self._hash, self._room = self._new(), self.size


def sha1(data: bytes = b"") -> Any:
    return hashlib.sha1(data, usedforsecurity=False)


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
