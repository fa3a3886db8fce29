"""The shape of a CSV, proved while its bytes pass: every record that passes has as many fields as the header.

DuckDB's reader is fast but lenient: it takes a row with one empty field too many. Separators are found between quotes with
NumPy, 64 bytes to a word, so a row that is too long or too short is named by its line in the file before anything is read
from it, and the number of records is known independently of the reader that parses them. A blank line is no record: it has
no fields to lose.

A record that is too long or too short is handed to `rejects` and does not pass; without somebody who keeps them it is a
failure. Records pass byte by byte as they are.

Not here: what becomes of rejected records (rejects).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

import numpy as np

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.rejects import Rejects

MAX_RECORD_BYTES = 32 << 20  # longer means a quote that never closes
BOM = b"\xef\xbb\xbf"
_QUOTE, _NEWLINE, _RETURN = ord('"'), ord("\n"), ord("\r")
_SHOWN = 160  # characters of a bad row that an error shows


@dataclass(frozen=True, slots=True)
class Shape:
    """What a CSV is made of.

    Attributes:
        records: that passed; the rejected ones are not among them.
        one_line_each: every record, passed or not, stands on one line.
        rejected: the lines of records that did not pass.
    """

    header: tuple[str, ...]
    separator: str
    records: int
    one_line_each: bool
    rejected: tuple[int, ...] = ()

    def place(self, record: int) -> str:
        """Where a record that passed stands in the file, as precisely as it is known; the first one is number 0."""
        if not self.one_line_each:
            return f"row {record + 1} after the header"
        line = record + 2
        for rejected in self.rejected:
            line += rejected <= line
        return f"line {line}"


def header_of(data: bytes, file: str, separator: str = "") -> tuple[tuple[str, ...], str, int] | None:
    """The names of the columns, what separates fields, and where the first record begins; None while the header is cut.

    Args:
        data: the file's first bytes, without a byte order mark.
        separator: of fields, when it is declared; otherwise the header says whether it is a comma or a semicolon.

    Raises:
        PermanentFailure: it is not UTF-8.
    """
    end, inside = -1, False
    for i, byte in enumerate(data[:MAX_RECORD_BYTES]):
        inside ^= byte == _QUOTE
        if byte == _NEWLINE and not inside:
            end = i
            break
    if end < 0:
        return None
    try:
        text = data[:end].decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise PermanentFailure(
            f"the header is not UTF-8 ({error})",
            file=file,
            remedy="Tell the publisher; nothing is converted by guess",
        ) from error
    # French full-table files separate with semicolons because their decimals have commas.
    separator = separator or max(",;", key=lambda s: len(next(csv.reader([text], delimiter=s))))
    return tuple(name.strip() for name in next(csv.reader([text], delimiter=separator))), separator, end + 1


def field_ends(data: bytes, separator: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where fields end: the separators and line ends that stand outside quotes. The data begins outside quotes."""
    bytes_ = np.frombuffer(data, np.uint8)
    quoted = _parity(_bits(bytes_ == _QUOTE))
    ends = _bits((bytes_ == ord(separator)) | (bytes_ == _NEWLINE)) & ~quoted
    unpacked = np.unpackbits(ends.view(np.uint8), count=len(bytes_), bitorder="little")
    return np.flatnonzero(unpacked.view(np.bool_))


def _bits(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    packed = np.packbits(mask, bitorder="little")
    padded = np.zeros(-(-len(packed) // 8) * 8, np.uint8)
    padded[: len(packed)] = packed
    return padded.view("<u8")


def _parity(bits: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Of each bit, whether an odd number of bits is set up to and with it: whether a quote is open there."""
    for shift in (1, 2, 4, 8, 16, 32):
        bits = bits ^ (bits << np.uint64(shift))
    open_before = np.bitwise_xor.accumulate(bits >> np.uint64(63))
    bits[1:] ^= np.uint64(0) - open_before[:-1]
    return bits


class ShapeReader:
    """Takes a CSV's bytes chunk by chunk, gives back those that are proved, and knows the shape when it has ended.

    Args:
        separator: of fields, when it is declared; otherwise the header says whether it is a comma or a semicolon.
        rejects: takes the records that do not pass; without it the first one is a failure.
    """

    def __init__(self, file: str, separator: str = "", rejects: Rejects | None = None) -> None:
        self._file, self._rejects = file, rejects
        self._passed: list[bytes] = []
        self._rejected: list[int] = []
        self._rest = b""
        self._header: tuple[str, ...] = ()
        self._separator = separator
        self._records = 0
        self._line = 1  # of the first byte of the rest
        self._started = False

    def take(self, chunk: bytes) -> bytes:
        """The next bytes of the file; gives the header and the records that are whole by now, without a byte order mark."""
        data = self._rest + chunk if self._rest else chunk
        if not self._started:
            if len(data) < len(BOM):
                self._rest = data
                return b""
            data, self._started = data.removeprefix(BOM), True
        self._take(data)
        return self._given()

    def end(self) -> bytes:
        """Called after the last chunk: what was left of the file.

        Raises:
            PermanentFailure: a quote never closes, or there is no header.
        """
        if self._rest.strip(b"\r\n"):
            self._take(self._rest.removeprefix(b"" if self._started else BOM) + b"\n")
            if self._rest:
                raise self._never_closes()
        if not self._header:
            raise PermanentFailure("the CSV is empty: it has no header", file=self._file, remedy="Fetch the release again")
        return self._given()

    @property
    def shape(self) -> Shape:
        """The shape of the whole file, once it has ended."""
        rejected = tuple(self._rejected)
        one_line_each = self._line == self._records + len(rejected) + 2
        return Shape(self._header, self._separator, self._records, one_line_each=one_line_each, rejected=rejected)

    def _given(self) -> bytes:
        passed, self._passed = self._passed, []
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def _take(self, data: bytes) -> None:
        if not self._header:
            data = self._take_header(data)
        if not data:
            return
        bytes_ = np.frombuffer(data, np.uint8)
        marks = field_ends(data, self._separator)
        ended = np.flatnonzero(bytes_[marks] == _NEWLINE)
        ends = marks[ended]
        if not len(ends):
            self._keep(data)
            return
        fields = np.diff(ended, prepend=-1)
        lengths = np.diff(ends, prepend=-1) - 1
        blank = (lengths == 0) | ((lengths == 1) & (bytes_[ends - 1] == _RETURN))
        bad = np.flatnonzero((fields != len(self._header)) & ~blank)
        last = int(ends[-1]) + 1
        at = 0
        for record in map(int, bad):
            begins = int(ends[record - 1]) + 1 if record else 0
            self._reject(data, begins, int(ends[record]), int(fields[record]))
            self._passed.append(data[at:begins])
            at = int(ends[record]) + 1
        self._passed.append(data[at:last])
        self._records += len(ends) - int(blank.sum()) - len(bad)
        self._line += data.count(b"\n", 0, last)
        self._keep(data[last:])

    def _take_header(self, data: bytes) -> bytes:
        """Read the header once it is complete; gives the bytes after it."""
        found = header_of(data, self._file, self._separator)
        if found is None:
            self._keep(data)
            return b""
        self._header, self._separator, after = found
        self._passed.append(data[:after])
        self._line += data.count(b"\n", 0, after)
        self._rest = b""
        return data[after:]

    def _keep(self, data: bytes) -> None:
        if len(data) > MAX_RECORD_BYTES:
            raise self._never_closes()
        self._rest = data

    def _reject(self, data: bytes, begins: int, ends: int, fields: int) -> None:
        line = self._line + data.count(b"\n", 0, begins)
        row = data[begins:ends].rstrip(b"\r")
        reason = f"it has {fields} fields where the header has {len(self._header)}"
        if self._rejects is not None:
            self._rejects.add(self._file, f"line {line}", reason, row)
            self._rejected.append(line)
            return
        shown = row[:_SHOWN].decode("utf-8", "replace") + ("…" if len(row) > _SHOWN else "")
        raise PermanentFailure(
            f"line {line} has {fields} fields where the header has {len(self._header)}: {shown}",
            file=self._file,
            remedy="Tell the publisher which line is wrong; fetch the release again when it is corrected",
        )

    def _never_closes(self) -> Exception:
        return PermanentFailure(
            f"the record that begins on line {self._line} has a quote that never closes",
            file=self._file,
            remedy="The file is probably cut short: fetch the release again",
        )
