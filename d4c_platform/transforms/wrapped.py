"""One downloaded file as the text files in it: as it is, gzipped, or a zip of some.

What a file is, its first bytes say; its name only says what the URL ended in. Members are streamed, never unpacked as a whole.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from d4c_platform import zips
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import archive
from d4c_platform.zips import Zip

_ZIP, _GZIP = b"PK", b"\x1f\x8b"


class ByteStream(Protocol):
    """What is read in pieces."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """A text file. `path` is its own name (inside the zip), `name` the one that messages say."""

    path: str
    name: str
    open: Callable[[], AbstractContextManager[ByteStream]]


def the_file(raw: Mapping[str, Path], endings: tuple[str, ...]) -> Path:
    """The one file of a release that a transform of a single file reads; what a source archived beside it is not read.

    Args:
        endings: of its name, the most telling first; a file that is alone may have any name.

    Raises:
        PermanentFailure: there is not exactly one.
    """
    by_ending = ([path for name, path in sorted(raw.items()) if name.lower().endswith(ending)] for ending in endings)
    found = list(raw.values()) if len(raw) == 1 else next(filter(None, by_ending), [])
    if len(found) != 1:
        raise PermanentFailure(
            f"the release is one file ({', '.join(endings)}), not {sorted(raw)}",
            file=", ".join(sorted(raw)) or None,
            remedy="Archive it again",
        )
    return found[0]


class _Pieces:
    """A member's pieces, read like a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _stream(opened: Zip, member: zips.Member) -> AbstractContextManager[ByteStream]:
    return nullcontext(_Pieces(opened.chunks(member)))


@contextmanager
def unwrapped(path: Path) -> Iterator[tuple[Member, ...]]:
    """The text files in a file, in a fixed order, to be opened while this is open.

    Raises:
        PermanentFailure: a zip or a gzip that is damaged or cut short, also while a member is read.
    """
    with path.open("rb") as file:
        begins = file.read(2)
    if begins == _ZIP:
        with archive.opened(path) as opened:
            yield tuple(
                Member(m.filename, f"{path.name}/{m.filename}", partial(_stream, opened, m)) for m in archive.members(opened)
            )
    elif begins == _GZIP:
        try:
            yield (Member(path.name, path.name, lambda: gzip.GzipFile(path)),)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise PermanentFailure(
                f"the file is not a sound gzip ({error})",
                file=path.name,
                remedy="Fetch the release again; if it is the same, tell the publisher",
            ) from error
    else:
        yield (Member(path.name, path.name, lambda: path.open("rb")),)
