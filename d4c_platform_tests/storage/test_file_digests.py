"""The digests of a file of a folder, held against hashing the whole of it naively."""

from __future__ import annotations

import hashlib
import random
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform.storage.digests import BLOCK, OnePass, merkle_root
from d4c_platform.storage.file_digests import FileHasher

PIECE = 64 << 10


def naive(data: bytes) -> tuple[str, str, str | None, bytes]:
    filled = data + bytes(-len(data) % PIECE)
    leaves = b"".join(hashlib.sha256(data[i : i + BLOCK]).digest() for i in range(0, len(data), BLOCK))
    pieces = b"".join(hashlib.sha1(filled[i : i + PIECE]).digest() for i in range(0, len(filled), PIECE))
    root = merkle_root(leaves).hex() if data else None
    return hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest(), root, pieces


near_blocks = st.builds(lambda n, d: max(0, n * BLOCK + d), st.integers(0, 40), st.sampled_from([-1, 0, 1]))


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.integers(0, 40 * BLOCK), near_blocks), st.lists(st.integers(1, 5 * BLOCK), min_size=1, max_size=8))
def test_all_digests_are_those_of_the_whole_however_the_bytes_arrive(size, steps):
    data = random.Random(size).randbytes(size)
    hasher, at, turn = FileHasher(PIECE), 0, 0
    while at < size:
        step = steps[turn % len(steps)]
        hasher.update(data[at : at + step])
        at, turn = at + step, turn + 1
    found = hasher.finish()
    assert (found.sha256, found.md5.hex(), found.merkle_root, found.pieces) == naive(data)
    assert (found.bytes, found.piece_length) == (size, PIECE)


def test_a_file_that_ends_at_a_piece_has_the_digests_of_an_artifact():
    data = random.Random(1).randbytes(32 << 20)  # 16 KiB pieces for both
    hasher, artifact = FileHasher(16 << 10), OnePass(len(data))
    hasher.update(data)
    artifact.update(data)
    found, (digests, _) = hasher.finish(), artifact.finish()
    assert (found.sha256, found.md5.hex(), found.merkle_root) == (digests.sha256, digests.md5, digests.merkle_root)


def test_memory_does_not_grow_with_the_file():
    chunk = bytes(1 << 20)
    hasher = FileHasher(16 << 20)
    hasher.update(chunk)
    tracemalloc.start()
    for _ in range(100):
        hasher.update(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
