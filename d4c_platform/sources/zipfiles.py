"""A zip from outside is hostile until every member has been read once.

One pass over the members checks each CRC and makes the canonical content hash: the same names with the same bytes hash the
same, however often the publisher stamps the zip again. Nothing is unpacked to disk here.

Refused, with a sentence that names the member: bombs (by total, ratio and number), members that overlap, names that leave the
folder, links and devices, encryption, a zip in a zip (nothing of ours opens one, and bombs hide there).
"""

from __future__ import annotations

import hashlib
import lzma
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from d4c_platform.model.errors import PermanentFailure

MOST_MEMBERS = 10_000  # a release of separate files is a file list, not a zip
MOST_UNPACKED_BYTES = 512 * 1024**3  # the largest table of Statistics Canada unpacks to 120 GB
MOST_RATIO = 400  # real tables reach 20 to 60; deflate cannot pass 1,032, and only bombs come near
RATIO_MATTERS_BYTES = 64 * 1024**2  # below this an absurd ratio harms nobody: an empty raster, a column of zeros
CHUNK_BYTES = 1 << 20
LOCAL_HEADER_BYTES = 30  # the fixed part; name and extra field follow
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
ENCRYPTED = 0x1
MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
)
"""What the zip reader raises on bytes that are no sound zip."""


def content_sha256(path: Path, file: str) -> str:
    """Check a zip as it was received and hash its content: its members' names and bytes, in the order of their names.

    Args:
        file: its name, for messages.

    Raises:
        PermanentFailure: it is not sound or not safe.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _safe_members(archive.infolist(), file)
            hashes = {member.filename: _member_sha256(archive, member, file) for member in members}
    except UNREADABLE as error:
        raise _refused(f"the zip is corrupt or cut short ({error or type(error).__name__})", file) from error
    digest = hashlib.sha256()
    for name in sorted(hashes):
        digest.update(f"{name}\0{hashes[name]}\n".encode())
    return digest.hexdigest()


def directory_sha256(file: Path | IO[bytes]) -> str:
    """A hash of what the zip's directory says of its members: names, sizes and CRCs, in the order of their names.

    Equal content has the same one, however the zip was packed; other content has another, but for one in four billion of the
    same sizes. It takes the last few kilobytes of a zip of any size. A hint: that content is equal, `content_sha256` says.

    Raises:
        PermanentFailure: there is no directory to be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = sorted((i.filename, i.file_size, i.CRC) for i in archive.infolist() if not i.is_dir())
    except UNREADABLE as error:
        raise _refused(f"the zip's directory cannot be read ({error or type(error).__name__})", str(file)) from error
    digest = hashlib.sha256()
    for name, size, crc in members:
        digest.update(f"{name}\0{size}\0{crc:08x}\n".encode())
    return digest.hexdigest()


def _safe_members(infos: list[zipfile.ZipInfo], file: str) -> list[zipfile.ZipInfo]:
    """The members that are files, once the directory of the zip has been found harmless."""
    if len(infos) > MOST_MEMBERS:
        raise _refused(f"the zip has {len(infos):,} members; at most {MOST_MEMBERS:,} are read", file)
    seen: set[str] = set()
    for info in infos:
        reason = _unsafe(info)
        if reason is None and info.filename.casefold() in seen:
            reason = "it is in the zip twice"
        if reason is not None:
            raise _refused(f"member {info.orig_filename!r} of the zip is refused: {reason}", file)
        seen.add(info.filename.casefold())
    total = sum(info.file_size for info in infos)
    if total > MOST_UNPACKED_BYTES:
        raise _refused(f"the zip unpacks to {total:,} bytes; at most {MOST_UNPACKED_BYTES:,} are read", file)
    _refuse_overlaps(infos, file)
    members = [info for info in infos if not info.is_dir()]
    if not members:
        raise _refused("the zip contains no files", file)
    return members


def _unsafe(info: zipfile.ZipInfo) -> str | None:
    """Why a member is refused, as a clause; None when it is fine."""
    name = info.orig_filename
    mode = info.external_attr >> 16
    if not name.strip() or re.search(r"[\x00-\x1f\\]", name):
        return "its name has a backslash or control characters, or is empty"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        return "its name leads out of the folder"
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "it is a link or a device, not a file"
    if info.flag_bits & ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in METHODS:
        return f"its compression method {info.compress_type} cannot be read here"
    if name.lower().endswith(".zip"):
        return "it is a zip in a zip"
    if info.file_size > RATIO_MATTERS_BYTES and info.file_size > MOST_RATIO * info.compress_size:
        return f"{info.compress_size:,} bytes unpack to {info.file_size:,}, which only bombs do"
    return None


def _refuse_overlaps(infos: list[zipfile.ZipInfo], file: str) -> None:
    """Bombs let many members share the same compressed bytes."""
    end, before = 0, ""
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < end:
            raise _refused(f"members {before!r} and {info.filename!r} of the zip overlap, which only bombs do", file)
        end, before = info.header_offset + LOCAL_HEADER_BYTES + info.compress_size, info.filename


def _member_sha256(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: str) -> str:
    """Read the member to its end, which also checks its CRC; never more than its declared size."""
    digest = hashlib.sha256()
    try:
        with archive.open(member) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except UNREADABLE as error:
        raise _refused(f"the zip is corrupt at member {member.filename!r} ({error or type(error).__name__})", file) from error
    return digest.hexdigest()


def _refused(what: str, file: str) -> PermanentFailure:
    return PermanentFailure(
        what,
        where="receipt",
        file=file,
        kept="The previous latest stays",
        remedy="If the publisher's own file is broken, tell them; materialize this version again when it is repaired",
    )
