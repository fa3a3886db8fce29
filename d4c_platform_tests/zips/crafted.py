"""Zips made byte by byte, so that each part of them can say something else than the others."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

LOCAL = struct.Struct("<4s5H3L2H")
ENTRY = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64 = struct.Struct("<4sLQL")
FULL = 0xFFFFFFFF


def packed(body: bytes) -> bytes:
    maker = zlib.compressobj(wbits=-15)
    return maker.compress(body) + maker.flush()


@dataclass
class Part:
    """A member; `local` and `entry` say something else in its header or in the directory than what is true.

    Attributes:
        data: its packed bytes, by default those of `body`.
        after: bytes that stand behind its data.
    """

    name: bytes = b"a.csv"
    body: bytes = b"1,2,3\n" * 20
    method: int = 8
    data: bytes | None = None
    flags: int = 0
    mode: int = 0
    extra: bytes = b""
    local: dict[str, Any] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    after: bytes = b""

    @property
    def true(self) -> dict[str, Any]:
        data = self.data if self.data is not None else packed(self.body) if self.method == 8 else self.body
        return {
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.body),
            "packed": len(data),
            "unpacked": len(self.body),
            "name": self.name,
            "extra": self.extra,
            "data": data,
        }

    def header(self) -> bytes:
        say = self.true | self.local
        head = LOCAL.pack(
            b"PK\x03\x04", 20, say["flags"], say["method"], 0, 0, say["crc"], say["packed"], say["unpacked"],
            len(say["name"]), len(say["extra"]),
        )  # fmt: skip
        return bytes(head + say["name"] + say["extra"] + self.true["data"] + self.after)

    def listed(self, offset: int) -> bytes:
        say = self.true | {"offset": offset, "disk": 0} | self.entry
        head = ENTRY.pack(
            b"PK\x01\x02", 0x0314, 20, say["flags"], say["method"], 0, 0, say["crc"], say["packed"], say["unpacked"],
            len(say["name"]), len(say["extra"]), 0, say["disk"], 0, self.mode << 16, say["offset"],
        )  # fmt: skip
        return bytes(head + say["name"] + say["extra"])


def zip_of(*parts: Part, unlisted: bytes = b"", comment: bytes = b"", large: dict[str, int] | None = None, **end: int) -> bytes:
    """A zip of these parts.

    Args:
        unlisted: bytes before the directory that it does not know of.
        large: with a zip64 end, which says these things instead of what is true.
        end: what the end says instead of what is true: `entries`, `here`, `size`, `offset`, `disk`, `length`.
    """
    body, directory = b"", b""
    for part in parts:
        directory += part.listed(len(body))
        body += part.header()
    body += unlisted
    true = {"disk": 0, "entries": len(parts), "here": len(parts), "size": len(directory), "offset": len(body)}
    tail = b""
    if large is not None:
        say = true | {"record": 44, "at": len(body) + len(directory)} | large
        tail = END_64.pack(
            b"PK\x06\x06", say["record"], 45, 45, say["disk"], 0, say["here"], say["entries"], say["size"], say["offset"]
        ) + LOCATOR_64.pack(b"PK\x06\x07", 0, say["at"], 1)
    say = true | {"length": len(comment)} | end
    last = END.pack(b"PK\x05\x06", say["disk"], 0, say["here"], say["entries"], say["size"], say["offset"], say["length"])
    return body + directory + tail + last + comment


def zip64_field(*values: int) -> bytes:
    return struct.pack("<HH", 1, 8 * len(values)) + struct.pack(f"<{len(values)}Q", *values)
