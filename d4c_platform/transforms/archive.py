"""One member of a source zip, streamed to a working directory, or a clear reason why not.

A zip that is damaged, encrypted or not a zip at all (an HTML page served as 200) ends here, in a sentence that names the
file. Members are written under names we choose, never under paths the archive chooses.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from d4c_platform.model.errors import PermanentFailure

CHUNK_BYTES = 4 << 20
_REFETCH = "Fetch the release again; if it is the same, tell the publisher"


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, with every way it can be broken told as a failure."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        begins = _beginning(path)
        what = (
            "is an HTML page, not a zip"
            if begins.lstrip().lower().startswith((b"<!doctype", b"<html"))
            else "is not a sound zip"
        )
        raise PermanentFailure(f"the archive {what} ({error})", file=path.name, remedy=_REFETCH) from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression method, or a password
        raise PermanentFailure(f"the archive cannot be unpacked ({error})", file=path.name, remedy=_REFETCH) from error


def members(archive: zipfile.ZipFile) -> tuple[zipfile.ZipInfo, ...]:
    """The archive's files in a fixed order, without folders and the debris of desktop zippers."""
    files = (m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/"))
    return tuple(sorted(files, key=lambda m: m.filename))


def unpack(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, look: Callable[[bytes], None] | None = None
) -> Path:
    """Stream a member to `target` in bounded memory; `look` sees every chunk as it passes. The zip's CRC is checked."""
    with archive.open(member) as source, target.open("wb") as out:
        while chunk := source.read(CHUNK_BYTES):
            if look is not None:
                look(chunk)
            out.write(chunk)
    return target


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)
