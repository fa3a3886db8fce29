"""MBTiles to PMTiles v3: the same tiles once each, in the order of the Hilbert curve, the same bytes on every run.

An MBTiles is a SQLite database that a stranger made, so it is opened read-only and as one that nobody changes, and may do
nothing but read its own tables: no function, no recursion, no other file (the authorizer). `tiles` has to be a table, or the
plain view over two tables that Mapbox's own tools make.

The `pmtiles` library's converter is not used: it needs an index to be fast, tells tiles apart by Python's 64-bit hash, and
keeps its temporary file outside the working folder. The header and the directories are written by it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pmtiles.tile import Compression, Entry, TileType, zxy_to_tileid
from pmtiles.writer import finalize_header

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.pmtiles_file import MOST_ENTRIES, MOST_TILE, is_tile, unpacked

MAGIC = b"SQLite format 3\0"
WEB_MERCATOR_NORTH = 85.0511287
MOST_ZOOM = 30
MOST_METADATA = 16 << 20
MOST_STEPS = 200_000  # thousands of steps of SQLite's machine, a few seconds, beyond what each tile may take
_TYPES = {
    "pbf": TileType.MVT,
    "mvt": TileType.MVT,
    "png": TileType.PNG,
    "jpg": TileType.JPEG,
    "jpeg": TileType.JPEG,
    "webp": TileType.WEBP,
    "avif": TileType.AVIF,
}
_SHARED = ({"map", "images"}, {"tiles_shallow", "tiles_data"})  # how tippecanoe and planetiler store a tile once
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
_NOT_KEPT = {"bounds", "center", "minzoom", "maxzoom", "format", "scheme", "json"}  # the header says it, or it is of MBTiles
_REMEDY = "Tell the publisher, or ask for a PMTiles archive"


def convert(source: Path, target: Path, workdir: Path, name: str) -> Path:
    """Write the tiles of an MBTiles as PMTiles.

    Args:
        name: how messages call the file.

    Raises:
        PermanentFailure: it is no sound MBTiles; says what is wrong.
    """
    try:
        with closing(_opened(source)) as database:
            _require_schema(database)
            said = _metadata(database)
            if said.get("scheme", "tms") != "tms":
                raise _Unsound(f"it counts rows by the scheme {said['scheme']!r}, which MBTiles does not know")
            kind = _TYPES.get(said.get("format", "").lower())
            if kind is None:
                raise _Unsound(f"its metadata calls the format {said.get('format')!r}; known are {', '.join(sorted(_TYPES))}")
            staged = workdir / "tiles.bin"
            with staged.open("w+b") as data, target.open("wb") as out:
                _write(out, data, _Tiles(database, kind, data), kind, said)
            staged.unlink()
    except (_Unsound, sqlite3.Error) as error:
        raise PermanentFailure(f"the MBTiles is not sound: {error}", file=name, remedy=_REMEDY) from error
    return target


class _Unsound(Exception):
    """Why it is not sound, as a clause."""


class _Tiles:
    """The tiles of a database, each different one written to a file once.

    Numbers, offsets and lengths are arrays: as Python objects, two million of them would not fit.
    """

    def __init__(self, database: sqlite3.Connection, kind: TileType, data: BinaryIO) -> None:
        self.numbers, self.offsets, self.lengths = array("Q"), array("Q"), array("Q")
        places: dict[bytes, int] = {}
        end = 0
        for number, tile in _rows(database, kind):
            digest = hashlib.sha256(tile).digest()
            offset = places.setdefault(digest, end)
            if offset == end:
                data.write(tile)
                end += len(tile)
            self.numbers.append(number)
            self.offsets.append(offset)
            self.lengths.append(len(tile))
            if len(self.numbers) > MOST_ENTRIES:
                raise _Unsound(f"it has more than {MOST_ENTRIES:,} tiles, which is more than can be converted here")
        if not self.numbers:
            raise _Unsound("it holds no tile")

    def in_order(self) -> Iterator[tuple[int, int, int]]:
        """Number, offset and length, along the Hilbert curve."""
        numbers = np.frombuffer(self.numbers, np.uint64)
        order = np.argsort(numbers, kind="stable")
        last = -1
        for index in order.tolist():
            if self.numbers[index] == last:
                raise _Unsound("it has one tile twice")
            last = self.numbers[index]
            yield last, self.offsets[index], self.lengths[index]


def _write(out: BinaryIO, data: BinaryIO, tiles: _Tiles, kind: TileType, said: Mapping[str, str]) -> None:
    entries: list[Entry] = []
    places: dict[int, int] = {}  # from where a tile was staged to where it will lie
    staged: list[tuple[int, int]] = []
    end = 0
    for number, offset, length in tiles.in_order():
        if offset not in places:
            places[offset] = end
            staged.append((offset, length))
            end += length
        at = places[offset]
        if entries and entries[-1].tile_id + entries[-1].run_length == number and entries[-1].offset == at:
            entries[-1].run_length += 1
        else:
            entries.append(Entry(number, at, length, 1))
    west, south, east, north = _bounds(said)
    header: dict[str, Any] = {
        "tile_type": kind,
        "tile_compression": Compression.GZIP if kind is TileType.MVT else Compression.NONE,
        "min_lon_e7": round(west * 1e7),
        "min_lat_e7": round(south * 1e7),
        "max_lon_e7": round(east * 1e7),
        "max_lat_e7": round(north * 1e7),
    }
    parts = finalize_header(header, len(tiles.numbers), entries, len(staged), _kept(said), True, end)
    out.writelines(parts)
    for offset, length in staged:
        data.seek(offset)
        out.write(data.read(length))


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TILE)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON", "mmap_size = 0"):
        database.execute(f"PRAGMA {pragma}")
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
    return database


def _require_schema(database: sqlite3.Connection) -> None:
    found = {
        name: kind for kind, name in database.execute("SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')")
    }
    for wanted in ("tiles", "metadata"):
        if wanted not in found:
            raise _Unsound(f"it has no {wanted}")
    if found["metadata"] != "table":
        raise _Unsound("its metadata is no table")
    virtual = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage = 0"
    if (row := database.execute(virtual).fetchone()) is not None:
        raise _Unsound(f"its table {row[0]} is made by a module, not stored")
    if found["tiles"] == "view" and not any(pair <= found.keys() for pair in _SHARED):
        raise _Unsound("its tiles are a view over something else than a map of images")


def _metadata(database: sqlite3.Connection) -> dict[str, str]:
    said: dict[str, str] = {}
    total = 0
    with _bounded(database):
        for name, value in database.execute("SELECT name, value FROM metadata"):
            if not isinstance(name, str) or not isinstance(value, str | int | float):
                raise _Unsound("its metadata are no texts")
            total += len(name) + len(str(value))
            if total > MOST_METADATA:
                raise _Unsound(f"its metadata have more than {MOST_METADATA:,} characters")
            said[name] = str(value)
    return said


def _rows(database: sqlite3.Connection, kind: TileType) -> Iterator[tuple[int, bytes]]:
    """Every tile with its PMTiles number, packed as PMTiles has it, in whatever order the database gives them."""
    with _bounded(database) as allow:
        for z, x, row, data in database.execute("SELECT zoom_level, tile_column, tile_row, tile_data FROM tiles"):
            allow(1)
            if not all(isinstance(n, int) for n in (z, x, row)) or not isinstance(data, bytes) or not data:
                raise _Unsound("a tile has no numbers for its place, or no bytes")
            if not 0 <= z <= MOST_ZOOM or not (0 <= x < 1 << z and 0 <= row < 1 << z):
                raise _Unsound(f"there is no tile {z}/{x}/{row}")
            packed = data.startswith(b"\x1f\x8b")
            try:
                tile = unpacked(data, Compression.GZIP if packed else Compression.NONE, MOST_TILE)
            except ValueError as error:
                raise _Unsound(f"the tile {z}/{x}/{row} cannot be read: {error}") from error
            if not is_tile(kind, tile) or (packed and kind is not TileType.MVT):
                raise _Unsound(f"the tile {z}/{x}/{row} is no {kind.name}")
            if kind is TileType.MVT and not packed:
                data = gzip.compress(data, mtime=0)
            yield zxy_to_tileid(z, x, (1 << z) - 1 - row), data  # MBTiles counts rows from the south


@contextmanager
def _bounded(database: sqlite3.Connection) -> Iterator[Callable[[int], None]]:
    """End a query that runs on without giving rows: a view can join a table with itself for years.

    Gives a function that allows so many thousand steps more.
    """
    left = MOST_STEPS

    def step() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    def allow(more: int) -> None:
        nonlocal left
        left += more

    database.set_progress_handler(step, 1_000)
    try:
        yield allow
    finally:
        database.set_progress_handler(None, 0)


def _bounds(said: Mapping[str, str]) -> tuple[float, float, float, float]:
    text = said.get("bounds", f"-180,-{WEB_MERCATOR_NORTH},180,{WEB_MERCATOR_NORTH}")
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise _Unsound(f"its bounds are {text!r}") from error
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise _Unsound(f"its bounds are {text!r}")
    return west, south, east, north


def _kept(said: Mapping[str, str]) -> dict[str, Any]:
    """The metadata as PMTiles has them: what MBTiles packs into the text `json` stands with the others."""
    try:
        inner = json.loads(said.get("json", "{}"))
    except (ValueError, RecursionError) as error:
        raise _Unsound(f"the json of its metadata cannot be read ({error})") from error
    if not isinstance(inner, dict):
        raise _Unsound("the json of its metadata is no object")
    kept = {**inner, **{k: v for k, v in said.items() if k not in _NOT_KEPT}}
    return dict(sorted(kept.items()))
