"""A CSV's bytes in blocks of whole records, so that each block can be read for itself, by whichever thread is free.

Only what is as it should be comes out: who reads blocks has another way to read everything else (csv_shape, csv_stage).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from d4c_platform.transforms.csv_shape import BOM, MAX_RECORD_BYTES, header_of

BLOCK_BYTES = 2 << 20  # what a thread reads at once: what a processor's cache holds
_QUOTE = ord('"')


class Irregular(Exception):
    """The file cannot be read the quick way."""


def blocks(chunks: Iterable[bytes], name: str) -> Iterator[Any]:
    """The header and the separator; then the file in blocks of whole records."""
    header = None
    for data in _gathered(chunks):
        if header is None:
            data = data.removeprefix(BOM)
            header = header_of(data, name)
            if header is None:
                raise Irregular
            yield header[:2]
            rest = data[header[2] :]
        else:
            rest += data
        end = _last_end(rest)
        yield rest[:end]
        rest = rest[end:]
        if len(rest) > MAX_RECORD_BYTES:
            raise Irregular
    if header is None:
        raise Irregular
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of `BLOCK_BYTES` or a little more."""
    waiting: list[bytes] = []
    held = 0
    for chunk in chunks:
        waiting.append(chunk)
        held += len(chunk)
        if held >= BLOCK_BYTES:
            yield b"".join(waiting)
            waiting, held = [], 0
    if held:
        yield b"".join(waiting)


def _last_end(data: bytes) -> int:
    """Where the last whole record ends: behind the last line end that an even number of quotes stands before."""
    quotes = np.frombuffer(data, np.uint8) == _QUOTE
    end, before = len(data), np.count_nonzero(quotes)
    while newline := data.rfind(b"\n", 0, end) + 1:
        before -= np.count_nonzero(quotes[newline:end])
        if not before % 2:
            return newline
        end = newline - 1
    return 0
