"""What is to be fetched and what is done, of one ingest, sorted by path and not held in memory.

A working file on local disk (SQLite), made anew by every run from the archived list and the journal: it is an index, and
nothing is lost with it. It finds what only all lines together show: two files of one path, or paths that are the same on a
disk that ignores case, or a file where another path needs a folder.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.sources.listing import Listed

PAGE = 500  # rows in memory at a time
WHERE = "file-list"


@contextmanager
def disk_troubles() -> Iterator[None]:
    """Tell a working disk that is full or broken as a failure that trying again can mend.

    Raises:
        TransientFailure: the ledger could not be read or written.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise TransientFailure(
            f"the working folder could not be used ({error})",
            where="ingest",
            kept="Finished files stay",
            remedy="Make room there, or point D4C_WORK_DIR to a larger disk, and run the step again",
        ) from error


class Ledger:
    """One ingest's files. A context manager: it closes its file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)  # one thread at a time
        # Lost with a power cut, and then made anew. Texts compare by their UTF-8 bytes, as paths in torrents do.
        self._sql.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000;
            CREATE TABLE files (path TEXT PRIMARY KEY, folded TEXT UNIQUE, line INTEGER, url TEXT, step TEXT) WITHOUT ROWID;
            """
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sql.close()

    def enter(self, files: Iterable[Listed]) -> None:
        """Take the list's files.

        Raises:
            PermanentFailure: two of them cannot lie in one folder; names both lines.
        """
        self._sql.execute("BEGIN")
        for file in files:
            row = (file.path, _folded(file.path), file.line, file.url)
            if not self._sql.execute("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, NULL)", row).rowcount:
                (other,) = self._sql.execute("SELECT line FROM files WHERE folded = ?", row[1:2]).fetchone()
                raise _bad(f"lines {other:,} and {file.line:,} have the same path (case does not count): {file.path}")
        self._sql.execute("COMMIT")
        self._refuse_files_as_folders()

    def note(self, step: Mapping[str, Any]) -> bool:
        """Mark a file as finished; whether it was one of this list's."""
        row = (json.dumps(step), step["path"], step["url"])
        return bool(self._sql.execute("UPDATE files SET step = ? WHERE path = ? AND url = ?", row).rowcount)

    def unfinished(self) -> Iterator[Listed]:
        """The files that are still to be fetched, by path. Files may be noted meanwhile."""
        last = ""
        while page := self._sql.execute(
            "SELECT line, url, path FROM files WHERE step IS NULL AND path > ? ORDER BY path LIMIT ?", (last, PAGE)
        ).fetchall():
            for line, url, path in page:
                yield Listed(line, url, path)
            last = page[-1][2]

    def finished(self) -> Iterator[dict[str, Any]]:
        """The finished files, by the bytes of their path."""
        last = ""
        while page := self._sql.execute(
            "SELECT path, step FROM files WHERE step IS NOT NULL AND path > ? ORDER BY path LIMIT ?", (last, PAGE)
        ).fetchall():
            for _, step in page:
                yield json.loads(step)
            last = page[-1][0]

    def counts(self) -> tuple[int, int]:
        """How many files there are, and how many are finished."""
        row = self._sql.execute("SELECT count(*), count(step) FROM files").fetchone()
        return int(row[0]), int(row[1])

    def _refuse_files_as_folders(self) -> None:
        before = ""
        for path, line in self._sql.execute("SELECT path, line FROM files ORDER BY path"):
            parent = path.rpartition("/")[0]
            if parent == before:
                continue
            before = parent
            while parent:
                found = self._sql.execute("SELECT line FROM files WHERE folded = ?", (_folded(parent),)).fetchone()
                if found:
                    raise _bad(f"line {found[0]:,} makes {parent} a file, and line {line:,} a folder")
                parent = parent.rpartition("/")[0]


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _bad(what: str) -> PermanentFailure:
    return PermanentFailure(
        what,
        where=WHERE,
        kept="Nothing was fetched; the previous latest stays",
        remedy="Have the publisher correct the list, or declare a corrected one",
    )
