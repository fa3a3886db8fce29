"""Archive a release whole and as received, with its provenance, exactly once.

Each file is streamed to local disk and checked (receipt), the publisher is asked whether it still serves this release, and
only then is the file stored under `raw/`. Its provenance is written after it, so a file with provenance is complete: a
killed run goes on with the next file. The release's record comes last and is written once.

A release's content hash leaves out documents that change with every release (a table's metadata tells its release time), so
that equal content is recognised under a new release time.

Not here: whether a file is sound (receipt, zipfiles), what is in it (transforms).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure
from d4c_platform.model.records import Candidate, RawFile, Release
from d4c_platform.sources import zipfiles
from d4c_platform.sources.detection import AGAIN_KEY, AGAIN_VERSION, release_key
from d4c_platform.sources.receipt import KEPT, Receipt, receive
from d4c_platform.sources.source import Expect, Source, SourceUrl
from d4c_platform.storage import proof
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import IMMUTABLE, Conflict, NoObject
from d4c_platform.web import HttpRefusal, Web

WHERE = "raw"
PROVENANCE = ".provenance.json"
ABSENT = "absent."
"""Before the name of an optional file in a release's hint: why the publisher does not offer it."""

GONE = frozenset({404, 410})  # of an optional file: it is not offered. A 5xx says nothing about that.
MEDIA_TYPE = {Expect.ZIP: "application/zip", Expect.JSON: "application/json", Expect.ANY: "application/octet-stream"}


def archive(candidate: Candidate, dataset: Dataset, source: Source, web: Web, portal: Portal, workdir: Path) -> Release:
    """Fetch the release's files and keep them under `raw/`; a release that is archived already is returned as recorded.

    Raises:
        Superseded: the publisher replaced the release before it was archived.
        PermanentFailure: what is served is not the release: a page, a broken or hostile zip, other bytes than before.
        TransientFailure: the publisher could not serve it now.
    """
    try:
        return _archived(candidate, portal) or _archive(candidate, dataset, source, web, portal, workdir)
    except D4CError as error:
        error.about(dataset=dataset.id, version=candidate.version_id, kept=KEPT)
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


def _archived(candidate: Candidate, portal: Portal) -> Release | None:
    """The release as it is recorded under this version, or, noticed again under a new version, under its first one."""
    recorded = portal.records.read(Release, candidate.version_id)
    before = candidate.hint.get(AGAIN_VERSION)
    if recorded is not None or before is None:
        return recorded
    first = portal.records.read(Release, before)
    if first is None:
        return None
    hint = {**first.hint, **candidate.hint}
    update = {"version_id": candidate.version_id, "key": candidate.key, "noticed_at": candidate.noticed_at, "hint": hint}
    return _record(first.model_copy(update=update), portal)


def _archive(candidate: Candidate, dataset: Dataset, source: Source, web: Web, portal: Portal, workdir: Path) -> Release:
    workdir.mkdir(parents=True, exist_ok=True)
    files: list[RawFile] = []
    content: dict[str, str] = {}
    absent: dict[str, str] = {}
    for file in source.files(dataset, candidate):
        key = portal.raw_key(dataset.id, release_key(candidate), file.name)
        raw = _with_provenance(key, portal)
        if raw is None and file.absent:
            absent[ABSENT + file.name] = file.absent
            continue
        try:
            raw = raw or _receive_and_store(file, key, candidate, dataset, source, web, portal, workdir / file.name)
        except HttpRefusal as refusal:
            if not (file.optional and refusal.status in GONE):
                raise
            absent[ABSENT + file.name] = refusal.what
            continue
        files.append(raw)
        if file.in_content:
            content[file.name] = raw.content_sha256
    release = Release(
        version_id=candidate.version_id,
        dataset_id=dataset.id,
        key=candidate.key,
        vintage=candidate.vintage,
        released_at=candidate.released_at,
        noticed_at=candidate.noticed_at,
        hint={**candidate.hint, **absent},
        content_sha256=_content_sha256(content),
        files=tuple(files),
    )
    return _record(release, portal)


def _receive_and_store(
    file: SourceUrl,
    key: str,
    candidate: Candidate,
    dataset: Dataset,
    source: Source,
    web: Web,
    portal: Portal,
    path: Path,
) -> RawFile:
    try:
        receipt = receive(web, file, path)
        if file.answer is None:
            source.confirm(dataset, candidate)
        return _store(file, key, receipt, portal)
    finally:
        path.unlink(missing_ok=True)


def _store(file: SourceUrl, key: str, receipt: Receipt, portal: Portal) -> RawFile:
    raw = RawFile(
        name=file.name,
        key=key,
        url=file.url,
        bytes=receipt.bytes,
        sha256=receipt.sha256,
        content_sha256=receipt.content_sha256,
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
        content = zipfiles.content_sha256(stored, file.name) if file.expect is Expect.ZIP else sha256
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


def _record(release: Release, portal: Portal) -> Release:
    try:
        portal.records.write(release)
    except Conflict:
        recorded = portal.records.read(Release, release.version_id)
        if recorded is None or recorded.content_sha256 != release.content_sha256:
            raise
        return recorded  # a run beside this one archived the same content a moment earlier
    return release


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
