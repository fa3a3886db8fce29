"""One pass over the bytes, compared with libtorrent's and hashlib's own."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import libtorrent as lt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.storage.digests import BLOCK, LARGEST_PIECE, SMALLEST_PIECE, OnePass, digest, merkle_root, piece_length_for

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4


def info_by_libtorrent(path: Path, piece_length: int, flags: int) -> dict[bytes, object]:
    torrent = lt.create_torrent(lt.list_files(str(path)), piece_length, flags)
    lt.set_piece_hashes(torrent, str(path.parent))
    return lt.bdecode(lt.bencode(torrent.generate()))[b"info"]


def data_of(size: int) -> bytes:
    return hashlib.shake_256(str(size).encode()).digest(size)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300 * KIB) | st.integers(0, 20).flatmap(lambda n: st.integers(-2, 2).map(lambda d: max(1, n * BLOCK + d)))
)
@example(1)
@example(BLOCK)
@example(BLOCK + 1)
@example(3 * BLOCK)
def test_the_torrent_hashes_are_libtorrents(size: int):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data_of(size))
        digests, _ = digest(path)
        v1 = info_by_libtorrent(path, digests.piece_length, lt.create_torrent.v1_only)
        v2 = info_by_libtorrent(path, digests.piece_length, lt.create_torrent.v2_only)
    assert base64.b64decode(digests.pieces) == v1[b"pieces"]
    assert digests.piece_length == v1[b"piece length"]
    assert bytes.fromhex(digests.merkle_root) == v2[b"file tree"][b"file"][b""][b"pieces root"]


def test_a_file_of_many_pieces_has_libtorrents_hashes(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(data_of(MIB) * 70 + b"tail")
    digests, leaves = digest(path)
    assert digests.piece_length == 64 * KIB
    v1 = info_by_libtorrent(path, digests.piece_length, lt.create_torrent.v1_only)
    v2 = info_by_libtorrent(path, digests.piece_length, lt.create_torrent.v2_only)
    assert base64.b64decode(digests.pieces) == v1[b"pieces"]
    assert digests.merkle_root == v2[b"file tree"][b"file"][b""][b"pieces root"].hex()
    assert len(leaves) == 32 * (70 * 64 + 1)


@given(st.lists(st.binary(max_size=40 * KIB), max_size=12).filter(any))
def test_the_cuts_of_the_stream_do_not_matter(chunks: list[bytes]):
    whole = b"".join(chunks)
    cut, joined = OnePass(len(whole), part_size=20_000), OnePass(len(whole), part_size=20_000)
    for chunk in chunks:
        cut.update(bytearray(chunk))
    joined.update(whole)
    assert cut.finish() == joined.finish()
    digests, leaves = cut.finish()
    assert digests.sha256 == hashlib.sha256(whole).hexdigest()
    assert digests.md5 == hashlib.md5(whole).hexdigest()
    assert merkle_root(leaves).hex() == digests.merkle_root
    parts = [hashlib.md5(whole[i : i + 20_000]).digest() for i in range(0, len(whole), 20_000)]
    expected = f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}" if len(parts) > 1 else parts[0].hex()
    assert cut.s3_etag() == expected


def test_a_block_is_audited_by_its_leaf(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(data_of(5 * BLOCK + 7))
    _, leaves = digest(path)
    for number in range(6):
        block = path.read_bytes()[number * BLOCK : (number + 1) * BLOCK]
        assert leaves[32 * number : 32 * number + 32] == hashlib.sha256(block).digest()


def test_the_s3_etag_is_the_one_a_server_gives(s3, tmp_path: Path):
    from d4c_platform.storage.s3_write import PART

    for size in (1000, PART, PART + 1):
        path = tmp_path / str(size)
        path.write_bytes(data_of(size))
        one_pass = OnePass(size, part_size=PART)
        one_pass.update(path.read_bytes())
        assert s3.put("file", path).etag == one_pass.s3_etag()


@pytest.mark.parametrize(
    ("size", "piece"),
    [
        (1, 16 * KIB),
        (32 * MIB, 16 * KIB),
        (32 * MIB + 1, 32 * KIB),
        (2 * GIB, MIB),
        (100 * GIB, 16 * MIB),
        (TIB, 16 * MIB),
        (2 * TIB, 32 * MIB),
        (5 * TIB, 64 * MIB),
        (100 * TIB, 64 * MIB),
    ],
)
def test_the_piece_length_follows_the_size(size: int, piece: int):
    assert piece_length_for(size) == piece


@given(st.integers(1, 8 * TIB))
def test_a_piece_length_is_one_that_every_client_takes(size: int):
    piece = piece_length_for(size)
    assert SMALLEST_PIECE <= piece <= LARGEST_PIECE
    assert piece & (piece - 1) == 0
    assert -(-size // piece) <= 140_000


def test_an_empty_file_is_refused_by_name(tmp_path: Path):
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(PermanentFailure, match=r"empty\.parquet: has no bytes"):
        digest(tmp_path / "empty.parquet")


def test_memory_of_a_large_digest_stays_bounded(tmp_path: Path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(300 * MIB)
    script = """
import sys
from pathlib import Path
from d4c_platform.storage.digests import digest
digests, leaves = digest(Path(sys.argv[1]))
with open("/proc/self/status") as status:
    print(digests.bytes, next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
"""
    out = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) == 300 * MIB
    assert int(out[1]) < 120
