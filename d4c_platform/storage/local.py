"""A folder that behaves like a bucket: atomic, conditional, and nothing half written that anybody could read.

A write goes to a file under `<root>/.d4c/tmp`, is synced, and appears under its key in one `link` or `rename`. Writers of one
key take turns through a lock file, which makes "only if it is still the one I read" a promise between processes, too. What a
killed writer leaves is swept by the next one (local_files).

The sha-256 of what was written is kept beside it in `<root>/.d4c/sha256`, tied to the file's etag: a file that somebody changed
has another etag, so its old digest no longer counts. (Extended attributes are not portable; a digest in the etag would
have to be read back from every file.) Objects are read-only files, because a version and the latest may be one inode.

A web server in front of the folder must not serve `.d4c/` or `staging/`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.storage import keys
from d4c_platform.storage import local_files as files
from d4c_platform.storage.local_upload import LocalUpload
from d4c_platform.storage.store import Conflict, NoObject, ObjectInfo

LOCKS = 256  # lock files: few enough to stay, many enough that writers of different keys seldom wait


class LocalStore:
    """An object store in a local directory.

    Args:
        root: the directory; made on the first write.
        public_url: the URL under which a web server shows the directory.
    """

    def __init__(self, root: Path, public_url: str) -> None:
        self.root = root.absolute()
        self.public_url = public_url
        hidden = self.root / keys.HIDDEN
        self._locks, self._sums = hidden / "locks", hidden / "sha256"
        self._temporary = files.TemporaryFolder(hidden / "tmp")

    def head(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with files.explained(key, self.root):
            status = files.status(path)
        return None if status is None else self._info(key, status)

    def open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with files.explained(key, self.root):
            if files.status(path) is None:
                raise NoObject("there is no object under this key", where=str(self.root), file=key)
            try:
                return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
            except FileNotFoundError as error:
                raise NoObject("there is no object under this key", where=str(self.root), file=key) from error

    def read(self, key: str) -> bytes:
        with self.open(key) as file, files.explained(key, self.root):
            return file.read()

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        media_type: str = "application/octet-stream",
        cache_control: str | None = None,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        del media_type, cache_control  # the web server in front knows them by the key
        target = self._path(key)
        with files.explained(key, self.root):
            self._check(key, target, if_absent, if_match)  # before the bytes are copied: most conflicts show here
            with self._temporary.file() as (temporary, file):
                written = hashlib.sha256()
                for chunk in files.chunks(body):
                    written.update(chunk)
                    file.write(chunk)
                if sha256 is not None and written.hexdigest() != sha256:
                    raise PermanentFailure(
                        f"the bytes have sha-256 {written.hexdigest()} instead of {sha256}",
                        where=str(self.root),
                        file=key,
                        kept="Nothing was written",
                    )
                files.seal(file)
                self._commit(key, target, temporary, written.hexdigest(), if_absent, if_match)
                status = os.fstat(file.fileno())
                return ObjectInfo(key, status.st_size, files.etag(status), written.hexdigest())

    def upload(
        self,
        key: str,
        size: int | None,
        *,
        media_type: str = "application/octet-stream",
        cache_control: str | None = None,
    ) -> LocalUpload:
        del media_type, cache_control
        target = self._path(key)

        def commit(temporary: Path, sha256: str, replacing: ObjectInfo | None) -> None:
            self._commit(key, target, temporary, sha256, replacing is None, replacing.etag if replacing else None)

        return LocalUpload(self._temporary.file(), commit, lambda: self.head(key), self.root, key, size)

    def drop_uploads(self, prefix: str) -> int:
        keys.checked_prefix(prefix)
        return 0  # what a killed writer left is swept by the next one

    def copy(
        self,
        source: str,
        key: str,
        *,
        cache_control: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        origin, target = self._path(source), self._path(key)
        with files.explained(key, self.root):
            info = self.head(source)
            if info is None:
                raise NoObject("there is no object under this key", where=str(self.root), file=source)
            temporary = self._temporary.path()
            try:
                os.link(origin, temporary, follow_symlinks=False)
            except FileNotFoundError as error:
                raise NoObject("there is no object under this key", where=str(self.root), file=source) from error
            except OSError:  # a file system without hard links, or somebody else's file
                return self.put(key, origin, sha256=info.sha256, if_absent=if_absent, if_match=if_match)
            try:
                status = temporary.lstat()
                known = info.sha256 if files.etag(status) == info.etag else None
                self._commit(key, target, temporary, known, if_absent, if_match)
            finally:
                temporary.unlink(missing_ok=True)
            return ObjectInfo(key, status.st_size, files.etag(status), known)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with files.explained(key, self.root):
            if files.status(path) is None:
                return
            with self._locked(key):
                path.unlink(missing_ok=True)
                (self._sums / key).unlink(missing_ok=True)
                files.sync(path.parent)
            for base, leaf in ((self.root, path), (self._sums, self._sums / key)):
                files.remove_empty(leaf.parent, base)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        keys.checked_prefix(prefix)
        folder, _, _ = prefix.rpartition("/")
        start = self._path(folder) if folder else self.root
        yield from self._walk(start, f"{folder}/" if folder else "", prefix)

    def url(self, key: str) -> str:
        return keys.public_url(self.public_url, key)

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise files.failure(error, base or "/", self.root) from error
        # A folder sorts as `name/`, so that the whole walk is in the order of complete keys, as S3 lists them.
        named = sorted((e.name + ("/" if e.is_dir(follow_symlinks=False) else ""), e) for e in entries)
        for name, entry in ((n, e) for n, e in named if base or e.name != keys.HIDDEN):
            key = base + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(folder / entry.name, key, prefix)
            elif key.startswith(prefix):
                status = files.status(folder / entry.name)
                if status is not None:
                    yield ObjectInfo(key, status.st_size, files.etag(status))

    def _path(self, key: str) -> Path:
        """Where the object lies. Refuses a key that is not one, and any symbolic link on the way."""
        path = self.root
        for segment in keys.checked(key).split("/"):
            path = path / segment
            try:
                if stat.S_ISLNK(path.lstat().st_mode):
                    raise PermanentFailure(
                        "a symbolic link lies where an object or a folder should be",
                        where=str(self.root),
                        file=key,
                        remedy=f"Remove {path}",
                    )
            except (FileNotFoundError, NotADirectoryError):
                break
            except OSError as error:
                raise files.failure(error, key, self.root) from error
        return self.root / key

    def _info(self, key: str, status: os.stat_result) -> ObjectInfo:
        etag = files.etag(status)
        try:
            noted, _, sha256 = (self._sums / key).read_text("ascii").strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            return ObjectInfo(key, status.st_size, etag)
        return ObjectInfo(key, status.st_size, etag, sha256 if noted == etag and len(sha256) == 64 else None)

    def _check(self, key: str, target: Path, if_absent: bool, if_match: str | None) -> None:
        status = files.status(target)
        if if_absent and status is not None:
            raise Conflict("the object exists already", where=str(self.root), file=key, kept="It stays as it was")
        if if_match is not None and (status is None or files.etag(status) != if_match):
            raise Conflict(
                "the object is no longer the one that was read", where=str(self.root), file=key, kept="It stays as it is"
            )

    def _commit(
        self, key: str, target: Path, temporary: Path, sha256: str | None, if_absent: bool, if_match: str | None
    ) -> None:
        with self._locked(key):
            self._check(key, target, if_absent, if_match)
            for attempt in range(20):
                files.make_folders(target.parent)
                try:
                    if if_absent:
                        os.link(temporary, target, follow_symlinks=False)
                    else:
                        temporary.replace(target)
                    break
                except FileExistsError as error:
                    raise Conflict("the object exists already", where=str(self.root), file=key) from error
                except FileNotFoundError:  # a delete removed the folder when it was still empty
                    if attempt == 19:
                        raise
            files.sync(target.parent)
            self._note(key, target, sha256)

    def _note(self, key: str, target: Path, sha256: str | None) -> None:
        """Keep the digest. A note that is lost or cannot be written costs one reading of the object, so it may fail."""
        note = self._sums / key
        with contextlib.suppress(OSError):
            if sha256 is None:
                note.unlink(missing_ok=True)
                return
            fresh = self._temporary.path()
            fresh.write_text(f"{files.etag(target.lstat())} {sha256}\n", "ascii")
            note.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(note)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        shard = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % LOCKS
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._locks / f"{shard:02x}").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
