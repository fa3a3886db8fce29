"""How a received file lies in the archive: its bytes once, and for each release how they came.

    raw/<dataset-id>/sha256/<first two>/<sha-256>/<file>         the bytes, under a key that says what they are
    raw/<dataset-id>/<release-key>/<file>.provenance.json        what was asked, what was answered, which bytes

A release with a file that is archived already stores no bytes; what was repaired lies beside what it replaces. The bytes come
first, so a file with provenance is complete. Bytes without any are what a killed run left: no record names them, and the same
bytes are stored under the same key when they come again.

The first provenance of a file in a release keeps its key. When the release is fetched again and other bytes come, theirs is
`<file>.<start of the sha-256>.provenance.json`. Nothing is overwritten.

Older releases have their bytes beside their provenance; every record names its keys, so they are read as they are.

Not here: which file belongs to which release (archive, recorded), or whether it is sound (receipt).
"""

from __future__ import annotations

import re
from pathlib import Path

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import RawFile
from d4c_platform.sources.receipt import Receipt
from d4c_platform.sources.source import Expect, SourceUrl
from d4c_platform.storage import proof
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import IMMUTABLE, Conflict, NoObject, ObjectStore

WHERE = "raw"
PROVENANCE = ".provenance.json"
MEDIA_TYPE = {Expect.ZIP: "application/zip", Expect.JSON: "application/json", Expect.ANY: "application/octet-stream"}
OF_OTHER_BYTES = re.compile(r"\.[0-9a-f]{12}\.provenance\.json")


class ReleaseFolder:
    """The provenance of one release's files.

    Args:
        again: what was received before does not count, because the publisher may have repaired any of it.
    """

    def __init__(self, portal: Portal, dataset_id: str, release: str, *, again: bool) -> None:
        self._portal, self._dataset_id, self._release = portal, dataset_id, release
        # A run that fetched again and was killed has left files of another state: nothing is mixed with them.
        self._again = again or any(OF_OTHER_BYTES.search(info.key) for info in portal.store.list(self._key("")))

    def received(self, file: SourceUrl) -> RawFile | None:
        """The file as it was received by an earlier run, when that counts."""
        return None if self._again else self._read(self._key(file.name, PROVENANCE))

    def store(self, file: SourceUrl, receipt: Receipt) -> RawFile:
        """Keep a file that was found to be sound.

        Returns:
            Its provenance; that of a run beside this one when that was faster.

        Raises:
            PermanentFailure: something else lies under its key.
        """
        raw = RawFile(
            name=file.name,
            key=self._portal.raw_key(self._dataset_id, receipt.sha256, file.name),
            url=file.url,
            bytes=receipt.bytes,
            sha256=receipt.sha256,
            content_sha256=receipt.content_sha256,
            directory_sha256=receipt.directory_sha256,
            fetched_at=receipt.fetched_at,
            status=receipt.status,
            headers=receipt.headers,
            redirects=receipt.redirects,
            fetching=receipt.fetching,
        )
        _keep(self._portal.store, raw, receipt.path, MEDIA_TYPE[file.expect])
        return self._describe(raw)

    def _describe(self, raw: RawFile) -> RawFile:
        body = raw.model_dump_json(indent=2).encode()
        for mark in ("", f".{raw.sha256[:12]}"):
            key = self._key(raw.name, mark + PROVENANCE)
            try:
                self._portal.store.put(key, body, media_type="application/json", cache_control=IMMUTABLE, if_absent=True)
                return raw
            except Conflict:
                there = self._read(key)
            if there is not None and (there.sha256 == raw.sha256 or not self._again):
                return there
        return raw

    def _read(self, key: str) -> RawFile | None:
        try:
            return RawFile.model_validate_json(self._portal.store.read(key))
        except NoObject:
            return None

    def _key(self, file: str, ending: str = "") -> str:
        return self._portal.received_key(self._dataset_id, self._release, file + ending)


def _keep(store: ObjectStore, raw: RawFile, path: Path, media_type: str) -> None:
    """Store the bytes, unless they are there."""
    if proof.holds(store, store.head(raw.key), raw.bytes, raw.sha256):
        return
    try:
        store.put(raw.key, path, media_type=media_type, cache_control=IMMUTABLE, sha256=raw.sha256, if_absent=True)
    except Conflict as conflict:  # a run beside this one was faster, or it is not what its key says
        if not proof.holds(store, store.head(raw.key), raw.bytes, raw.sha256):
            raise PermanentFailure(
                "the archived file is damaged: it has not the bytes that its key names",
                where=WHERE,
                file=raw.key,
                kept="It stays as it is, and the previous latest stays",
                remedy="Look at what lies there, remove it, and materialize this version again: the right bytes are at hand",
            ) from conflict
