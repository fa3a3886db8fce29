"""The structure of a zip: its end, its directory and the header before each member, which have to agree in everything.

A reader that streams believes the headers, one that seeks believes the directory, and the tricks live where the two differ. So
whatever both say is compared, members may not overlap, and no member lies there that the directory does not name. Nothing is
read that the file is not long enough for, and nothing is kept but the directory, whose size is bounded.

Not here: whether a member may do harm (rules).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from d4c_platform.zips.names import decoded
from d4c_platform.zips.unsound import UnsoundZip

MOST_MEMBERS = 10_000  # a release of separate files is a file list, not a zip
MOST_DIRECTORY_BYTES = 16 << 20  # of that many members with long names: 3 MB
MOST_PADDING_BYTES = 64 << 10  # zeros and line ends that servers append; nothing hides in them

END, END_64, LOCATOR_64, ENTRY, LOCAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02", b"PK\x03\x04"
_END, _END_64, _LOCATOR_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_ENTRY, _LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
LONGEST_COMMENT = 0xFFFF
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF  # "look into the zip64 field"
ZIP64 = 0x0001
SIZES_FOLLOW = 0x8  # the header does not know them yet; a descriptor comes after the bytes
DESCRIPTOR_BYTES = (0, 12, 16, 20, 24)


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder in a zip. The first names are those of `zipfile.ZipInfo`.

    Attributes:
        filename: readable, composed; `/` between its parts.
        mode: as Unix has it; 0 when the writer says nothing.
        data_offset: where its packed bytes begin.
    """

    filename: str
    raw_name: bytes
    file_size: int
    compress_size: int
    compress_type: int
    flag_bits: int
    crc: int
    mode: int
    header_offset: int
    data_offset: int

    def is_dir(self) -> bool:
        return self.filename.endswith("/")

    @property
    def end(self) -> int:
        return self.data_offset + self.compress_size


class _Directory(NamedTuple):
    """Where the directory lies and how many entries it has."""

    offset: int
    size: int
    entries: int


def read(stream: BinaryIO) -> tuple[Member, ...]:
    """All members in the order of the directory.

    Raises:
        UnsoundZip: the parts of the zip do not agree.
    """
    directory = _find(stream)
    if directory.entries > MOST_MEMBERS:
        raise UnsoundZip(f"the zip has {directory.entries:,} members; at most {MOST_MEMBERS:,} are read")
    if directory.size > MOST_DIRECTORY_BYTES:
        raise UnsoundZip(f"the zip's directory has {directory.size:,} bytes; at most {MOST_DIRECTORY_BYTES:,} are read")
    body = _at(stream, directory.offset, directory.size)
    members = tuple(_located(stream, member, directory.offset) for member in _entries(body, directory.entries))
    _refuse_overlaps(stream, members, directory.offset)
    return members


def _find(stream: BinaryIO) -> _Directory:
    size = stream.seek(0, 2)
    tail_at = max(0, size - _END.size - LONGEST_COMMENT - MOST_PADDING_BYTES)
    tail = _at(stream, tail_at, size - tail_at)
    places = [m.start() for m in re.finditer(re.escape(END), tail) if m.start() + _END.size <= len(tail)]
    # A comment that holds another end is how one file is two zips to two readers.
    ends = [at for at in places if not tail[_end_of(tail, at) :].strip(b"\0\r\n") and _end_of(tail, at) <= len(tail)]
    if not ends:
        if places and _end_of(tail, places[-1]) < len(tail):
            more = len(tail) - _end_of(tail, places[-1])
            raise UnsoundZip(f"{more:,} bytes follow the end of the zip, which do not belong to it")
        raise UnsoundZip("the zip is corrupt or cut short: it has no directory at its end")
    if len(ends) > 1:
        raise UnsoundZip("the zip has two ends, so that two readers may see two different zips")
    _, disk, first_disk, here, entries, length, offset, _ = _END.unpack_from(tail, ends[0])
    end = tail_at + ends[0]
    said: tuple[int, ...] = (disk, first_disk, here, entries, length, offset)
    full = (FULL_16, FULL_16, FULL_16, FULL_16, FULL_32, FULL_32)
    large = _find_64(stream, end)
    if large is not None:
        end, values = large
        if any(mine not in {theirs, most} for mine, theirs, most in zip(said, values, full, strict=True)):
            raise UnsoundZip("the zip is corrupt: its two ends (the old and the zip64 one) differ")
        said = values
    elif any(value == most for value, most in zip(said, full, strict=True)):
        raise UnsoundZip("the zip is corrupt: its end refers to a zip64 end that is not there")
    disk, first_disk, here, entries, length, offset = said
    if disk or first_disk or here != entries:
        raise UnsoundZip("the zip is one part of several, which cannot be read on its own")
    if offset + length != end:
        raise UnsoundZip("the zip is corrupt or cut short: its directory is not where its end says")
    return _Directory(offset, length, entries)


def _end_of(tail: bytes, at: int) -> int:
    return at + _END.size + int.from_bytes(tail[at + _END.size - 2 : at + _END.size], "little")


def _find_64(stream: BinaryIO, end: int) -> tuple[int, tuple[int, ...]] | None:
    """Where the zip64 end begins and what it says; None when there is none."""
    locator_at = end - _LOCATOR_64.size
    if locator_at < 0 or not (locator := _at(stream, locator_at, _LOCATOR_64.size)).startswith(LOCATOR_64):
        return None
    _, disk, at, disks = _LOCATOR_64.unpack(locator)
    if at + _END_64.size > locator_at:
        raise UnsoundZip("the zip is corrupt: its zip64 end is not where its locator says")
    sign, size, _, _, number, first_disk, here, entries, length, offset = _END_64.unpack(_at(stream, at, _END_64.size))
    if sign != END_64 or at + 12 + size != locator_at or disk or disks > 1:
        raise UnsoundZip("the zip is corrupt: its zip64 end is not where its locator says")
    return at, (number, first_disk, here, entries, length, offset)


def _entries(body: bytes, count: int) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(body):
            raise UnsoundZip("the zip is corrupt or cut short: its directory has fewer members than its end says")
        sign, *_, flags, method, _, _, crc, packed, unpacked, names, extras, comments, disk, _, attributes, offset = (
            _ENTRY.unpack_from(body, at)
        )
        name_at = at + _ENTRY.size
        extra_at = name_at + names
        at = extra_at + extras + comments
        if sign != ENTRY or at > len(body):
            raise UnsoundZip("the zip is corrupt or cut short in its directory")
        raw, extra = body[name_at:extra_at], _extra(body[extra_at : extra_at + extras])
        unpacked, packed, offset = _resolved(extra, unpacked, packed, offset)
        if disk not in {0, FULL_16}:
            raise UnsoundZip("the zip is one part of several, which cannot be read on its own")
        name = decoded(raw, flags, extra)
        yield Member(name, raw, unpacked, packed, method, flags, crc, attributes >> 16, offset, data_offset=offset)
    if at != len(body):
        raise UnsoundZip("the zip is corrupt: its directory has more than its end says")


def _located(stream: BinaryIO, member: Member, directory_at: int) -> Member:
    """The member with the place of its bytes, once its own header says what the directory says."""
    at = member.header_offset
    if at + _LOCAL.size > directory_at:
        raise _differs(member, "lies outside of the zip")
    sign, _, flags, method, _, _, crc, packed, unpacked, names, extras = _LOCAL.unpack(_at(stream, at, _LOCAL.size))
    if sign != LOCAL or at + _LOCAL.size + names + extras > directory_at:
        raise _differs(member, "has no header where the directory says")
    rest = _at(stream, at + _LOCAL.size, names + extras)
    if rest[:names] != member.raw_name:
        raise _differs(member, f"is called {rest[:names].decode('utf-8', 'replace')!r} in its own header")
    if method != member.compress_type or (flags ^ member.flag_bits) & 0x1:
        raise _differs(member, "is packed in another way by its own header")
    extra = _extra(rest[names:])
    if flags & SIZES_FOLLOW and ZIP64 not in extra:
        unpacked, packed = (0 if size == FULL_32 else size for size in (unpacked, packed))
    unpacked, packed, _ = _resolved(extra, unpacked, packed, 0)
    theirs, ours = (crc, packed, unpacked), (member.crc, member.compress_size, member.file_size)
    if theirs != ours and not (flags & SIZES_FOLLOW and all(a in {0, b} for a, b in zip(theirs, ours, strict=True))):
        raise _differs(member, "has another size or checksum in its own header")
    located = at + _LOCAL.size + names + extras
    if located + member.compress_size > directory_at:
        raise _differs(member, "reaches beyond the end of the zip")
    return replace(member, flag_bits=member.flag_bits | flags, data_offset=located)


def _refuse_overlaps(stream: BinaryIO, members: tuple[Member, ...], directory_at: int) -> None:
    """Bombs let many members share the same packed bytes; smugglers leave members that the directory does not name."""
    in_order = sorted(members, key=lambda m: m.header_offset)
    for one, other in pairwise(in_order):
        if other.header_offset < one.end:
            raise UnsoundZip(f"members {one.filename!r} and {other.filename!r} of the zip overlap, which only bombs do")
    starts = [*(member.header_offset for member in in_order), directory_at]
    gaps = zip([0, *(member.end for member in in_order)], starts, strict=True)
    for start, stop in gaps:
        between = _at(stream, start, min(stop - start, max(DESCRIPTOR_BYTES) + len(LOCAL)))
        if any(between[skip:].startswith(LOCAL) for skip in DESCRIPTOR_BYTES):
            raise UnsoundZip(f"at byte {start:,} of the zip lies a member that its directory does not name")


def _extra(field: bytes) -> dict[int, bytes]:
    """The extra fields by their number. What is no field is passed over: writers leave padding there."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(field):
        number, size = struct.unpack_from("<HH", field, at)
        if at + 4 + size > len(field):
            break
        if number == ZIP64 and number in found:
            raise UnsoundZip("the zip is corrupt: a member has two zip64 fields")
        found.setdefault(number, field[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _resolved(extra: dict[int, bytes], *values: int) -> tuple[int, int, int]:
    """The values, those that are too large for their place from the zip64 field, which has them in this order."""
    field, at, found = extra.get(ZIP64, b""), 0, []
    for value in values:
        if value == FULL_32:
            if at + 8 > len(field):
                raise UnsoundZip("the zip is corrupt: the size or place of a member is missing in its zip64 field")
            value = int.from_bytes(field[at : at + 8], "little")
            at += 8
        found.append(value)
    unpacked, packed, offset = found
    return unpacked, packed, offset


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    found = stream.read(size)
    if len(found) != size:
        raise UnsoundZip("the zip is corrupt or cut short")
    return found


def _differs(member: Member, how: str) -> UnsoundZip:
    return UnsoundZip(f"the zip is corrupt at member {member.filename!r}, which {how}")
