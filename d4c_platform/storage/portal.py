"""The portal: how versions lie in object storage, and how they get there.

An artifact waits under `staging/` until its checks have passed. Publishing checks every staged file first, then copies each
under its immutable key on the server's side, then records the copies, then clears the staging: killed anywhere and repeated,
it ends the same. A file that is there already must have exactly these bytes. What was published is never overwritten.

A source file lies once under a key that names its bytes, beside a folder for each release that says how it was received
(sources.raw writes both).

`staging/` must not be readable by the public; everything else may be.

Not here: which version is the latest (latest), or whether a version may be published (stages).
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Artifact, Build, Copies, Copy
from d4c_platform.storage import latest, proof
from d4c_platform.storage.digests import digest, merkle_root
from d4c_platform.storage.records import Records
from d4c_platform.storage.store import IMMUTABLE, NO_CACHE, Conflict, NoObject, ObjectStore

PLACE = "portal"
TREE = ".sha256tree"
"""Added to a file's name: its merkle leaves, 32 bytes for every 16 KiB (BEP 52), for audits of single blocks."""

BINARY = "application/octet-stream"
GZIP = "application/gzip"


class Portal:
    """The layout of one object store, and the steps from a checked artifact to the strict latest."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.records = Records(store)

    @staticmethod
    def raw_key(dataset_id: str, sha256: str, file: str) -> str:
        """Where a source file lies as it was received: once, however many releases have it."""
        return f"raw/{dataset_id}/sha256/{sha256[:2]}/{sha256}/{file}"

    @staticmethod
    def received_key(dataset_id: str, release_key: str, file: str) -> str:
        """Where it is said how a release's file was received."""
        return f"raw/{dataset_id}/{release_key}/{file}"

    @staticmethod
    def method_key(sha256: str) -> str:
        """Where the packed code that made versions lies: once, however many versions it made."""
        return f"methods/{sha256}.tar.gz"

    @staticmethod
    def staging_key(version_id: str, file: str) -> str:
        """Where a file waits for its checks. Private."""
        return f"staging/{version_id}/{file}"

    @staticmethod
    def version_key(version_id: str, file: str) -> str:
        """Where a published file lies, forever."""
        return f"versions/{version_id}/{file}"

    @staticmethod
    def processed_key(dataset_id: str, ext: str) -> str:
        """Where the newest version's bytes are."""
        return latest.processed_key(dataset_id, ext)

    def open(self, version_id: str, artifact: Artifact) -> AbstractContextManager[BinaryIO]:
        """Stream a published artifact. Raises NoObject."""
        return self.store.open(self.version_key(version_id, artifact.file))

    def download(self, version_id: str, artifact: Artifact, target: Path) -> None:
        """Write a published artifact to a local file that appears only when it is complete and right."""
        proof.download(self.store, self.version_key(version_id, artifact.file), target, artifact.digests.sha256)

    def holds(self, version_id: str, artifact: Artifact) -> bool:
        """Whether these exact bytes are published or staged."""
        keys = (self.version_key(version_id, artifact.file), self.staging_key(version_id, artifact.file))
        return any(self._is(key, artifact) for key in keys)

    def lacks(self, version_id: str, name: str) -> bool:
        """Whether no file of this name is published beside the version."""
        return self.store.head(self.version_key(version_id, name)) is None

    def keep_method(self, body: bytes) -> str:
        """Keep the packed code under a key that names its bytes; returns their sha-256. Does nothing when it is there."""
        sha256 = _sha256(body)
        key = self.method_key(sha256)
        if self.store.head(key) is None:
            with contextlib.suppress(Conflict):  # a run beside this one was faster, with the same bytes
                self.store.put(key, body, media_type=GZIP, cache_control=IMMUTABLE, sha256=sha256, if_absent=True)
        return sha256

    def stage_companion(self, version_id: str, name: str, body: bytes) -> None:
        """Put a small file of the build where publishing finds it."""
        self.store.put(self.staging_key(version_id, name), body, cache_control=NO_CACHE, sha256=_sha256(body))

    def staged_companion(self, version_id: str, name: str) -> bytes | None:
        """A small file of the build, None when it is not staged."""
        try:
            return self.store.read(self.staging_key(version_id, name))
        except NoObject:
            return None

    def stage(self, version_id: str, path: Path, artifact: Artifact, leaves: bytes | None = None) -> None:
        """Put a built file where publishing finds it; does nothing when the same bytes are there.

        Args:
            leaves: the merkle leaves from the pass that made the artifact's digests; without them the file is read once more.

        Raises:
            PermanentFailure: the file is not the one the artifact describes.
        """
        latest.extension(version_id, artifact)
        if leaves is None:
            found, leaves = digest(path)
            if found != artifact.digests:
                raise _other_bytes(version_id, artifact.file, f"the built file has sha-256 {found.sha256}", artifact)
        elif merkle_root(leaves).hex() != artifact.digests.merkle_root:
            raise _other_bytes(version_id, artifact.file, "the merkle leaves are another file's", artifact)
        if self.holds(version_id, artifact) and self._has_tree(version_id, artifact):
            return
        tree = self.staging_key(version_id, artifact.file + TREE)
        self.store.put(tree, leaves, media_type=BINARY, cache_control=NO_CACHE, sha256=_sha256(leaves))
        self.store.put(
            self.staging_key(version_id, artifact.file),
            path,
            media_type=artifact.media_type,
            cache_control=NO_CACHE,
            sha256=artifact.digests.sha256,
        )

    def publish(self, build: Build, companions: Mapping[str, bytes] | None = None) -> Copies:
        """Make a staged version public under `versions/` and record its copies. Repeating it changes nothing.

        Args:
            companions: small files that stand beside the artifacts, by name, for instance `manifest.json`. What is published
                under such a name is never replaced, so pass only those that `lacks` names.

        Raises:
            Conflict: this version is recorded with other artifacts.
            PermanentFailure: a staged file is missing or not the artifact, or other bytes are published under its key.
        """
        version_id = build.version_id
        for artifact in build.files:
            latest.extension(version_id, artifact)
        self.records.write(build)
        # All files are looked at before the first one becomes public: a version is never there in part by our fault.
        waiting = [a for a in build.files if self._must_be_copied(version_id, a)]
        trees = {a.file: self._tree(version_id, a) for a in build.files}
        for artifact in waiting:
            self._copy(version_id, artifact)
        for file, leaves in trees.items():
            self._put_beside(version_id, file + TREE, leaves, BINARY)
        for name, body in (companions or {}).items():
            self._put_beside(version_id, name, body, mimetypes.guess_type(name)[0] or BINARY)
        copies = self._record(build)
        for staged in list(self.store.list(f"staging/{version_id}/")):
            self.store.delete(staged.key)
        return copies

    def switch_latest(self, dataset: Dataset) -> str | None:
        """Make `processed/` serve exactly the newest published version; returns its id, None when there is none."""
        return latest.switch(self.store, self.records, dataset, self.version_key)

    def _must_be_copied(self, version_id: str, artifact: Artifact) -> bool:
        key = self.version_key(version_id, artifact.file)
        if self._is(key, artifact):
            return False
        published = self.store.head(key)
        if published is not None:
            raise _other_bytes(version_id, key, "other bytes are published under this key", artifact)
        staged = self.staging_key(version_id, artifact.file)
        if not self._is(staged, artifact) and not self._is(key, artifact):  # a run beside this one may just have moved it
            what = "nothing is staged" if self.store.head(staged) is None else "the staged bytes are not the artifact's"
            raise _other_bytes(version_id, staged, what, artifact)
        return True

    def _copy(self, version_id: str, artifact: Artifact) -> None:
        key = self.version_key(version_id, artifact.file)
        with contextlib.suppress(Conflict, NoObject):  # a run beside this one was faster; its bytes are judged like ours
            self.store.copy(self.staging_key(version_id, artifact.file), key, cache_control=IMMUTABLE, if_absent=True)
        if not self._is(key, artifact):
            raise _other_bytes(version_id, key, "the published bytes are not the artifact's", artifact)

    def _has_tree(self, version_id: str, artifact: Artifact) -> bool:
        name = artifact.file + TREE
        return any(self.store.head(k) for k in (self.version_key(version_id, name), self.staging_key(version_id, name)))

    def _tree(self, version_id: str, artifact: Artifact) -> bytes:
        name = artifact.file + TREE
        for key in (self.staging_key(version_id, name), self.version_key(version_id, name)):
            try:
                leaves = self.store.read(key)
            except NoObject:
                continue
            if merkle_root(leaves).hex() == artifact.digests.merkle_root:
                return leaves
            raise _other_bytes(version_id, key, "the merkle leaves do not lead to the artifact's root", artifact)
        raise _other_bytes(version_id, self.staging_key(version_id, name), "nothing is staged", artifact)

    def _put_beside(self, version_id: str, name: str, body: bytes, media_type: str) -> None:
        key = self.version_key(version_id, name)
        try:
            self.store.put(key, body, media_type=media_type, cache_control=IMMUTABLE, sha256=_sha256(body), if_absent=True)
        except Conflict as conflict:
            if not proof.holds(self.store, self.store.head(key), len(body), _sha256(body)):
                raise PermanentFailure(
                    "another run published this file with other bytes",
                    where=PLACE,
                    version=version_id,
                    file=key,
                    kept="The first one stays",
                    remedy="If it is wrong, withdraw this version and publish the next one",
                ) from conflict

    def _record(self, build: Build) -> Copies:
        now = datetime.now(UTC)
        copies = Copies(
            version_id=build.version_id,
            place=PLACE,
            copies=tuple(
                Copy(
                    role=a.role,
                    url=self.store.url(self.version_key(build.version_id, a.file)),
                    bytes=a.digests.bytes,
                    sha256=a.digests.sha256,
                    checked_at=now,
                    verified="sha256",
                )
                for a in build.files
            ),
        )
        return self.records.update(Copies, build.version_id, lambda present: _if_new(copies, present), place=PLACE)

    def _is(self, key: str, artifact: Artifact) -> bool:
        return proof.holds(self.store, self.store.head(key), artifact.digests.bytes, artifact.digests.sha256)


def _if_new(copies: Copies, present: Copies | None) -> Copies:
    """The recorded copies when they say the same: a repeated step leaves no trace."""

    def facts(document: Copies) -> list[tuple[str, str, int, str, str]]:
        return [(c.role, c.url, c.bytes, c.sha256, c.state) for c in document.copies]

    return present if present is not None and facts(present) == facts(copies) else copies


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _other_bytes(version_id: str, key: str, what: str, artifact: Artifact) -> PermanentFailure:
    return PermanentFailure(
        f"{what}; expected {artifact.digests.bytes} bytes with sha-256 {artifact.digests.sha256}",
        where=PLACE,
        version=version_id,
        file=key,
        kept="Nothing more was published; the previous latest stays",
        remedy="Build and stage the artifact again; a published file with other bytes has to be looked at by a person",
    )
