"""The machine's own troubles – a full disk, too little memory, a broken drive – told apart from the publisher's mistakes.

A full disk shows in many ways: as an OSError of ours, as one of Arrow's, as an error of DuckDB, or as an Arrow error that only
quotes DuckDB's. All of them end here as a `TransientFailure`, because the same step succeeds once there is room. What is left –
a CSV that is ragged, a shapefile that cannot be decoded – belongs to whoever reads it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from d4c_platform.model.errors import PermanentFailure, TransientFailure

KEPT = "Nothing was published; the previous latest stays"
MAKE_ROOM = "Make room in the working folder (D4C_WORK_DIR), or point it to a larger disk, and run the step again"
MORE_MEMORY = "Give the machine more memory, or leave it fewer runs at a time, and run the step again"
RAISE_LIMIT = (
    "Give the machine more memory and raise MEMORY_LIMIT in d4c_platform/transforms/engine.py, then run the step again"
)
LOOK_AT_DISK = "Look at the disk of the working folder (D4C_WORK_DIR), and run the step again"

PUBLISHERS = (duckdb.InvalidInputException, duckdb.DataError)
"""What DuckDB raises when the text it reads is wrong; everything else it raises is the machine's or ours."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_MEMORY = {errno.ENOMEM}
_BROKEN = {errno.EIO, errno.ENFILE, errno.EMFILE, errno.ENODEV, errno.ESTALE}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}

# DuckDB hands on the system's words, not its numbers; its spill files have a limit of their own, which is the disk's.
_SAYS_NO_ROOM = (*(os.strerror(number) for number in _NO_ROOM), "max_temp_directory_size", "failed to offload")
_SAYS_NO_MEMORY = ("Out of Memory", "failed to pin block", "could not allocate", "failed to allocate", "bad_alloc")


@contextmanager
def machine_troubles() -> Iterator[None]:
    """Tell what the machine could not do as a failure that trying again can mend.

    Raises:
        TransientFailure: no room, no memory, a disk that does not answer.
        PermanentFailure: the working folder may not be written.
    """
    try:
        yield
    except MemoryError as error:  # Arrow's is one, too
        raise _failure("there was not enough memory", MORE_MEMORY) from error
    except duckdb.Error as error:
        known = None if isinstance(error, PUBLISHERS) else _told(str(error))
        if known is None and isinstance(error, duckdb.OperationalError):
            known = _failure(f"the working folder could not be used ({_first_line(str(error))})", LOOK_AT_DISK)
        if known is None:
            raise
        raise known from error
    except OSError as error:
        told = _of_system(error)
        if told is None:
            raise
        raise told from error


def _of_system(error: OSError) -> TransientFailure | PermanentFailure | None:
    reason, file = error.strerror or _first_line(str(error)), str(error.filename) if error.filename else None
    if error.errno in _NO_ROOM:
        return _failure(f"the disk is full ({reason})", MAKE_ROOM, file)
    if error.errno in _NO_MEMORY:
        return _failure("there was not enough memory", MORE_MEMORY)
    if (told := _told(str(error))) is not None:  # Arrow quotes an error of DuckDB
        return told
    if error.errno in _BROKEN:
        return _failure(f"the working folder could not be used ({reason})", LOOK_AT_DISK, file)
    if error.errno in _REFUSED:
        return PermanentFailure(
            f"the working folder could not be used ({reason})",
            file=file,
            kept=KEPT,
            remedy="Make the working folder (D4C_WORK_DIR) a folder that this user may write, and run the step again",
        )
    return None


def _told(message: str) -> TransientFailure | None:
    """What DuckDB's message says of the machine; disk first, because a full disk is also a reason to run out of memory."""
    if any(words in message for words in _SAYS_NO_ROOM):
        return _failure(f"the disk is full ({_first_line(message)})", MAKE_ROOM)
    if any(words in message for words in _SAYS_NO_MEMORY):
        return _failure(f"there was not enough memory ({_first_line(message)})", RAISE_LIMIT)
    return None


def _failure(what: str, remedy: str, file: str | None = None) -> TransientFailure:
    return TransientFailure(what, file=file, kept=KEPT, remedy=remedy)


def _first_line(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "no reason given")
