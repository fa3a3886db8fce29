"""Geometries on disk while the rows they belong to are sorted: one file of WKB, read back by place and length.

One shape may be megabytes, and a database that sorts or stores thousands of them holds them in memory (DuckDB could not even
checkpoint more of them than its memory limit). So DuckDB sorts rows without their shapes, with only the first bytes of each to
break ties, and the shapes are fetched in that order, a bounded number of bytes at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cmp_to_key
from pathlib import Path
from types import TracebackType
from typing import Self

BATCH_BYTES = 32 << 20  # of WKB at once; as objects and on their way it is in memory about five times
BEGINNING_BYTES = 256  # shapes that share so much are compared whole


class GeometryFile:
    """A file that grows at its end and is read anywhere; gone when it is closed."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self._end = path, path.open("w+b", buffering=0), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def append(self, geometries: Iterable[bytes | None]) -> tuple[list[int | None], list[int | None], list[bytes | None]]:
        """Where each geometry lies, how long it is, and how it begins; None where there is none."""
        places: list[int | None] = []
        sizes: list[int | None] = []
        beginnings: list[bytes | None] = []
        for wkb in geometries:
            places.append(None if wkb is None else self._end)
            sizes.append(None if wkb is None else len(wkb))
            beginnings.append(None if wkb is None else wkb[:BEGINNING_BYTES])
            self._write(wkb or b"")
        return places, sizes, beginnings

    def read(self, place: int | None, size: int | None) -> bytes | None:
        """A geometry; None where there is none."""
        if place is None or size is None:
            return None
        pieces = []
        while size:
            piece = os.pread(self._file.fileno(), size, place)
            if not piece:
                raise EOFError(f"{self._path.name} ends before byte {place + size:,}")
            pieces.append(piece)
            place, size = place + len(piece), size - len(piece)
        return b"".join(pieces)

    def sorted(self, where: Iterable[tuple[int, int, int]]) -> list[int]:
        """The ids of (id, place, size) in the order of their geometries' bytes, two of which are in memory at a time."""

        def compare(one: tuple[int, int, int], other: tuple[int, int, int]) -> int:
            a, b = self.read(*one[1:]) or b"", self.read(*other[1:]) or b""
            return (a > b) - (a < b)

        return [identity for identity, _, _ in sorted(where, key=cmp_to_key(compare))]

    def _write(self, wkb: bytes) -> None:
        view = memoryview(wkb)
        while view:  # a raw file may take only a part
            written = self._file.write(view) or 0
            view, self._end = view[written:], self._end + written


def spans(sizes: Iterable[int | None]) -> Iterator[tuple[int, int]]:
    """Neighbouring rows, from one place to before another, that are `BATCH_BYTES` of geometry together, or one row."""
    start = end = held = 0
    for size in sizes:
        if end > start and held + (size or 0) > BATCH_BYTES:
            yield start, end
            start, held = end, 0
        held += size or 0
        end += 1
    if end > start:
        yield start, end
