"""Everything that is asked about one file of a folder, from one pass over its bytes, in memory that does not grow with it.

As `digests.OnePass` does for an artifact, with two differences. The pieces are those of a folder torrent whose files each
begin at a piece (BEP 47): the last piece is filled with zeros, so that the files of a folder can be hashed one by one, in any
order and in any number of runs, and their pieces put together at the end. And the merkle root is folded while the leaves
come, because a file may have terabytes: what stays is one hash a level, and 20 bytes a piece.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from d4c_platform.storage.digests import BLOCK, Blocks, sha1

ZEROS = memoryview(bytes(1 << 20))


@dataclass(frozen=True, slots=True)
class FileDigests:
    """The digests of one file.

    Attributes:
        md5: the digest itself; servers want it in more than one spelling.
        merkle_root: hex root of the BEP 52 tree; None for an empty file, which has no tree.
        pieces: the SHA-1 of each piece, the last one filled with zeros; none for an empty file.
    """

    sha256: str
    md5: bytes
    merkle_root: str | None
    piece_length: int
    pieces: bytes
    bytes: int


class FileHasher:
    """All digests of a stream, fed chunk by chunk.

    Args:
        alone: the file is the folder's only one: then its last piece is as short as it is.
    """

    def __init__(self, piece_length: int, *, alone: bool = False) -> None:
        self.bytes = 0
        self._alone = alone
        self._piece_length = piece_length
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._pieces = Blocks(sha1, piece_length)
        self._root = _MerkleRoot()

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. The chunk may be reused by the caller afterwards."""
        data = memoryview(chunk)
        self.bytes += len(data)
        self._root.update(data)
        self._sha256.update(data)
        self._md5.update(data)
        self._pieces.update(data)

    def finish(self) -> FileDigests:
        missing = 0 if self._alone else -self.bytes % self._piece_length
        while missing:
            filling = ZEROS[: min(missing, len(ZEROS))]
            self._pieces.update(filling)
            missing -= len(filling)
        return FileDigests(
            bytes=self.bytes,
            sha256=self._sha256.hexdigest(),
            md5=self._md5.digest(),
            merkle_root=self._root.finish(),
            piece_length=self._piece_length,
            pieces=self._pieces.finish(),
        )


class _MerkleRoot:
    """The root of a merkle tree whose leaves come one after another: a binary counter of finished subtrees."""

    def __init__(self) -> None:
        self._leaf, self._room = hashlib.sha256(), BLOCK
        self._subtrees: list[bytes | None] = []  # at place n one of 2^n leaves that waits for its right neighbour
        self._leaves = 0

    def update(self, data: memoryview) -> None:
        at, end = 0, len(data)
        while at < end:
            take = min(self._room, end - at)
            self._leaf.update(data[at : at + take])
            at += take
            self._room -= take
            if not self._room:
                self._add(self._leaf.digest())
                self._leaf, self._room = hashlib.sha256(), BLOCK

    def finish(self) -> str | None:
        if self._room < BLOCK:
            self._add(self._leaf.digest())
        if not self._leaves:
            return None
        # What is missing up to a power of two are leaves of zeros (BEP 52); `pad` is the root of 2^n of them.
        height = (self._leaves - 1).bit_length()
        pad, right = bytes(32), None
        for level in range(height):
            waiting = self._subtrees[level]
            if waiting is not None:
                right = _joined(waiting, right or pad)
            elif right is not None:
                right = _joined(right, pad)
            pad = _joined(pad, pad)
        root = right or self._subtrees[height]
        assert root is not None, "a full tree waits at its own height"
        return root.hex()

    def _add(self, leaf: bytes) -> None:
        self._leaves += 1
        level, subtree = 0, leaf
        while level < len(self._subtrees) and (left := self._subtrees[level]) is not None:
            subtree = _joined(left, subtree)
            self._subtrees[level] = None
            level += 1
        if level == len(self._subtrees):
            self._subtrees.append(None)
        self._subtrees[level] = subtree


def _joined(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(left + right).digest()
