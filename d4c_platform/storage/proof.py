"""Does an object hold exactly these bytes?

A store that recorded the sha-256 when it wrote the object (and checked the bytes against it then) proves it with one `head`;
anything else is read back and hashed. Size alone, or an ETag whose meaning differs between servers, proves nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from pathlib import Path

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.storage.local_files import failure
from d4c_platform.storage.store import NoObject, ObjectInfo, ObjectStore

CHUNK = 1024 * 1024


def holds(store: ObjectStore, info: ObjectInfo | None, size: int, sha256: str) -> bool:
    """Whether the object that `info` was read from has this size and sha-256."""
    if info is None or info.bytes != size:
        return False
    if info.sha256 is not None:
        return info.sha256 == sha256
    hashed = hashlib.sha256()
    try:
        with store.open(info.key) as stream:
            while chunk := stream.read(CHUNK):
                hashed.update(chunk)
    except NoObject:
        return False
    return hashed.hexdigest() == sha256


def download(store: ObjectStore, key: str, target: Path, sha256: str) -> None:
    """Write an object to a local file, which appears only when it is complete and has this sha-256.

    Raises:
        NoObject: there is none.
        PermanentFailure: the object has other bytes.
        TransientFailure: there is no room for it.
    """
    try:
        _download(store, key, target, sha256)
    except OSError as error:
        raise failure(error, key, target.parent, kept="Nothing was downloaded") from error


def _download(store: ObjectStore, key: str, target: Path, sha256: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    hashed = hashlib.sha256()
    try:
        with store.open(key) as stream, part.open("wb") as file:
            while chunk := stream.read(CHUNK):
                hashed.update(chunk)
                file.write(chunk)
        if hashed.hexdigest() != sha256:
            raise PermanentFailure(
                f"the object has sha-256 {hashed.hexdigest()} instead of {sha256}",
                where="storage",
                file=key,
                kept="Nothing was downloaded",
                remedy="Restore it from another copy of the same bytes",
            )
        os.replace(part, target)  # noqa: PTH105 - atomic, and it says so
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
