"""What the sandbox's Zenodo remembers: drafts, records and files, in one SQLite file and a folder of blobs.

Every change is one transaction and every blob is renamed into place before a row names it, so a server that is killed starts
again with what it had answered for. Not here: HTTP, shapes of answers, what is allowed.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FIRST_ID = 1000

SCHEMA = """
CREATE TABLE IF NOT EXISTS ids (id INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE IF NOT EXISTS records (
  id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, idx INTEGER NOT NULL, draft TEXT, record TEXT);
CREATE TABLE IF NOT EXISTS files (
  id TEXT PRIMARY KEY, record INTEGER NOT NULL, draft INTEGER NOT NULL, key TEXT NOT NULL, blob TEXT,
  committed INTEGER NOT NULL DEFAULT 0, size INTEGER, md5 TEXT, created TEXT NOT NULL, updated TEXT NOT NULL,
  UNIQUE (record, draft, key));
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of a concept: its draft, its published record, or both while a published record is edited."""

    id: int
    parent: int
    index: int
    draft: dict[str, Any] | None
    record: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class File:
    """One file of a draft or a record. No blob: announced only. Not committed: still pending."""

    id: str
    key: str
    blob: str | None
    committed: bool
    size: int | None
    md5: str | None
    created: str
    updated: str


def now() -> str:
    return datetime.now(UTC).isoformat()


class ZenodoState:
    """The database of one sandbox Zenodo."""

    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        # One event loop uses it, but not always from the thread that opened it.
        self._db = sqlite3.connect(root / "zenodo.sqlite", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(SCHEMA)
        self._forget_unnamed_blobs()

    def create(self, draft: dict[str, Any], parent: int | None = None) -> Entry:
        with self._change():
            concept = self._new_id() if parent is None else parent
            record_id = self._new_id()
            (index,) = self._db.execute("SELECT coalesce(max(idx), 0) + 1 FROM records WHERE parent = ?", [concept]).fetchone()
            self._db.execute("INSERT INTO records VALUES (?, ?, ?, ?, NULL)", [record_id, concept, index, json.dumps(draft)])
        return Entry(record_id, concept, index, draft, None)

    def entry(self, record_id: int) -> Entry | None:
        return next(self._entries("WHERE id = ?", record_id), None)

    def entries(self) -> list[Entry]:
        """All drafts and records, newest first."""
        return list(self._entries("ORDER BY id DESC"))

    def versions(self, parent: int) -> list[Entry]:
        """All versions of a concept, newest first."""
        return list(self._entries("WHERE parent = ? ORDER BY idx DESC", parent))

    def write_draft(self, entry: Entry, draft: dict[str, Any]) -> Entry:
        with self._change():
            self._db.execute("UPDATE records SET draft = ? WHERE id = ?", [json.dumps(draft), entry.id])
        return Entry(entry.id, entry.parent, entry.index, draft, entry.record)

    def delete_draft(self, entry: Entry) -> None:
        with self._change():
            self._db.execute("DELETE FROM files WHERE record = ? AND draft = 1", [entry.id])
            self._db.execute("UPDATE records SET draft = NULL WHERE id = ?", [entry.id])
            self._db.execute("DELETE FROM records WHERE id = ? AND record IS NULL", [entry.id])

    def publish(self, entry: Entry, record: dict[str, Any]) -> Entry:
        """The draft becomes the record, its files the record's; an edit keeps the record's files."""
        with self._change():
            self._db.execute("UPDATE records SET draft = NULL, record = ? WHERE id = ?", [json.dumps(record), entry.id])
            if entry.record is None:
                self._db.execute("UPDATE files SET draft = 0 WHERE record = ?", [entry.id])
        return Entry(entry.id, entry.parent, entry.index, None, record)

    def files(self, record_id: int, *, draft: bool) -> list[File]:
        rows = self._db.execute(
            "SELECT id, key, blob, committed, size, md5, created, updated FROM files"
            " WHERE record = ? AND draft = ? ORDER BY key",
            [record_id, draft],
        )
        return [File(i, key, blob, bool(done), *rest) for i, key, blob, done, *rest in rows]

    def file(self, record_id: int, key: str, *, draft: bool) -> File | None:
        return next((f for f in self.files(record_id, draft=draft) if f.key == key), None)

    def add_files(self, record_id: int, keys: list[str]) -> None:
        with self._change():
            self._db.executemany(
                "INSERT INTO files (id, record, draft, key, created, updated) VALUES (?, ?, 1, ?, ?, ?)",
                [[str(uuid.uuid4()), record_id, key, now(), now()] for key in keys],
            )

    def import_files(self, source: int, record_id: int) -> None:
        """The earlier version's files under new ids, without their bytes being sent again."""
        with self._change():
            self._db.executemany(
                "INSERT INTO files VALUES (?, ?, 1, ?, ?, 1, ?, ?, ?, ?)",
                [
                    [str(uuid.uuid4()), record_id, f.key, f.blob, f.size, f.md5, now(), now()]
                    for f in self.files(source, draft=False)
                ],
            )

    def fill_file(self, file: File, arrived: Path, size: int, md5: str) -> None:
        """Give an announced file its bytes: the arrived file is moved into place."""
        blob = uuid.uuid4().hex
        arrived.rename(self.blobs / blob)
        with self._change():
            self._db.execute(
                "UPDATE files SET blob = ?, size = ?, md5 = ?, updated = ? WHERE id = ?", [blob, size, md5, now(), file.id]
            )

    def commit_file(self, file: File) -> None:
        with self._change():
            self._db.execute("UPDATE files SET committed = 1, updated = ? WHERE id = ?", [now(), file.id])

    def delete_files(self, files: list[File]) -> None:
        with self._change():
            self._db.executemany("DELETE FROM files WHERE id = ?", [[f.id] for f in files])
        self._forget_unnamed_blobs([f.blob for f in files if f.blob])

    def _new_id(self) -> int:
        cursor = self._db.execute("INSERT INTO ids (id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM ids)", [FIRST_ID])
        if cursor.rowcount == 0:
            cursor = self._db.execute("INSERT INTO ids DEFAULT VALUES")
        return int(cursor.lastrowid or FIRST_ID)

    def _entries(self, tail: str, *values: int) -> Iterator[Entry]:
        rows = self._db.execute(f"SELECT id, parent, idx, draft, record FROM records {tail}", values)  # noqa: S608 - ours
        for record_id, parent, index, draft, record in rows.fetchall():
            yield Entry(record_id, parent, index, json.loads(draft) if draft else None, json.loads(record) if record else None)

    def _forget_unnamed_blobs(self, blobs: list[str] | None = None) -> None:
        named = {blob for (blob,) in self._db.execute("SELECT blob FROM files WHERE blob IS NOT NULL")}
        for blob in [p.name for p in self.blobs.iterdir()] if blobs is None else blobs:
            if blob not in named:
                (self.blobs / blob).unlink(missing_ok=True)

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
