"""Bencoding (BEP 3), strict in both directions.

A value has exactly one encoding, and only that one is read: sorted unique keys, no leading zeros, nothing after the end. So a
decoded torrent re-encodes to its own bytes, and an info-hash can be trusted to be the hash of what was read. Lenient decoders
accept two spellings of the same dictionary, which is how two programs come to see two torrents in one file.

Not here: what the keys of a torrent mean (metainfo).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Bencodable: TypeAlias = "int | bytes | str | Sequence[Bencodable] | Mapping[bytes, Bencodable]"
Value: TypeAlias = "int | bytes | list[Value] | dict[bytes, Value]"

MAX_DEPTH = 32  # a real torrent nests 5 deep; a hostile one aims at the interpreter's stack
MAX_DIGITS = 20  # enough for any 64-bit number; longer ones only cost time


class BadBencoding(ValueError):
    """The bytes are not the bencoding of anything. Says at which offset."""


def bencode(value: Bencodable) -> bytes:
    """The one encoding of a value; text is encoded as UTF-8."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def bdecode(data: bytes) -> Value:
    """The value of a bencoding.

    Raises:
        BadBencoding: it is not one, or not the canonical one.
    """
    value, end = decode_at(data, 0)
    if end != len(data):
        raise BadBencoding(f"{len(data) - end} bytes follow the end of the value at offset {end}")
    return value


def decode_at(data: bytes, start: int) -> tuple[Value, int]:
    """The value that starts at an offset, and the offset after its end."""
    return _decode(data, start, MAX_DEPTH)


def dictionary_spans(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Where the value of each key of the outermost dictionary lies, for what must be kept byte for byte."""
    if data[:1] != b"d":
        raise BadBencoding("the outermost value is not a dictionary")
    spans: dict[bytes, tuple[int, int]] = {}
    at = 1
    while data[at : at + 1] != b"e":
        key, at = _decode_bytes(data, at)
        _, end = _decode(data, at, MAX_DEPTH - 1)
        spans[key], at = (at, end), end
    return spans


def _encode(value: Bencodable, parts: list[bytes]) -> None:
    match value:
        case bool():
            raise TypeError("bencoding knows no booleans; write 0 or 1")
        case int():
            parts.append(b"i%de" % value)
        case bytes():
            parts += (b"%d:" % len(value), value)
        case str():
            _encode(value.encode(), parts)
        case Mapping():
            parts.append(b"d")
            for key in sorted(value):
                _encode(key, parts)
                _encode(value[key], parts)
            parts.append(b"e")
        case Sequence():
            parts.append(b"l")
            for entry in value:
                _encode(entry, parts)
            parts.append(b"e")
        case _:
            raise TypeError(f"bencoding knows no {type(value).__name__}")


def _decode(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth < 0:
        raise BadBencoding(f"nested more than {MAX_DEPTH} deep at offset {at}")
    match data[at : at + 1]:
        case b"i":
            return _decode_int(data, at)
        case b"l":
            return _decode_list(data, at, depth)
        case b"d":
            return _decode_dictionary(data, at, depth)
        case _:
            return _decode_bytes(data, at)


def _decode_int(data: bytes, at: int) -> tuple[int, int]:
    end = data.find(b"e", at, at + MAX_DIGITS + 3)
    digits = data[at + 1 : end]
    if end < 0:
        raise BadBencoding(f"an integer has no end, or more than {MAX_DIGITS} digits, at offset {at}")
    if not digits.removeprefix(b"-").isdigit() or (digits.lstrip(b"-").startswith(b"0") and digits != b"0"):
        raise BadBencoding(f"not an integer at offset {at}")
    return int(digits), end + 1


def _decode_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    colon = data.find(b":", at, at + MAX_DIGITS + 1)
    digits = data[at:colon] if colon >= 0 else b""
    if not digits.isdigit() or (digits.startswith(b"0") and digits != b"0"):
        raise BadBencoding(f"neither a value nor the length of a string at offset {at}")
    end = colon + 1 + int(digits)
    if end > len(data):
        raise BadBencoding(f"a string at offset {at} is {end - len(data)} bytes longer than the data")
    return data[colon + 1 : end], end


def _decode_list(data: bytes, at: int, depth: int) -> tuple[list[Value], int]:
    values: list[Value] = []
    at += 1
    while data[at : at + 1] != b"e":
        value, at = _decode(data, at, depth - 1)
        values.append(value)
    return values, at + 1


def _decode_dictionary(data: bytes, at: int, depth: int) -> tuple[dict[bytes, Value], int]:
    values: dict[bytes, Value] = {}
    last: bytes | None = None
    at += 1
    while data[at : at + 1] != b"e":
        key, after = _decode_bytes(data, at)
        if last is not None and key <= last:
            raise BadBencoding(f"key {key[:40]!r} at offset {at} is {'repeated' if key == last else 'out of order'}")
        values[key], at = _decode(data, after, depth - 1)
        last = key
    return values, at + 1
