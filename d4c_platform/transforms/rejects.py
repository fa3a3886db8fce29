"""Rows that could not be kept: a file of them beside the artifact, with the line and the reason of each.

No row is lost unseen: what is not in the artifact is here, and both are counted together against the source. A few broken
rows in a table of millions should not keep the rest from the public; whether they may is decided by a check (checks), and by
whoever waives it. A file that is broken in a thousand places is another file than we think, and fails.
"""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from d4c_platform.model.errors import PermanentFailure

REJECTS = "rejects.csv"
"""Name of the file among a version's small files."""

MOST = 1_000
HEADER = ("file", "place", "reason", "row")


class Rejects:
    """Takes the rows that could not be kept. A context manager; the file is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows = 0

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    @property
    def path(self) -> Path | None:
        """The file; None when every row could be kept."""
        return self._path if self.rows else None

    def add(self, file: str, place: str, reason: str, row: bytes | str) -> None:
        """Keep one row.

        Args:
            place: where it stands: its line, when that is known.
            row: as it was received; bytes that are no text are written as escapes.

        Raises:
            PermanentFailure: there are too many of them.
        """
        if self.rows == MOST:
            raise PermanentFailure(
                f"more than {MOST:,} rows cannot be kept; the last: {place}: {reason}",
                file=file,
                remedy="The file has another form than the declaration says, or is broken: look at it, and tell the publisher",
            )
        text = row if isinstance(row, str) else row.decode("utf-8", "backslashreplace")
        with self._path.open("a", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\n")
            if not self.rows:
                writer.writerow(HEADER)
            writer.writerow((file, place, reason, text))
        self.rows += 1
