"""A zip from outside is hostile until every member has been read once.

One pass over the members checks each CRC and makes the canonical content hash: the same names with the same bytes hash the
same, however often the publisher stamps the zip again, and on every machine. Nothing is unpacked to disk here.

Not here: how a zip is read and what is refused in it (zips).
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path
from typing import IO

from d4c_platform import zips
from d4c_platform.sources.download import KEPT, WHERE

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")

OTHER_KINDS = (
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\x00", "an xz file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (0, b"MSCF", "a Windows cabinet"),
    (0, b"PK\x07\x08", "one part of a zip in several parts"),
    (0, b"PK00PK", "one part of a zip in several parts"),
    (0, b"MZ", "a program, perhaps one that unpacks itself"),
    (0, b"%PDF-", "a PDF"),
    (0, b"SQLite format 3\x00", "an SQLite file, perhaps a GeoPackage"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document"),
    (0, b"PAR1", "a Parquet file"),
    (257, b"ustar", "a tar archive"),
)
"""Where a file says what it is, what it says there, and what that means."""


NO_DIRECTORY = (zipfile.BadZipFile, struct.error, EOFError, NotImplementedError, OSError, OverflowError, ValueError)
"""What the standard library raises on a directory that cannot be read."""


def other_kind(start: bytes) -> str | None:
    """What a file is that is no zip, by its first 512 bytes; None when they say nothing that is known."""
    return next((name for at, mark, name in OTHER_KINDS if start[at:].startswith(mark)), None)


def content_sha256(path: Path, file: str) -> str:
    """Check a zip as it was received and hash its content: its members' names and bytes, in the order of their names.

    Args:
        file: its name, for messages.

    Raises:
        PermanentFailure: it is not sound or not safe.
    """
    hashes: dict[str, str] = {}
    try:
        with zips.opened(path, file) as opened:
            for member in opened.members:
                digest = hashlib.sha256()
                for chunk in opened.chunks(member):
                    digest.update(chunk)
                hashes[member.filename] = digest.hexdigest()
    except zips.UnsoundZip as error:
        error.about(where=WHERE, kept=KEPT)
        raise
    digest = hashlib.sha256()
    for name in sorted(hashes):
        digest.update(f"{name}\0{hashes[name]}\n".encode())
    return digest.hexdigest()


def directory_sha256(file: Path | IO[bytes]) -> str:
    """A hash of what the zip's directory says of its members: names, sizes and CRCs, in the order of their names.

    Equal content has the same one, however the zip was packed; other content has another, but for one in four billion of the
    same sizes. It takes the last few kilobytes of a zip of any size, which is why the standard library reads it here: `zips`
    compares the directory with every member's own header. A hint: that content is equal, `content_sha256` says.

    Raises:
        PermanentFailure: there is no directory to be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = sorted((i.filename, i.file_size, i.CRC) for i in archive.infolist() if not i.is_dir())
    except NO_DIRECTORY as error:
        raise zips.UnsoundZip(
            f"the zip's directory cannot be read ({error or type(error).__name__})", file=str(file), where=WHERE, kept=KEPT
        ) from error
    digest = hashlib.sha256()
    for name, size, crc in members:
        digest.update(f"{name}\0{size}\0{crc:08x}\n".encode())
    return digest.hexdigest()
