"""A PMTiles v3 archive, read as if somebody had made it to break the reader.

The `pmtiles` library's own reader trusts every number: it unpacks a directory of any size, follows offsets beyond the file and
loops on a leaf that names itself. So only its header and its tile numbers are used; directories are unpacked here, within
bounds, and every entry is held against the header and the file before a tile is read.

Not here: MBTiles (mbtiles), what becomes of a version (tiles).
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from pmtiles.tile import Compression, HeaderDict, SpecVersionUnsupported, TileType, deserialize_header, tileid_to_zxy

from d4c_platform.model.errors import PermanentFailure

MAGIC = b"PMTiles"
HEADER_BYTES = 127
ROOT_WITHIN = 16_384  # the specification: header and root directory come with the first request
MOST_ENTRIES = 2_000_000  # what is kept of each is some hundred bytes: half a gigabyte
MOST_DEPTH = 3  # of leaf directories below the root; the specification advises one
MOST_DIRECTORY = 16 << 20  # bytes of one directory or of the metadata, unpacked
MOST_TILE = 32 << 20  # bytes of one tile, unpacked
_E7 = 10_000_000
_SIGNATURES = {
    TileType.PNG: re.compile(rb"\x89PNG\r\n\x1a\n"),
    TileType.JPEG: re.compile(rb"\xff\xd8\xff"),
    TileType.WEBP: re.compile(rb"RIFF....WEBP", re.DOTALL),
    TileType.AVIF: re.compile(rb"....ftyp(avif|avis|mif1)", re.DOTALL),
}
_UNPACKED = (Compression.NONE, Compression.GZIP)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a sound archive holds.

    Attributes:
        tiles: how many tiles can be asked for.
        contents: how many different ones there are.
        longest: bytes of the longest, as it is stored.
        logical_hash: over the unpacked tiles, their places and the metadata.
    """

    header: HeaderDict
    metadata: Mapping[str, Any]
    tiles: int
    contents: int
    longest: int
    logical_hash: str

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """In longitude and latitude."""
        h = self.header
        return (h["min_lon_e7"] / _E7, h["min_lat_e7"] / _E7, h["max_lon_e7"] / _E7, h["max_lat_e7"] / _E7)


def read(path: Path, name: str | None = None) -> Contents:
    """Read an archive from end to end.

    Args:
        name: how messages call the file.

    Raises:
        PermanentFailure: it is no PMTiles v3, or not a sound one; says which of its parts.
    """
    with path.open("rb") as file:
        try:
            return _Archive(file, path.stat().st_size).contents()
        except _Unsound as error:
            raise PermanentFailure(
                f"the PMTiles archive is not sound: {error}",
                file=name or path.name,
                remedy="Fetch the release again; if it is the same, tell the publisher",
            ) from error


def is_tile(kind: TileType, data: bytes) -> bool:
    """Whether the unpacked bytes begin as the tile type does; of vector tiles, which have none, that they are no image."""
    if kind in _SIGNATURES:
        return _SIGNATURES[kind].match(data) is not None
    return not any(signature.match(data) for signature in _SIGNATURES.values())


def unpacked(data: bytes, compression: Compression, most: int) -> bytes:
    """Unpack within bounds. Raises ValueError: damaged, or longer than `most`."""
    if compression is Compression.NONE:
        if len(data) > most:
            raise ValueError(f"it is longer than {most:,} bytes")
        return data
    inflate = zlib.decompressobj(wbits=31)
    try:
        result = inflate.decompress(data, most + 1)
    except zlib.error as error:
        raise ValueError(f"it is no sound gzip ({error})") from error
    if len(result) > most:
        raise ValueError(f"it unpacks to more than {most:,} bytes")
    if not inflate.eof or inflate.unused_data:
        raise ValueError("its gzip is cut short, or something follows it")
    return result


class _Unsound(Exception):
    """Why the archive is not sound, as a clause."""


@dataclass(frozen=True, slots=True)
class _Entry:
    first: int
    run: int
    length: int
    offset: int


class _Archive:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._header = self._read_header()
        self._entries = 0
        self._leaves: set[int] = set()
        self._digests: dict[tuple[int, int], bytes] = {}
        self._stored = 0

    def contents(self) -> Contents:
        header, metadata = self._header, self._metadata()
        hashed = hashlib.sha256()
        said = {"recipe": 1, "type": header["tile_type"].name, "metadata": metadata}
        hashed.update(json.dumps(said, sort_keys=True, ensure_ascii=True).encode())
        tiles, following, begun = 0, 0, None
        for entry in self._walk("root_offset", 0, header["root_length"], 0):
            if entry.first < following:
                raise _Unsound(f"the entries are not in order at tile number {entry.first}")
            self._require_zoom(entry)
            digest = self._digest(entry)
            if begun is None or begun[1] != digest or entry.first != following:  # how runs are cut is the writer's choice
                if begun is not None:
                    hashed.update(b"%d %d %s\n" % (begun[0], following, begun[1]))
                begun = (entry.first, digest)
            tiles, following = tiles + entry.run, entry.first + entry.run
        if begun is None:
            raise _Unsound("it holds no tile")
        hashed.update(b"%d %d %s\n" % (begun[0], following, begun[1]))
        counted = {
            "addressed_tiles_count": tiles,
            "tile_entries_count": self._entries,
            "tile_contents_count": len(self._digests),
        }
        for field, count in counted.items():
            if header[field] not in (0, count):
                told = header[field]
                raise _Unsound(f"its {field.replace('_', ' ')} is {told:,} in the header and {count:,} in the directories")
        longest = max(length for _, length in self._digests)
        return Contents(header, metadata, tiles, len(self._digests), longest, hashed.hexdigest())

    def _read_header(self) -> HeaderDict:
        data = self._bytes(0, HEADER_BYTES, "header")
        if not data.startswith(MAGIC):
            raise _Unsound("it does not begin as one")
        try:
            header = deserialize_header(data)
        except SpecVersionUnsupported:
            raise _Unsound(f"it has version {data[7]}, not 3") from None
        except ValueError as error:
            raise _Unsound(f"its header has {error}") from error
        for part in ("root", "metadata", "leaf_directory", "tile_data"):
            offset, length = header[f"{part}_offset"], header[f"{part}_length"]
            if length and (offset < HEADER_BYTES or offset + length > self._size):
                raise _Unsound(f"its {part.replace('_', ' ')} would end at byte {offset + length:,} of {self._size:,}")
        if header["root_offset"] + header["root_length"] > ROOT_WITHIN:
            raise _Unsound(f"its root directory ends behind byte {ROOT_WITHIN:,}")
        if header["internal_compression"] not in _UNPACKED or header["tile_compression"] not in _UNPACKED:
            raise _Unsound("it is packed with something else than gzip, which most readers cannot unpack")
        if header["tile_type"] is TileType.UNKNOWN:
            raise _Unsound("it does not say what its tiles are")
        if header["min_zoom"] > header["max_zoom"]:
            raise _Unsound(f"its zooms go from {header['min_zoom']} to {header['max_zoom']}")
        west, south, east, north = (header[f"{side}_e7"] for side in ("min_lon", "min_lat", "max_lon", "max_lat"))
        if not (-180 * _E7 <= west <= east <= 180 * _E7 and -90 * _E7 <= south <= north <= 90 * _E7):
            raise _Unsound(f"its bounds are {west / _E7}, {south / _E7}, {east / _E7}, {north / _E7}")
        return header

    def _metadata(self) -> Mapping[str, Any]:
        header = self._header
        packed = self._bytes(header["metadata_offset"], header["metadata_length"], "metadata")
        if not packed:
            return {}
        try:
            said = json.loads(unpacked(packed, header["internal_compression"], MOST_DIRECTORY))
        except (ValueError, RecursionError) as error:
            raise _Unsound(f"its metadata cannot be read ({error})") from error
        if not isinstance(said, dict):
            raise _Unsound("its metadata is no JSON object")
        return said

    def _walk(self, part: str, offset: int, length: int, depth: int) -> Iterator[_Entry]:
        """The tile entries below a directory, in the order of their tile numbers."""
        base = self._header[part]
        for entry in self._directory(base + offset, length):
            if entry.length == 0:
                raise _Unsound(f"the entry of tile number {entry.first} has no bytes")
            section = "tile_data_length" if entry.run else "leaf_directory_length"
            if entry.offset + entry.length > self._header[section]:
                raise _Unsound(f"the entry of tile number {entry.first} lies beyond its part of the file")
            self._entries += 1 if entry.run else 0
            if max(self._entries, len(self._leaves)) > MOST_ENTRIES:
                raise _Unsound(f"it has more than {MOST_ENTRIES:,} entries, which is more than can be checked here")
            if entry.run:
                yield entry
                continue
            if depth == MOST_DEPTH:
                raise _Unsound(f"its directories are nested deeper than {MOST_DEPTH}")
            if entry.offset in self._leaves:
                raise _Unsound("a directory is named twice")
            self._leaves.add(entry.offset)
            yield from self._walk("leaf_directory_offset", entry.offset, entry.length, depth + 1)

    def _directory(self, offset: int, length: int) -> Iterator[_Entry]:
        packed = self._bytes(offset, length, "directory")
        try:
            yield from _entries(unpacked(packed, self._header["internal_compression"], MOST_DIRECTORY))
        except (ValueError, OverflowError) as error:
            raise _Unsound(f"the directory at byte {offset:,} cannot be read: {error}") from error

    def _require_zoom(self, entry: _Entry) -> None:
        try:
            zooms = tileid_to_zxy(entry.first)[0], tileid_to_zxy(entry.first + entry.run - 1)[0]
        except OverflowError as error:
            raise _Unsound(f"tile number {entry.first} is beyond every zoom") from error
        if zooms[0] < self._header["min_zoom"] or zooms[1] > self._header["max_zoom"]:
            raise _Unsound(f"a tile of zoom {zooms[1]} is outside the header's zooms")

    def _digest(self, entry: _Entry) -> bytes:
        known = self._digests.get((entry.offset, entry.length))
        if known is not None:
            return known
        # Contents that overlap would let a small file name terabytes: those that are different cannot be longer than the part.
        self._stored += entry.length
        if self._stored > self._header["tile_data_length"]:
            raise _Unsound("its tiles overlap in the file")
        data = self._bytes(self._header["tile_data_offset"] + entry.offset, entry.length, "tile")
        z, x, y = tileid_to_zxy(entry.first)
        try:
            tile = unpacked(data, self._header["tile_compression"], MOST_TILE)
        except ValueError as error:
            raise _Unsound(f"the tile {z}/{x}/{y} cannot be read: {error}") from error
        if not is_tile(self._header["tile_type"], tile):
            raise _Unsound(f"the tile {z}/{x}/{y} is no {self._header['tile_type'].name}")
        digest = self._digests[entry.offset, entry.length] = hashlib.sha256(tile).digest()
        return digest

    def _bytes(self, offset: int, length: int, what: str) -> bytes:
        if length > max(MOST_DIRECTORY, MOST_TILE) or offset + length > self._size:
            raise _Unsound(f"its {what} would end at byte {offset + length:,} of {self._size:,}")
        self._file.seek(offset)
        return self._file.read(length)


def _entries(data: bytes) -> Iterator[_Entry]:
    """The entries of an unpacked directory. Raises ValueError: it is cut short, or says more than it has room for."""
    numbers = _varints(data)
    try:
        count = next(numbers)
        if count * 4 > len(data):
            raise ValueError(f"{len(data):,} bytes cannot hold {count:,} entries")
        firsts, last = array("Q"), 0  # arrays: as Python numbers, a directory of a few megabytes would take a gigabyte
        for _ in range(count):
            last += next(numbers)
            firsts.append(last)
        runs, lengths = (array("Q", islice(numbers, count)) for _ in range(2))
        if len(lengths) < count:
            raise ValueError("it is cut short")
        following = 0
        for index in range(count):
            told = next(numbers)
            if told == 0 and index == 0:
                raise ValueError("its first entry says that it follows another")
            offset = told - 1 if told else following
            following = offset + lengths[index]
            yield _Entry(firsts[index], runs[index], lengths[index], offset)
    except StopIteration:
        raise ValueError("it is cut short") from None
    if next(numbers, None) is not None:
        raise ValueError("something follows its entries")


def _varints(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
        elif shift > 63:
            raise ValueError("a number has more than 64 bits")
    if shift:
        raise ValueError("it is cut short")
