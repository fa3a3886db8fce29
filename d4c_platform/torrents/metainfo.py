"""What stands in a `.torrent`: composed from digests, read from anybody's file, re-issued without a new info-hash.

Only the info dictionary decides the info-hash, and it holds nothing but the artifact: name, length, pieces and our `source`.
Web seeds, trackers and the comment lie outside it, so they can change as mirrors come and go while the swarm stays one. We
write BitTorrent v1 single-file torrents because every client can join them; v2 roots are kept beside the version instead of in
a hybrid, which aria2 and Transmission 3 cannot read. No creation date: the same artifact gives the same file.

The pieces come from `model.records.Digests`; nothing here opens a data file. Not here: whether a web seed works (web_seeds), or
anything that moves bytes (swarm).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from d4c_platform import __version__
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Digests
from d4c_platform.torrents.bencode import BadBencoding, Bencodable, Value, bdecode, bencode, dictionary_spans

SOURCE = "Data for Canada"  # as in the torrents D4C has already published; part of the info-hash, never to be changed
CREATED_BY = f"d4c-platform/{__version__}"
MAX_TORRENT_BYTES = 32 << 20  # half a million v1 pieces and then some; a larger one is an attack or a mistake
MAX_PIECE_LENGTH = 512 << 20  # libtorrent's own bound
MAX_LENGTH = 1 << 50  # a pebibyte
SHA1_BYTES = 20
SYMLINK, PADDING = b"l", b"p"  # letters of BEP 47's `attr`

T = TypeVar("T")


class BadTorrent(PermanentFailure):
    """A `.torrent` that must not be used: not bencoding, contradictory, or reaching out of its folder."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a torrent: its path within the torrent's folder, and its size. `padding` files hold only zeros."""

    path: tuple[str, ...]
    bytes: int
    padding: bool = False


@dataclass(frozen=True, slots=True)
class Metainfo:
    """A `.torrent` that was read and found consistent.

    Attributes:
        info_hash: hex SHA-1 of the info dictionary as it stands in the file.
        info: the bencoded info dictionary itself.
        pieces: the SHA-1 of each piece, one after another.
        parts: the files; a single-file torrent has one, whose path is the torrent's name.
        trackers: tiers of announce URLs.
        hybrid: whether the info dictionary carries BitTorrent v2 keys as well.
    """

    name: str
    length: int
    piece_length: int
    pieces: bytes
    info_hash: str
    info: bytes
    parts: tuple[Part, ...]
    single_file: bool
    web_seeds: tuple[str, ...] = ()
    trackers: tuple[tuple[str, ...], ...] = ()
    comment: str = ""
    created_by: str = ""
    creation_date: int | None = None
    source: str = ""
    md5: str = ""
    private: bool = False
    hybrid: bool = False

    @property
    def piece_count(self) -> int:
        return len(self.pieces) // SHA1_BYTES

    def piece_hash(self, index: int) -> bytes:
        return self.pieces[index * SHA1_BYTES : (index + 1) * SHA1_BYTES]

    def piece_range(self, index: int) -> tuple[int, int]:
        """The first and the last byte of a piece within the data, both included, as HTTP ranges count."""
        first = index * self.piece_length
        return first, min(first + self.piece_length, self.length) - 1

    def magnet(self, *, torrent_url: str | None = None) -> str:
        """A magnet link that starts without a peer where the client knows `xs`, and without a tracker where it knows `ws`."""
        query = [f"xt=urn:btih:{self.info_hash}", f"dn={_escape(self.name)}", f"xl={self.length}"]
        query += [f"xs={_escape(torrent_url)}"] if torrent_url else []
        query += [f"tr={_escape(tracker)}" for tier in self.trackers for tracker in tier]
        query += [f"ws={_escape(seed)}" for seed in self.web_seeds]
        return "magnet:?" + "&".join(query)


def compose(
    name: str,
    digests: Digests,
    *,
    web_seeds: Sequence[str] = (),
    trackers: Sequence[Sequence[str]] = (),
    comment: str = "",
    source: str | None = SOURCE,
    creation_date: int | None = None,
) -> bytes:
    """The `.torrent` of one artifact. The same arguments give the same bytes.

    Args:
        name: the artifact's file name.
        web_seeds: complete URLs of the file, best first (BEP 19).
        trackers: tiers of announce URLs, tried in order (BEP 12).
        source: who published it; None leaves the key out. It is part of the info-hash.

    Raises:
        BadTorrent: the digests or the name cannot make a torrent.
    """
    info: dict[bytes, Bencodable] = {
        b"length": digests.bytes,
        b"name": name,
        b"piece length": digests.piece_length,
        b"pieces": base64.b64decode(digests.pieces),
    }
    if source is not None:
        info[b"source"] = source
    torrent = _write(bencode(info), web_seeds, trackers, comment, CREATED_BY, creation_date)
    parse(torrent)  # what we publish passes the checks we ask of others
    return torrent


def reissue(
    torrent: bytes,
    *,
    web_seeds: Sequence[str] | None = None,
    trackers: Sequence[Sequence[str]] | None = None,
    comment: str | None = None,
) -> bytes:
    """The same torrent with other web seeds, trackers or comment; what is None stays, and the info dictionary to the byte."""
    old = parse(torrent)
    return _write(
        old.info,
        old.web_seeds if web_seeds is None else web_seeds,
        old.trackers if trackers is None else trackers,
        old.comment if comment is None else comment,
        old.created_by,
        old.creation_date,
    )


def parse(torrent: bytes) -> Metainfo:
    """Read anybody's `.torrent`, and refuse it when it contradicts itself or would write outside its folder.

    Raises:
        BadTorrent: with the reason.
    """
    if len(torrent) > MAX_TORRENT_BYTES:
        raise _bad(f"{len(torrent)} bytes are more than any torrent needs ({MAX_TORRENT_BYTES})")
    try:
        outer = bdecode(torrent)
        spans = dictionary_spans(torrent)
    except BadBencoding as error:
        raise _bad(str(error)) from error
    assert isinstance(outer, dict), "dictionary_spans refuses anything else"
    info = _get(outer, b"info", dict)
    if info is None:
        raise _bad("it has no info dictionary")
    start, end = spans[b"info"]
    raw = torrent[start:end]
    name = _segment(_get(info, b"name", bytes), "its name")
    parts, single = _parts(info, name)
    length = sum(part.bytes for part in parts)
    if length == 0:
        raise _bad("it holds no data")
    piece_length, pieces = _pieces(info, length)
    return Metainfo(
        name=name,
        length=length,
        piece_length=piece_length,
        pieces=pieces,
        info_hash=hashlib.sha1(raw, usedforsecurity=False).hexdigest(),
        info=raw,
        parts=parts,
        single_file=single,
        web_seeds=_web_seeds(outer),
        trackers=_trackers(outer),
        comment=_text(outer, b"comment"),
        created_by=_text(outer, b"created by"),
        creation_date=_get(outer, b"creation date", int),
        source=_text(info, b"source"),
        md5=_text(info, b"md5sum"),
        private=info.get(b"private") == 1,
        hybrid=b"meta version" in info or b"file tree" in info,
    )


def _write(
    info: bytes,
    web_seeds: Sequence[str],
    trackers: Sequence[Sequence[str]],
    comment: str,
    created_by: str,
    creation_date: int | None,
) -> bytes:
    tiers = [list(tier) for tier in trackers if tier]
    outer: dict[bytes, bytes] = {b"info": info}
    if tiers:
        outer[b"announce"] = bencode(tiers[0][0])
        outer[b"announce-list"] = bencode(tiers)
    if web_seeds:
        outer[b"url-list"] = bencode(list(web_seeds))
    if comment:
        outer[b"comment"] = bencode(comment)
    if created_by:
        outer[b"created by"] = bencode(created_by)
    if creation_date is not None:
        outer[b"creation date"] = bencode(creation_date)
    return b"d" + b"".join(bencode(key) + outer[key] for key in sorted(outer)) + b"e"


def _pieces(info: dict[bytes, Value], length: int) -> tuple[int, bytes]:
    piece_length = _get(info, b"piece length", int) or 0
    pieces = _get(info, b"pieces", bytes)
    if pieces is None:
        raise _bad("it has no v1 pieces; a v2-only torrent is not read here")
    if not 0 < piece_length <= MAX_PIECE_LENGTH:
        raise _bad(f"its piece length is {piece_length} bytes")
    expected = -(-length // piece_length) * SHA1_BYTES
    if len(pieces) != expected:
        raise _bad(f"it has {len(pieces)} bytes of piece hashes, and {length} bytes of data need {expected}")
    return piece_length, pieces


def _parts(info: dict[bytes, Value], name: str) -> tuple[tuple[Part, ...], bool]:
    files = _get(info, b"files", list)
    if files is None:
        return (_part(info, (name,)),), True
    if b"length" in info:
        raise _bad("it says that it is one file and several")
    parts = tuple(_part(_as(entry, dict, "a file"), _path(_as(entry, dict, "a file"))) for entry in files)
    if not parts:
        raise _bad("it has no files")
    paths = [part.path for part in parts if not part.padding]
    if len(set(paths)) != len(paths):
        raise _bad("two of its files have the same path")
    return parts, False


def _part(entry: dict[bytes, Value], path: tuple[str, ...]) -> Part:
    length = _get(entry, b"length", int)
    if length is None or not 0 <= length <= MAX_LENGTH:
        raise _bad(f"the size of {'/'.join(path)} is {length}")
    attributes = _get(entry, b"attr", bytes) or b""
    if SYMLINK in attributes or b"symlink path" in entry:
        raise _bad(f"{'/'.join(path)} is a symbolic link")
    return Part(path, length, padding=PADDING in attributes)


def _path(entry: dict[bytes, Value]) -> tuple[str, ...]:
    segments = _get(entry, b"path", list)
    if not segments:
        raise _bad("one of its files has no path")
    return tuple(_segment(_as(segment, bytes, "a path segment"), "a path") for segment in segments)


def _segment(raw: bytes | None, what: str) -> str:
    """One path segment that stays where it is put, on every system."""
    if not raw:
        raise _bad(f"{what} is empty or missing")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"{what} is not UTF-8: {raw[:60]!r}") from error
    if text in {".", ".."} or any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in text) or len(raw) > 255:
        raise _bad(f"{what} would not stay in its folder: {text[:60]!r}")
    return text


def _web_seeds(outer: dict[bytes, Value]) -> tuple[str, ...]:
    match outer.get(b"url-list"):
        case None | b"":
            return ()
        case bytes() as url:  # BEP 19 allows a single string
            return (_decode(url),)
        case list() as urls:
            return tuple(_decode(_as(url, bytes, "a web seed")) for url in urls)
        case _:
            raise _bad("its url-list is not a list")


def _trackers(outer: dict[bytes, Value]) -> tuple[tuple[str, ...], ...]:
    tiers = _get(outer, b"announce-list", list)
    if tiers:  # BEP 12: when there is a list, `announce` is ignored
        lists = [_as(tier, list, "a tracker tier") for tier in tiers]
        return tuple(tuple(_decode(_as(url, bytes, "a tracker")) for url in tier) for tier in lists if tier)
    announce = _get(outer, b"announce", bytes)
    return ((_decode(announce),),) if announce else ()


def _get(source: dict[bytes, Value], key: bytes, kind: type[T]) -> T | None:
    return None if key not in source else _as(source[key], kind, f"its {key.decode()}")


def _as(value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise _bad(f"{what} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def _text(source: dict[bytes, Value], key: bytes) -> str:
    return _decode(_get(source, key, bytes) or b"")


def _decode(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _escape(text: str) -> str:
    return quote(text, safe="")


def _bad(what: str) -> BadTorrent:
    return BadTorrent(f"not a usable torrent: {what}", where="torrent")
