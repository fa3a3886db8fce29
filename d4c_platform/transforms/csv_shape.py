"""The shape of a CSV, proved while its bytes pass: every record has as many fields as the header.

DuckDB's reader is fast but lenient: it takes a row with one empty field too many. Separators are counted between quotes with
NumPy at several hundred megabytes a second, so a row that is too long or too short is named by its line in the file before
anything is read from it, and the number of records is known independently of the reader that parses them. A blank line is
no record: it has no fields to lose.

Not here: what to do with a bad row (whoever reads fails; nothing is skipped).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np

from d4c_platform.model.errors import PermanentFailure

MAX_RECORD_BYTES = 32 << 20  # longer means a quote that never closes
BOM = b"\xef\xbb\xbf"
_QUOTE, _NEWLINE, _RETURN = ord('"'), ord("\n"), ord("\r")
_SHOWN = 160  # characters of a bad row that an error shows


@dataclass(frozen=True, slots=True)
class Shape:
    """What a CSV is made of. `one_line_each` says that record n stands on line n + 1."""

    header: tuple[str, ...]
    separator: str
    records: int
    one_line_each: bool


class ShapeReader:
    """Takes a CSV's bytes chunk by chunk; ends in its shape or in a failure that names the line.

    Args:
        separator: of fields, when it is declared; otherwise the header says whether it is a comma or a semicolon.
    """

    def __init__(self, file: str, separator: str = "") -> None:
        self._file = file
        self._rest = b""
        self._header: tuple[str, ...] = ()
        self._separator = separator
        self._records = 0
        self._line = 1  # of the first byte of the rest
        self._started = False

    def update(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        if not self._started:
            if len(data) < len(BOM):
                self._rest = data
                return
            data, self._started = data.removeprefix(BOM), True
        self._take(data)

    def finish(self) -> Shape:
        """The shape of the whole file.

        Raises:
            PermanentFailure: a quote never closes, or there is no header.
        """
        if self._rest.strip(b"\r\n"):
            self._take(self._rest.removeprefix(b"" if self._started else BOM) + b"\n")
            if self._rest:
                raise self._never_closes()
        if not self._header:
            raise PermanentFailure("the CSV is empty: it has no header", file=self._file, remedy="Fetch the release again")
        return Shape(self._header, self._separator, self._records, one_line_each=self._line == self._records + 2)

    def _take(self, data: bytes) -> None:
        if not self._header:
            data = self._take_header(data)
        if not data:
            return
        bytes_ = np.frombuffer(data, np.uint8)
        outside = ~np.bitwise_xor.accumulate(bytes_ == _QUOTE)
        ends = np.flatnonzero((bytes_ == _NEWLINE) & outside)
        if not len(ends):
            self._keep(data)
            return
        separators = np.flatnonzero((bytes_ == ord(self._separator)) & outside)
        fields = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
        lengths = np.diff(ends, prepend=-1) - 1
        blank = (lengths == 0) | ((lengths == 1) & (bytes_[ends - 1] == _RETURN))
        bad = np.flatnonzero((fields != len(self._header)) & ~blank)
        if len(bad):
            raise self._ragged(data, ends, int(bad[0]), int(fields[bad[0]]))
        last = int(ends[-1]) + 1
        self._records += len(ends) - int(blank.sum())
        self._line += data.count(b"\n", 0, last)
        self._keep(data[last:])

    def _take_header(self, data: bytes) -> bytes:
        """Read the header once it is complete; gives the bytes after it."""
        end, inside = -1, False
        for i, byte in enumerate(data[:MAX_RECORD_BYTES]):
            inside ^= byte == _QUOTE
            if byte == _NEWLINE and not inside:
                end = i
                break
        if end < 0:
            self._keep(data)
            return b""
        try:
            text = data[:end].decode("utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise PermanentFailure(
                f"the header is not UTF-8 ({error})",
                file=self._file,
                remedy="Tell the publisher; nothing is converted by guess",
            ) from error
        # French full-table files separate with semicolons because their decimals have commas.
        self._separator = self._separator or max(",;", key=lambda s: len(next(csv.reader([text], delimiter=s))))
        self._header = tuple(name.strip() for name in next(csv.reader([text], delimiter=self._separator)))
        self._line += data.count(b"\n", 0, end + 1)
        self._rest = b""
        return data[end + 1 :]

    def _keep(self, data: bytes) -> None:
        if len(data) > MAX_RECORD_BYTES:
            raise self._never_closes()
        self._rest = data

    def _ragged(self, data: bytes, ends: np.ndarray[tuple[int], np.dtype[np.int64]], bad: int, fields: int) -> Exception:
        begins = int(ends[bad - 1]) + 1 if bad else 0
        line = self._line + data.count(b"\n", 0, begins)
        row = data[begins : int(ends[bad])].rstrip(b"\r")
        shown = row[:_SHOWN].decode("utf-8", "replace") + ("…" if len(row) > _SHOWN else "")
        return PermanentFailure(
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
