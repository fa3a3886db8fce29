"""A file of a local store written while its bytes still arrive: on disk under a temporary name, visible in one step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from d4c_platform.storage import local_files as files
from d4c_platform.storage.parts import multipart_etag, part_length
from d4c_platform.storage.store import Conflict, ObjectInfo, Uploaded


class LocalUpload:
    """One upload; see `store.Upload`.

    Args:
        temporary: the file to write to, which is gone afterwards.
        commit: makes that file the object, in place of this one.
    """

    def __init__(
        self,
        temporary: AbstractContextManager[tuple[Path, BinaryIO]],
        commit: Callable[[Path, str, ObjectInfo | None], None],
        head: Callable[[], ObjectInfo | None],
        root: Path,
        key: str,
        size: int | None,
    ) -> None:
        self.part_length = part_length(size)
        self._temporary, self._commit, self._head = temporary, commit, head
        self._root, self._key = root, key
        self._md5s: list[bytes] = []

    def __enter__(self) -> LocalUpload:
        with files.explained(self._key, self._root):
            self._path, self._file = self._temporary.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        self._temporary.__exit__(None, None, None)

    def send(self, part: bytes | bytearray) -> None:
        with files.explained(self._key, self._root):
            self._file.write(part)
        self._md5s.append(hashlib.md5(part, usedforsecurity=False).digest())

    def finish(self, sha256: str, md5: bytes) -> Uploaded:
        with files.explained(self._key, self._root):
            files.seal(self._file)
            replacing: ObjectInfo | None = None
            try:
                self._commit(self._path, sha256, None)
            except Conflict:
                replacing = self._head()
                if replacing is None:
                    raise
                if replacing.sha256 != sha256:
                    self._commit(self._path, sha256, replacing)
            info = self._head()
        if info is None:
            raise Conflict("somebody removed the object at once", where=str(self._root), file=self._key)
        return Uploaded(info, multipart_etag(self._md5s or [md5]), self.part_length)
