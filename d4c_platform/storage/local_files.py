"""Files as a local store needs them: complete, on disk, read-only, and explained when they fail.

Each store that writes has a temporary folder of its own and holds a lock on it while it lives. A folder without a lock was left
by a killed writer; the next one that starts sweeps it. (Judging by age would need a guess at the longest upload.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure

CHUNK = 1024 * 1024
ALIVE = "alive"  # locked by the store that owns the temporary folder


class TemporaryFolder:
    """One store's folder below `parent`, made on first use."""

    def __init__(self, parent: Path) -> None:
        self._parent, self._folder = parent, parent / uuid.uuid4().hex
        self._alive: BinaryIO | None = None
        self._making = threading.Lock()

    def path(self) -> Path:
        """A new name in the folder."""
        with self._making:
            if self._alive is None:
                self._alive = self._make()
        return self._folder / uuid.uuid4().hex

    @contextlib.contextmanager
    def file(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file, open for writing; its name is gone afterwards."""
        path = self.path()
        try:
            with path.open("xb") as file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)

    def _make(self) -> BinaryIO:
        self._parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parent.mkdir(mode=0o700, exist_ok=True)
        # One at a time: a folder must not be swept between its making and its lock.
        with (self._parent.parent / "sweeping").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            for left in self._parent.iterdir():
                _remove_if_abandoned(left)
            self._folder.mkdir()
            alive = (self._folder / ALIVE).open("wb")
            fcntl.flock(alive, fcntl.LOCK_EX)
        return alive


def _remove_if_abandoned(folder: Path) -> None:
    with contextlib.suppress(BlockingIOError), (folder / ALIVE).open("ab") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


def etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def status(path: Path) -> os.stat_result | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def chunks(body: bytes | Path) -> Iterator[memoryview]:
    if isinstance(body, bytes):
        yield memoryview(body)
        return
    try:
        file = body.open("rb", buffering=0)
    except OSError as error:
        raise PermanentFailure(f"the file to store cannot be read ({error.strerror})", file=str(body)) from error
    with file:
        buffer = bytearray(CHUNK)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            yield view[:count]


def seal(file: BinaryIO) -> None:
    """Read-only, on disk, and with a time of its own: the kernel's coarse clock gives two quick writes the same one."""
    file.flush()
    now = time.time_ns()
    os.fchmod(file.fileno(), 0o444)
    os.utime(file.fileno(), ns=(now, now))
    os.fsync(file.fileno())


def make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        sync(folder.parent)


def sync(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_empty(folder: Path, base: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or somebody else removed it
        while folder != base:
            folder.rmdir()
            folder = folder.parent


@contextlib.contextmanager
def explained(key: str, root: Path) -> Iterator[None]:
    try:
        yield
    except D4CError:
        raise
    except OSError as error:
        raise failure(error, key, root) from error


MACHINES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE}
"""Troubles that pass, or that an operator ends without changing what is stored: the same step then succeeds."""


def failure(error: OSError, key: str, root: Path, *, kept: str = "The object stays as it was") -> D4CError:
    """What the system refused, as a sentence."""
    remedy = "Look at the folder and its disk, then run the step again"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        remedy = "Free space or raise the quota, then run the step again"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        remedy = "Give this user the right to read and write there, then run the step again"
    elif error.errno in {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}:
        remedy = "A folder store cannot hold both an object and objects below its name: choose another key"
        if (blocking := _file_in_the_way(root)) is not None:
            remedy = f"{blocking} is a file: remove it, or let the store lie elsewhere"
    kind = TransientFailure if error.errno in MACHINES else PermanentFailure
    return kind(
        f"could not be read or written ({error.strerror})",
        where=str(root),
        file=key,
        kept=kept,
        remedy=remedy,
    )


def _file_in_the_way(root: Path) -> Path | None:
    """What lies where the store's folder or one above it should be."""
    return next((p for p in (root, *root.parents) if p.exists() and not p.is_dir()), None)
