"""Copy a version's artifacts to Source Cooperative, or to any S3 store laid out like it.

Keys are D4C's published layout, `<data-package>/processed/<version-id>.<ext>` in the account's bucket, and immutable: an
object that exists is verified, never sent again and never overwritten. Source drops `x-amz-*` headers, so there is no
checksum to ask for afterwards: the proof is to read the public URL back.

Not here: credentials and part sizes (the store's), which datasets come here (their declarations).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from d4c_platform.mirrors.mirror import NOTHING_PUBLISHED, PublishedVersion
from d4c_platform.mirrors.proof import BY_SHA256, WrongBytes, look_again, prove, prove_range
from d4c_platform.model.dataset import Dataset, MirrorName
from d4c_platform.model.errors import D4CError, PermanentFailure
from d4c_platform.model.records import Artifact, Copies, Copy
from d4c_platform.storage.records import Records
from d4c_platform.storage.store import IMMUTABLE, Conflict, ObjectStore
from d4c_platform.web import Web

CHUNK_BYTES = 1 << 20


class SourceCoop:
    """The Source Cooperative account of Data for Canada.

    Args:
        store: the account's bucket; its public URL is where readers, and our proof, get the bytes.
        records: where the copies are recorded.
        workdir: local disk for one artifact at a time: a conditional, atomic write needs the whole object at hand.
    """

    name = MirrorName.SOURCE_COOP.value

    def __init__(self, store: ObjectStore, *, records: Records, web: Web, workdir: Path) -> None:
        self._store, self._records, self._web, self._workdir = store, records, web, workdir

    @staticmethod
    def key(dataset: Dataset, artifact: Artifact) -> str:
        """The artifact's key in the account's bucket."""
        return f"{dataset.package.value}/processed/{artifact.file}"

    def url(self, dataset: Dataset, artifact: Artifact) -> str:
        """Where the artifact is, or will be."""
        return self._store.url(self.key(dataset, artifact))

    def publish(self, version: PublishedVersion) -> Copies:
        """See `Mirror.publish`."""
        try:
            copies = tuple(self._copy(version, artifact) for artifact in version.artifacts)
        except D4CError as error:
            error.about(version=version.version_id, dataset=version.dataset.id, where=self.name, kept=NOTHING_PUBLISHED)
            raise
        document = Copies(version_id=version.version_id, place=self.name, copies=copies)
        self._records.write(document)
        return document

    def verify(self, copies: Copies) -> Copies:
        """See `Mirror.verify`."""
        return copies.model_copy(
            update={"copies": tuple(look_again(self._web, copy, where=self.name) for copy in copies.copies)}
        )

    def _copy(self, version: PublishedVersion, artifact: Artifact) -> Copy:
        key, size, sha256 = self.key(version.dataset, artifact), artifact.digests.bytes, artifact.digests.sha256
        with self._here():
            there = self._store.head(key)
        if there is None:
            self._send(version, artifact, key)
        elif there.bytes != size:
            raise self._taken(key, f"{there.bytes} bytes instead of {size}")
        url = self._store.url(key)
        try:
            prove(self._web, url, size=size, sha256=sha256, where=self.name)
        except WrongBytes as wrong:
            raise self._taken(key, wrong.what) from wrong
        prove_range(self._web, url, size=size, where=self.name)
        return Copy(role=artifact.role, url=url, bytes=size, sha256=sha256, checked_at=datetime.now(UTC), verified=BY_SHA256)

    def _send(self, version: PublishedVersion, artifact: Artifact, key: str) -> None:
        self._workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._workdir, prefix="d4c-source-coop-") as local:
            hashed = hashlib.sha256()
            with version.open(artifact) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    hashed.update(chunk)
                    local.write(chunk)
            local.flush()
            if hashed.hexdigest() != artifact.digests.sha256:
                raise PermanentFailure(
                    f"the portal serves sha-256 {hashed.hexdigest()[:12]}… instead of {artifact.digests.sha256[:12]}…",
                    file=artifact.file,
                    remedy="Repair the portal's object from another copy, then run this step again",
                )
            # A conflict means that somebody was faster, or that our own first answer got lost: either way what lies there
            # is proved like any other object.
            with suppress(Conflict), self._here():
                self._store.put(
                    key,
                    Path(local.name),
                    media_type=artifact.media_type,
                    cache_control=IMMUTABLE,
                    sha256=artifact.digests.sha256,
                    if_absent=True,
                )

    @contextmanager
    def _here(self) -> Iterator[None]:
        """The store speaks of a bucket, and the portal is one too: a failure on the mirror names the mirror."""
        try:
            yield
        except D4CError as error:
            error.where = self.name
            raise

    @staticmethod
    def _taken(key: str, evidence: str) -> PermanentFailure:
        return PermanentFailure(
            f"another object lies under this immutable key: {evidence}",
            file=key,
            kept="It was not overwritten, and the previous latest stays",
            remedy="Find out who wrote it; delete it there and run this step again, or publish a new version",
        )
