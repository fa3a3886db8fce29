"""Where a fetched file lands: a hidden folder first, its final name when every byte is verified and on disk.

The final name never carries unverified bytes, whatever kills us. The hidden folder is named by the info-hash, so a later call
finds what an earlier one left, and two torrents of one file name do not mix.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.torrents.metainfo import Metainfo

READ_BYTES = 1 << 20
STAT_BLOCK_BYTES = 512  # POSIX: what st_blocks counts, whatever the disk's blocks are


class Landing:
    """One file's way from partial to final.

    Attributes:
        target: the final path.
        partial: the hidden folder that holds the unfinished file under its own name.
    """

    def __init__(self, folder: Path, meta: Metainfo) -> None:
        self._meta = meta
        self.target = folder / meta.name
        self.partial = folder / f".{meta.info_hash}.partial"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the hidden folder and keep other processes out of it. An empty one is removed again at the end.

        Raises:
            TransientFailure: another fetch of the same torrent is at work here.
        """
        self.partial.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink == 0:  # whoever held it has just finished and removed it
                    raise BlockingIOError
            except BlockingIOError:
                raise TransientFailure(
                    "another fetch of it is at work in this folder",
                    where="torrent",
                    file=str(self.target),
                    remedy="Let it finish",
                ) from None
            yield
        finally:
            if self.partial.exists() and not any(self.partial.iterdir()):
                self.clear()
            os.close(descriptor)

    def is_complete(self) -> bool:
        """Whether the file is there and intact. One with other bytes becomes the partial file: its good pieces are kept."""
        target = self.target
        for path in (target, self.partial / target.name):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise PermanentFailure(
                    "something else than a file has its name", where="torrent", file=str(path), remedy="Move it away"
                )
        if not target.exists():
            return False
        if _intact(target, self._meta):
            self.clear()
            return True
        if (self.partial / target.name).exists():
            target.unlink()
        else:
            target.replace(self.partial / target.name)
        return False

    def need_room(self) -> None:
        """See that the disk has room for what is missing.

        Raises:
            PermanentFailure: it has not; nothing was written.
        """
        held = sum(entry.stat().st_blocks * STAT_BLOCK_BYTES for entry in self.partial.iterdir())
        missing, free = self._meta.length - held, shutil.disk_usage(self.partial).free
        if missing > free:
            raise PermanentFailure(
                f"it needs {missing} more bytes and the disk has {free}",
                where="torrent",
                file=str(self.target),
                kept="Nothing was written",
                remedy="Make room or choose another folder",
            )

    def settle(self) -> None:
        """Give the verified file its final name, so that it is there after a power loss too."""
        done = self.partial / self.target.name
        with done.open("rb") as stream:
            os.fsync(stream.fileno())
        done.replace(self.target)
        self.clear()
        descriptor = os.open(self.target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Forget what was unfinished."""
        shutil.rmtree(self.partial, ignore_errors=True)


def _intact(path: Path, meta: Metainfo) -> bool:
    if path.stat().st_size != meta.length:
        return False
    with path.open("rb") as stream:
        for index in range(meta.piece_count):
            first, last = meta.piece_range(index)
            sha1, left = hashlib.sha1(usedforsecurity=False), last - first + 1
            while left and (chunk := stream.read(min(READ_BYTES, left))):
                sha1.update(chunk)
                left -= len(chunk)
            if sha1.digest() != meta.piece_hash(index):
                return False
    return True
