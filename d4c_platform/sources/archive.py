"""Archive a release whole and as received, with its provenance, exactly once.

Each file is streamed to local disk and checked (receipt), the publisher is asked whether it still serves this release, and
only then is the file stored under `raw/`. Its provenance is written after it, so a file with provenance is complete: a
killed run goes on with the next file. The release's record comes last and is written once.

A publisher may repair a file under the same release. Asked for *again*, the present files are fetched, and those that differ
are stored in a folder of their own beside the first one (`raw/<dataset-id>/<release-key>.2/`); the record names them from then
on. Nothing is overwritten, and once something was built from the release its record stays.

A release's content hash leaves out documents that change with every release (a table's metadata tells its release time), so
that equal content is recognised under a new release time.

Not here: what is known of the release already (recorded), whether a file is sound (receipt, zipfiles), what is in it
(transforms).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate, RawFile, Release
from d4c_platform.sources.detection import AGAIN_KEY, release_key
from d4c_platform.sources.receipt import KEPT, Receipt, content_sha256, receive
from d4c_platform.sources.recorded import archived, free_folder, is_followed, record, refuse_unless_open, replace
from d4c_platform.sources.source import Expect, Offer, OtherState, SourceUrl
from d4c_platform.storage import proof
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import IMMUTABLE, Conflict, NoObject
from d4c_platform.web import HttpRefusal, Web

WHERE = "raw"
PROVENANCE = ".provenance.json"
FETCHED_AGAIN = "fetched_again"
"""In a release's hint: the folder of the files that were fetched again, after the publisher repaired them."""
ABSENT = "absent."
"""Before the name of an optional file in a release's hint: why the publisher does not offer it."""

GONE = frozenset({404, 410})  # of an optional file: it is not offered. A 5xx says nothing about that.
MEDIA_TYPE = {Expect.ZIP: "application/zip", Expect.JSON: "application/json", Expect.ANY: "application/octet-stream"}


def archive(
    candidate: Candidate,
    dataset: Dataset,
    source: Offer,
    web: Web,
    portal: Portal,
    workdir: Path,
    *,
    again: bool = False,
) -> Release:
    """Fetch the release's files and keep them under `raw/`; a release that is archived already is returned as recorded.

    Args:
        again: fetch the publisher's present files although the release is archived, and record those that differ in place of
            the archived ones; when none differs the release is returned as recorded. Only while nothing was built from it.

    Raises:
        Superseded: the publisher replaced the release before it was archived.
        PermanentFailure: what is served is not the release: a page, a broken or hostile zip, other bytes than before.
        TransientFailure: the publisher could not serve it now.
    """
    try:
        recorded = archived(candidate, portal)
        if recorded is not None and not again:
            return recorded
        folder = release_key(candidate)
        if again:
            refuse_unless_open(candidate.version_id, portal)
            folder = free_folder(dataset.id, folder, portal)
        return _Archiving(candidate, dataset, source, web, portal, workdir, folder, recorded).run()
    except D4CError as error:
        error.about(dataset=dataset.id, version=candidate.version_id, kept=KEPT)
        if isinstance(error, OtherState) and not is_followed(candidate, portal):
            raise TransientFailure(
                "the file changed between noticing and fetching, or servers behind one name disagree; it is looked at again "
                f"({error.what})",
                where=error.where,
                dataset=error.dataset,
                version=error.version,
                file=error.file,
                kept=error.kept,
                remedy="It is tried again on the next run; if the publisher went back to an earlier file, withdraw it",
            ) from error
        raise


def fetch_raw(release: Release, portal: Portal, workdir: Path) -> dict[str, Path]:
    """The archived files on local disk, each with the sha-256 it was received with.

    Raises:
        PermanentFailure: an archived file is gone or is not what was received.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    files = {}
    for file in release.files:
        target = workdir / file.name
        try:
            if not (target.exists() and _sha256(target) == file.sha256):
                proof.download(portal.store, file.key, target, file.sha256)
        except D4CError as error:
            error.about(dataset=release.dataset_id, version=release.version_id)
            raise
        files[file.name] = target
    return files


def changed_nothing(release: Release, predecessor: Release) -> bool:
    """Whether the release has the content of the one before; never of one that the declaration asked for once more."""
    return release.content_sha256 == predecessor.content_sha256 and AGAIN_KEY not in release.hint


@dataclass(frozen=True, slots=True)
class _Archiving:
    """One archive of one release.

    Attributes:
        folder: under `raw/<dataset-id>/`.
        before: the release as it is recorded, when it is fetched again.
    """

    candidate: Candidate
    dataset: Dataset
    source: Offer
    web: Web
    portal: Portal
    workdir: Path
    folder: str
    before: Release | None

    def run(self) -> Release:
        self.workdir.mkdir(parents=True, exist_ok=True)
        files: list[RawFile] = []
        content: dict[str, str] = {}
        absent: dict[str, str] = {}
        for file in self.source.files(self.dataset, self.candidate):
            key = self.portal.raw_key(self.dataset.id, self.folder, file.name)
            raw = _with_provenance(key, self.portal)
            if raw is None and file.absent:
                absent[ABSENT + file.name] = file.absent
                continue
            try:
                raw = raw or self._receive_and_store(file, key)
            except HttpRefusal as refusal:
                if not (file.optional and refusal.status in GONE):
                    raise
                absent[ABSENT + file.name] = refusal.what
                continue
            files.append(raw)
            if file.in_content:
                content[file.name] = raw.content_sha256
        if self.before is not None and self.before.files == tuple(files):
            return self.before
        return self._record(tuple(files), _content_sha256(content), absent)

    def _record(self, files: tuple[RawFile, ...], content_sha256: str, absent: dict[str, str]) -> Release:
        candidate = self.candidate
        again = {FETCHED_AGAIN: self.folder} if self.before is not None else {}
        release = Release(
            version_id=candidate.version_id,
            dataset_id=self.dataset.id,
            key=candidate.key,
            vintage=candidate.vintage,
            released_at=candidate.released_at,
            noticed_at=candidate.noticed_at,
            hint={**candidate.hint, **absent, **again},
            content_sha256=content_sha256,
            files=files,
        )
        return record(release, self.portal) if self.before is None else replace(self.before, release, self.portal)

    def _receive_and_store(self, file: SourceUrl, key: str) -> RawFile:
        path = self.workdir / file.name
        try:
            receipt = receive(self.web, file, path)
            if file.answer is None:
                self.source.confirm(self.dataset, self.candidate)
            return self._as_recorded(file, receipt) or _store(file, key, receipt, self.portal)
        finally:
            path.unlink(missing_ok=True)

    def _as_recorded(self, file: SourceUrl, receipt: Receipt) -> RawFile | None:
        """The file as it is recorded already, when it was fetched again and is still the same."""
        recorded = self.before.files if self.before is not None else ()
        return next((f for f in recorded if (f.name, f.content_sha256) == (file.name, receipt.content_sha256)), None)


def _store(file: SourceUrl, key: str, receipt: Receipt, portal: Portal) -> RawFile:
    raw = RawFile(
        name=file.name,
        key=key,
        url=file.url,
        bytes=receipt.bytes,
        sha256=receipt.sha256,
        content_sha256=receipt.content_sha256,
        directory_sha256=receipt.directory_sha256,
        fetched_at=receipt.fetched_at,
        status=receipt.status,
        headers=receipt.headers,
        redirects=receipt.redirects,
    )
    media_type = MEDIA_TYPE[file.expect]
    try:
        portal.store.put(
            key, receipt.path, media_type=media_type, cache_control=IMMUTABLE, sha256=receipt.sha256, if_absent=True
        )
    except Conflict:
        raw = _as_stored_before(file, raw, receipt, portal)
    body = raw.model_dump_json(indent=2).encode()
    try:
        portal.store.put(key + PROVENANCE, body, media_type="application/json", cache_control=IMMUTABLE, if_absent=True)
    except Conflict:
        return _with_provenance(key, portal) or raw  # a run beside this one was faster
    return raw


def _as_stored_before(file: SourceUrl, raw: RawFile, receipt: Receipt, portal: Portal) -> RawFile:
    """What a run left that was killed between a file and its provenance; the publisher may have re-stamped the zip since.

    Raises:
        PermanentFailure: the archived file has other content than the one just received.
    """
    if proof.holds(portal.store, portal.store.head(raw.key), raw.bytes, raw.sha256):
        return raw
    stored = receipt.path.with_name(receipt.path.name + ".stored")
    try:
        size, sha256 = _copied(portal, raw.key, stored)
        content = content_sha256(file, stored, sha256)
    finally:
        stored.unlink(missing_ok=True)
    if file.in_content and content != raw.content_sha256:
        raise PermanentFailure(
            f"the publisher changed the file while the release was archived: {sha256} is stored, {raw.sha256} came now",
            where=WHERE,
            file=raw.key,
            kept="The file that was stored first and the previous latest stay",
            remedy="Withdraw this version, or remove the stored file if it is the wrong one, and materialize it again",
        )
    return raw.model_copy(update={"bytes": size, "sha256": sha256, "content_sha256": content})


def _with_provenance(key: str, portal: Portal) -> RawFile | None:
    """The file's provenance, which is written only after the file."""
    try:
        return RawFile.model_validate_json(portal.store.read(key + PROVENANCE))
    except NoObject:
        return None


def _content_sha256(content: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(content):
        digest.update(f"{name}\0{content[name]}\n".encode())
    return digest.hexdigest()


def _copied(portal: Portal, key: str, target: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with portal.store.open(key) as stream, target.open("wb") as out:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += out.write(chunk)
    return size, digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
