"""A member's name as text: the same on every machine, readable where its bytes can be read.

The format knows two encodings, UTF-8 when a flag says so and else code page 437. Writers do as they like: UTF-8 without the
flag (macOS), the ANSI code page of a Windows in Canada, or UTF-8 in an extra field. So without a flag the bytes are looked at:
what is UTF-8 beyond chance is UTF-8, and of the two code pages the one in which every letter is Latin has written the name.

Names are composed (NFC), because macOS decomposes them: the same content has the same names wherever it was zipped.
"""

from __future__ import annotations

import struct
import unicodedata
import zlib

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # Info-ZIP's extra field: the name in UTF-8, with the CRC of the name it stands for


def decoded(raw: bytes, flags: int, extra: dict[int, bytes]) -> str:
    """The name; never fails, because bytes that are nothing else are code page 437."""
    return unicodedata.normalize("NFC", _text(raw, flags, extra))


def same_place(name: str) -> str:
    """What two names have in common that lead to one file on some file system."""
    parts = (part.rstrip(" .") for part in name.split("/"))  # Windows drops what stands at the end
    path = "/".join(part for part in parts if part)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _text(raw: bytes, flags: int, extra: dict[int, bytes]) -> str:
    if not flags & UTF8_FLAG:
        told = _unicode_path(raw, extra.get(UNICODE_PATH, b""))
        if told is not None:
            return told
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    dos = raw.decode("cp437")
    if _is_latin(dos):
        return dos
    windows = raw.decode("cp1252", errors="replace")
    return windows if _is_latin(windows) else dos


def _unicode_path(raw: bytes, field: bytes) -> str | None:
    if len(field) < 6 or field[0] != 1 or struct.unpack_from("<L", field, 1)[0] != zlib.crc32(raw):
        return None
    try:
        return field[5:].decode("utf-8")
    except UnicodeDecodeError:
        return None


def _is_latin(text: str) -> bool:
    return all(c < "\x80" or unicodedata.name(c, "").startswith("LATIN ") for c in text)
