"""The files of a Zenodo draft: exactly the version's, each proved by md5 and size, and no other.

A file on Zenodo is four calls that are not atomic: delete what was there, announce, send, commit. A killed upload leaves a
pending entry that blocks publication. So: look at the list, remove what should not be there, send what is missing.

The bytes stream from the portal and are hashed on the way. When they turn out not to be the artifact's, the file is not
committed, so Zenodo never completes a wrong one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import BinaryIO

import stamina

from d4c_platform.mirrors.mirror import PublishedVersion
from d4c_platform.mirrors.zenodo_api import Complete, Described, RemoteFile, ZenodoApi, problems_of
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.web import LONGEST_WAIT_S, HttpRefusal, HttpTrouble

MOST_FILES = 100  # a record, refused by the API at the 101st
MOST_BYTES = 50 * 10**9  # a record, without asking Zenodo for more
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as it has to be on Zenodo, and where its bytes come from."""

    key: str
    size: int
    md5: str
    sha256: str
    open: Callable[[], AbstractContextManager[BinaryIO]]

    def body(self) -> Iterator[bytes]:
        """The bytes, hashed on the way. When they are not the right ones it ends in an error, and nothing is committed."""
        hashed, sent = hashlib.sha256(), 0
        with self.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                hashed.update(chunk)
                sent += len(chunk)
                if sent > self.size:
                    break
                yield chunk
        if sent > self.size or hashed.hexdigest() != self.sha256:
            raise PermanentFailure(
                f"the portal does not serve the artifact's {self.size} bytes with sha-256 {self.sha256[:12]}…",
                file=self.key,
                remedy="Repair the portal's object from another copy, then run this step again",
            )

    def same_as(self, remote: RemoteFile | None) -> bool:
        return remote is not None and remote.completed and (remote.md5, remote.size) == (self.md5, self.size)


def artifacts_of(version: PublishedVersion) -> tuple[LocalFile, ...]:
    """The version's artifacts, streamed from the portal."""
    return tuple(
        LocalFile(a.file, a.digests.bytes, a.digests.md5, a.digests.sha256, partial(version.open, a)) for a in version.artifacts
    )


def files_of(version: PublishedVersion) -> tuple[LocalFile, ...]:
    """Everything a version's record holds: its artifacts and its companions."""
    companions = (
        LocalFile(
            c.name,
            len(c.content),
            hashlib.md5(c.content, usedforsecurity=False).hexdigest(),
            hashlib.sha256(c.content).hexdigest(),
            partial(BytesIO, c.content),
        )
        for c in version.companions
    )
    return (*artifacts_of(version), *companions)


def check_limits(files: tuple[LocalFile, ...]) -> None:
    """Refuse what Zenodo would refuse, before anything is sent.

    Raises:
        PermanentFailure: too many, too large, empty, twice the same name, or a name with a folder.
    """
    total = sum(f.size for f in files)
    keys = [f.key for f in files]
    if len(files) > MOST_FILES:
        problem, file = f"{len(files)} files are more than the {MOST_FILES} a Zenodo record holds", None
    elif total > MOST_BYTES:
        problem, file = f"{total / 1e9:.1f} GB are more than the {MOST_BYTES / 1e9:.0f} GB a Zenodo record holds", None
    elif empty := [f.key for f in files if f.size == 0]:
        problem, file = "the file is empty, which Zenodo refuses", empty[0]
    elif folders := [k for k in keys if "/" in k]:
        problem, file = "the name has a folder, which a Zenodo record cannot hold", folders[0]
    elif twice := [k for k in keys if keys.count(k) > 1]:
        problem, file = "two files have the same name", twice[0]
    else:
        return
    raise PermanentFailure(problem, file=file, remedy="Leave Zenodo out of the dataset's mirrors, or split the dataset")


def surplus_and_missing(wanted: tuple[LocalFile, ...], there: Mapping[str, RemoteFile]) -> tuple[list[str], list[str]]:
    """Keys that must go (unknown, unfinished or other bytes) and keys that must come."""
    right = {f.key for f in wanted if f.same_as(there.get(f.key))}
    return [key for key in there if key not in right], [f.key for f in wanted if f.key not in right]


def fill(api: ZenodoApi, described: Described, version: PublishedVersion, attempts: int, first_wait_s: float) -> Complete:
    """Make the draft hold exactly the version's files.

    Raises:
        TransientFailure: an upload did not arrive whole; what did stays, and the next run goes on from there.
        PermanentFailure: Zenodo refuses a file.
    """
    draft, wanted = described.draft, files_of(version)
    surplus, missing = surplus_and_missing(wanted, api.files(draft.record_id))
    for key in surplus:
        api.delete_file(draft, key)
    for file in wanted:
        if file.key in missing:
            _upload(api, described, file, attempts, first_wait_s)
    surplus, missing = surplus_and_missing(wanted, api.files(draft.record_id))
    if surplus or missing:
        raise TransientFailure(
            f"draft {draft.record_id} changed while it was filled: {', '.join(sorted({*surplus, *missing}))}",
            remedy="Run this step again",
        )
    return Complete(draft)


def _upload(api: ZenodoApi, described: Described, file: LocalFile, attempts: int, first_wait_s: float) -> None:
    """One file, from its first byte on every attempt: Zenodo cannot resume."""

    def again(error: Exception) -> bool | float:
        if not isinstance(error, TransientFailure):
            return False
        return error.retry_after_s is None or (error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else False)

    for attempt in stamina.retry_context(
        on=again, attempts=attempts, timeout=None, wait_initial=first_wait_s, wait_jitter=first_wait_s, wait_max=60.0
    ):
        with attempt:
            if attempt.num > 1:
                api.delete_file(described.draft, file.key)
            try:
                _announce_send_commit(api, described, file)
            except HttpRefusal as refusal:
                if refusal.status in {401, 403}:  # about who is asking, not about the file
                    raise
                raise PermanentFailure(
                    f"Zenodo refuses the file: {problems_of(refusal)}",
                    file=file.key,
                    kept=f"Draft {described.draft.record_id} is not published; the previous latest stays",
                ) from refusal


def _announce_send_commit(api: ZenodoApi, described: Described, file: LocalFile) -> None:
    api.announce(described, file.key)
    api.send(described, file.key, file.size, file.body)
    try:
        arrived: RemoteFile | None = api.commit(described, file.key)
    except HttpTrouble:
        arrived = api.file(described.draft, file.key)  # it may be committed all the same
        if arrived is None or not arrived.completed:
            raise
    if not file.same_as(arrived):
        has = f"md5 {arrived.md5}, {arrived.size} bytes" if arrived else "nothing"
        raise TransientFailure(
            f"Zenodo has {has} instead of md5 {file.md5}, {file.size} bytes", file=file.key, remedy="It is sent again"
        )
