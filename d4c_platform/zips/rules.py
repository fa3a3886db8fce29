"""Which members of a zip may do harm: by their names, their kind, or by what they unpack to.

Not here: whether the parts of the zip agree (directory), and whether the bytes are what was declared (reading).
"""

from __future__ import annotations

import re
import stat
import unicodedata

from d4c_platform.zips.directory import Member
from d4c_platform.zips.names import same_place
from d4c_platform.zips.unsound import UnsoundZip

STORED, DEFLATED, BZIP2 = 0, 8, 12
METHODS = frozenset({STORED, DEFLATED, BZIP2})
"""What is unpacked in little memory. LZMA is not: a member of it says how much memory its reader has to take."""

MOST_UNPACKED_BYTES = 512 * 1024**3  # the largest table of Statistics Canada unpacks to 120 GB
MOST_RATIO = 400  # real tables reach 20 to 60; deflate cannot pass 1,032, and only bombs come near
RATIO_MATTERS_BYTES = 64 * 1024**2  # below this an absurd ratio harms nobody: an empty raster, a column of zeros
LONGEST_NAME_BYTES = 1024  # no file system takes a longer path everywhere
ENCRYPTED = 0x1 | 0x40 | 0x2000  # plain, strong, and with a hidden directory
PATCH = 0x20
CALLED = {1: "Shrink", 6: "Implode", 9: "Deflate64", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}


def check(members: tuple[Member, ...], zip_bytes: int) -> None:
    """Refuse a zip for what its directory says.

    Raises:
        UnsoundZip: with the member and the reason.
    """
    places: dict[str, Member] = {}
    for member in members:
        reason, place = _unsafe(member), same_place(member.filename)
        if reason is None and place in places:
            reason = (
                "it is in the zip twice"
                if member.filename == places[place].filename
                else (f"on some machines it is the same file as {places[place].filename!r}")
            )
        if reason is not None:
            raise UnsoundZip(f"member {member.filename!r} of the zip is refused: {reason}")
        places[place] = member
    for place, member in places.items():
        folder = next((f for f in _folders(place) if f in places and not places[f].is_dir()), None)
        if folder is not None:
            raise UnsoundZip(
                f"member {member.filename!r} of the zip is refused: {places[folder].filename!r} is a file, not a folder"
            )
    total = sum(member.file_size for member in members)
    if total > MOST_UNPACKED_BYTES:
        raise UnsoundZip(f"the zip unpacks to {total:,} bytes; at most {MOST_UNPACKED_BYTES:,} are read")
    if _is_bomb(total, zip_bytes):
        raise UnsoundZip(f"the zip's {zip_bytes:,} bytes unpack to {total:,}, which only bombs do")
    if all(member.is_dir() for member in members):
        raise UnsoundZip("the zip contains no files")


def _unsafe(member: Member) -> str | None:
    """Why a member is refused, as a clause; None when it is fine."""
    name = member.filename
    if not name.strip() or "\\" in name or any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in name):
        return "its name has a backslash, control characters or invisible ones, or is empty"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        return "its name leads out of the folder"
    if len(member.raw_name) > LONGEST_NAME_BYTES:
        return f"its name has more than {LONGEST_NAME_BYTES:,} bytes"
    kind = stat.S_IFMT(member.mode)  # of an empty folder it says nothing: Java's archivers write any
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR} and not member.is_dir():
        return "it is a link or a device, not a file"
    if member.file_size if member.is_dir() else kind == stat.S_IFDIR:
        return "it is a folder with the content of a file"
    if member.flag_bits & ENCRYPTED:
        return "it is encrypted"
    if member.compress_type not in METHODS or member.flag_bits & PATCH:
        called = f" ({CALLED[member.compress_type]})" if member.compress_type in CALLED else ""
        return f"its compression method {member.compress_type}{called} cannot be read here"
    if name.lower().endswith(".zip"):
        return "it is a zip in a zip, which no transform opens; declare the address of the inner one, or ask for a flat zip"
    if _is_bomb(member.file_size, member.compress_size):
        return f"{member.compress_size:,} bytes unpack to {member.file_size:,}, which only bombs do"
    return None


def _is_bomb(unpacked: int, packed: int) -> bool:
    return unpacked > RATIO_MATTERS_BYTES and unpacked > MOST_RATIO * packed


def _folders(place: str) -> list[str]:
    parts = place.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
