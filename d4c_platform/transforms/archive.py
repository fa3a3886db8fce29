"""The members of a source zip, streamed to a working directory, or a clear reason why not.

The archive may have been damaged since it was received, so the zip is judged again as it was then (zips). Members are written
under names we choose, never under paths the archive chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d4c_platform import zips
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.zips import Member, Zip

_REFETCH = "Fetch the release again; if it is the same, tell the publisher"


@contextmanager
def opened(path: Path) -> Iterator[Zip]:
    """The archive, with every way it can be broken told as a failure."""
    try:
        with zips.opened(path) as archive:
            yield archive
    except zips.UnsoundZip as error:
        page = _beginning(path).lstrip().lower().startswith((b"<!doctype", b"<html"))
        what = "is an HTML page, not a zip" if page else f"is not a sound zip ({error.what})"
        raise PermanentFailure(f"the archive {what}", file=path.name, remedy=_REFETCH) from error


def members(archive: Zip) -> tuple[Member, ...]:
    """The archive's files in a fixed order, without the debris of desktop zippers."""
    files = (m for m in archive.members if not m.filename.startswith("__MACOSX/"))
    return tuple(sorted(files, key=lambda m: m.filename))


def unpack(archive: Zip, member: Member, target: Path) -> Path:
    """Stream a member to `target` in bounded memory. The zip's CRC is checked."""
    with target.open("wb") as out:
        out.writelines(archive.chunks(member))
    return target


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)
