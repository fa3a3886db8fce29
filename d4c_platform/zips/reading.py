"""The bytes of a zip's members, in pieces, and exactly as many as the directory declares.

A member ends where its packed bytes end, its length and its CRC are those declared: less, more or other bytes are refused at
the piece that shows it. The standard library's reader stops at the declared length and does not say that more would follow.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from d4c_platform.zips import directory, rules
from d4c_platform.zips.directory import Member
from d4c_platform.zips.unsound import UnsoundZip

CHUNK_BYTES = 1 << 20  # of what is read, and of what it unpacks to


class Zip:
    """A zip whose structure was found to be sound.

    Attributes:
        members: its files in the order of its directory, without the folders.
    """

    def __init__(self, stream: BinaryIO) -> None:
        everything = directory.read(stream)
        rules.check(everything, stream.seek(0, 2))
        self._stream = stream
        self.members = tuple(member for member in everything if not member.is_dir())

    def chunks(self, member: Member) -> Iterator[bytes]:
        """A member's bytes; each piece was within its declared size, and after the last one its CRC was right.

        Raises:
            UnsoundZip: the bytes are not those that were declared.
        """
        size, crc = 0, 0
        for chunk in self._unpacked(member):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
            if size > member.file_size:
                raise _corrupt(member, f"it unpacks to more than its {member.file_size:,} bytes")
            yield chunk
        if size != member.file_size:
            raise _corrupt(member, f"it unpacks to {size:,} bytes instead of {member.file_size:,}")
        if crc != member.crc:
            raise _corrupt(member, "its bytes have another CRC")

    def _unpacked(self, member: Member) -> Iterator[bytes]:
        left, at = member.compress_size, member.data_offset
        if not left and not member.file_size:  # some writers pack nothing into nothing
            return
        unpacker = _unpacker(member.compress_type)
        while left and not unpacker.done:
            self._stream.seek(at)  # others may read from it between two pieces
            packed = self._stream.read(min(left, CHUNK_BYTES))
            if not packed:
                raise _corrupt(member, "it is cut short")
            left, at = left - len(packed), at + len(packed)
            try:
                yield from unpacker.take(packed)
            except (zlib.error, OSError, EOFError, ValueError) as error:
                raise _corrupt(member, str(error)) from error
        if unpacker.done is False:
            raise _corrupt(member, "it is cut short")
        if left or unpacker.over:
            raise _corrupt(member, "bytes follow its end")


@contextmanager
def opened(path: Path, file: str | None = None) -> Iterator[Zip]:
    """A zip that may be read, with every way it can be broken told as a failure.

    Args:
        file: its name for messages; by default that of the path.

    Raises:
        UnsoundZip: it is not sound or not safe; also while it is read.
    """
    try:
        with path.open("rb") as stream:
            yield Zip(stream)
    except UnsoundZip as error:
        error.file = error.file or file or path.name
        raise


class _Unpacker(Protocol):
    """Packed bytes in, pieces of at most `CHUNK_BYTES` out.

    Attributes:
        done: whether the packed bytes have said that they end; None when they never do.
        over: whether there were bytes behind that end.
    """

    @property
    def done(self) -> bool | None: ...

    @property
    def over(self) -> bool: ...

    def take(self, packed: bytes) -> Iterator[bytes]: ...


class _Stored:
    done: bool | None = None
    over = False

    def take(self, packed: bytes) -> Iterator[bytes]:
        yield packed


class _Deflated:
    def __init__(self) -> None:
        self._made = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def done(self) -> bool:
        return self._made.eof

    @property
    def over(self) -> bool:
        return bool(self._made.unused_data)

    def take(self, packed: bytes) -> Iterator[bytes]:
        piece = self._made.decompress(packed, CHUNK_BYTES)
        while piece:
            yield piece
            piece = self._made.decompress(self._made.unconsumed_tail, CHUNK_BYTES)


class _Bzip2:
    def __init__(self) -> None:
        self._made = bz2.BZ2Decompressor()

    @property
    def done(self) -> bool:
        return self._made.eof

    @property
    def over(self) -> bool:
        return bool(self._made.unused_data)

    def take(self, packed: bytes) -> Iterator[bytes]:
        piece = self._made.decompress(packed, CHUNK_BYTES)
        while piece:
            yield piece
            piece = b"" if self._made.eof else self._made.decompress(b"", CHUNK_BYTES)


def _unpacker(method: int) -> _Unpacker:
    made: dict[int, type[_Unpacker]] = {rules.STORED: _Stored, rules.DEFLATED: _Deflated, rules.BZIP2: _Bzip2}
    return made[method]()


def _corrupt(member: Member, why: str) -> UnsoundZip:
    return UnsoundZip(f"the zip is corrupt at member {member.filename!r} ({why})")
