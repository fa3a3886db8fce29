"""The torrent of a folder of files: each file begins at a piece, so that files are hashed one by one.

A v1 piece normally runs over the end of one file into the next: to hash it, all sizes must be known before the first byte, and
neighbours must be read one after the other. Here what is missing up to the next piece is a pad file of zeros (BEP 47). Then a
file's pieces are its own: files come in any order, several at once, in runs that are killed and go on, each read once.
It is the very layout that libtorrent gives a folder (`canonical_files`: files in the order of their paths' bytes, a pad
after each that does not end at a piece, the last one too; a file that is alone has none) and that every v1/v2 hybrid has. So
whoever has a copy of the folder makes the same torrent, with the same info-hash; for that the info dictionary holds nothing
of ours, no `source` either.

Who can read it: clients with BEP 47 (libtorrent and all that is built on it, Transmission 4, BiglyBT…) never ask for a pad
file, neither peers nor web seeds. aria2 and Transmission 3 know nothing of pads: they write them as files below `.pad/`, and
ask a web seed for them in vain; they need a peer. The alternative, pieces over file ends, would serve them, and cost every
file a second reading of its first and last piece, and a release that cannot be built while a size is unknown.

A web seed of a folder is the URL of its *parent* (BEP 19): clients append the torrent's name and the file's path.

Not here: where the hashes come from (storage.file_digests).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.torrents.bencode import Bencodable, bencode
from d4c_platform.torrents.metainfo import CREATED_BY, MAX_TORRENT_BYTES, SHA1_BYTES

PAD_FOLDER = ".pad"
SMALLEST_PIECE, LARGEST_PIECE = 16 << 10, 16 << 20  # clients make no larger ones by themselves
PIECES_A_FILE = 4  # at least, on average: then pads are an eighth of what a client shows as the size
AIMED_PIECES = 2048  # as for single files, while files are few
MOST_PIECES = 1_000_000  # 20 MB of hashes: the .torrent stays below what clients are let read
MARGIN = 8  # times what was estimated from a sample: a few giants may be missing in it
USUAL_MEAN = 4 << 20  # bytes of a file, when no server tells


@dataclass(frozen=True, slots=True)
class FolderFile:
    """One file of the folder: its path, its size, and the SHA-1 of its pieces.

    The last piece is filled with zeros, unless the file is the folder's only one.
    """

    path: str
    pieces: bytes
    bytes: int


@dataclass(frozen=True, slots=True)
class FolderTorrent:
    """What was written."""

    info_hash: str
    files: int
    bytes: int


def folder_piece_length(files: int, estimated_bytes: int | None) -> int:
    """The piece length of a folder: a power of two from 16 KiB to 16 MiB, decided before its first byte is read.

    Small enough that pads stay small beside files, large enough that the `.torrent` does. An estimate of the size will do:
    a wrong one gives a torrent that is a little too large, or pads that are.
    """
    total = USUAL_MEAN * files if estimated_bytes is None else estimated_bytes
    piece = SMALLEST_PIECE
    while piece < LARGEST_PIECE and piece * AIMED_PIECES < total and piece * 2 * PIECES_A_FILE * files <= total:
        piece *= 2
    while piece < LARGEST_PIECE and MARGIN * total // piece + files > MOST_PIECES:
        piece *= 2
    return piece


def compose_folder(
    out: BinaryIO,
    name: str,
    piece_length: int,
    files: Callable[[], Iterable[FolderFile]],
    *,
    web_seeds: Sequence[str] = (),
    trackers: Sequence[Sequence[str]] = (),
    comment: str = "",
) -> FolderTorrent:
    """Write a folder's `.torrent`, file by file; the same arguments give the same bytes.

    Args:
        name: the folder's name, with which every web seed's path goes on.
        files: gives the files in the order of their paths' bytes; called several times.
        web_seeds: URLs of the folder's parent, each ending with `/`.

    Raises:
        PermanentFailure: the folder cannot be a torrent that clients read.
    """
    parts = _Writer(out)
    tiers = [list(tier) for tier in trackers if tier]
    parts.raw(b"d")
    if tiers:
        parts.pair("announce", tiers[0][0])
        parts.pair("announce-list", [list(tier) for tier in tiers])
    if comment:
        parts.pair("comment", comment)
    parts.pair("created by", CREATED_BY)
    parts.raw(bencode("info"))
    parts.hashed = hashlib.sha1(usedforsecurity=False)
    parts.raw(b"d" + bencode("files") + b"l")
    count = size = hashes = pad = 0
    last: bytes | None = None
    for file in files():
        path = file.path.encode()
        if last is not None and path <= last:
            raise PermanentFailure("the files are not in the order of their paths", where="torrent", file=file.path)
        needed = -(-file.bytes // piece_length) * SHA1_BYTES
        if len(file.pieces) != needed:
            raise PermanentFailure("its pieces are not those of its size", where="torrent", file=file.path)
        parts.pad(pad)
        parts.raw(bencode({b"length": file.bytes, b"path": list(file.path.split("/"))}))
        pad = -file.bytes % piece_length
        count, size, hashes, last = count + 1, size + file.bytes, hashes + needed, path
    parts.pad(pad if count > 1 else 0)
    parts.raw(b"e")
    if not size:
        raise PermanentFailure("the folder holds no data", where="torrent", file=name)
    parts.pair("name", name)
    parts.pair("piece length", piece_length)
    parts.raw(bencode("pieces") + b"%d:" % hashes)
    for file in files():
        parts.raw(file.pieces)
    parts.raw(b"e")
    info_hash = parts.hashed.hexdigest()
    parts.hashed = None
    if web_seeds:
        parts.pair("url-list", list(web_seeds))
    parts.raw(b"e")
    return FolderTorrent(info_hash, count, size)


class _Writer:
    """Bencoding, written as it comes and hashed where it counts."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._bytes = out, 0
        self.hashed: hashlib._Hash | None = None

    def pair(self, key: str, value: Bencodable) -> None:
        self.raw(bencode(key) + bencode(value))

    def pad(self, size: int) -> None:
        """A pad file as libtorrent names it; none for no bytes."""
        if size:
            self.raw(bencode({b"attr": "p", b"length": size, b"path": [PAD_FOLDER, str(size)]}))

    def raw(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > MAX_TORRENT_BYTES:
            raise PermanentFailure(
                f"the folder's torrent would be larger than the {MAX_TORRENT_BYTES:,} bytes that clients are let read",
                where="torrent",
                kept="All files stay in the portal",
                remedy="Declare the folder in several lists",
            )
        if self.hashed is not None:
            self.hashed.update(data)
        self._out.write(data)
