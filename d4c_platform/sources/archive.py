"""Archive a release whole and as received, with its provenance, exactly once.

Each file comes to local disk and is checked (receipt), the publisher is asked whether it still serves this release, and only
then is the file stored (raw). A killed run goes on with the files that have no provenance yet. The release's record comes last
and is written once.

A few files come at once, yet they are stored in their order: what lies in the archive is what fetching them in turn had left,
also when one fails. A source is not asked by two threads at a time.

A publisher may repair a file under the same release. Asked for *again*, the present files are fetched, and the record names
those that differ from then on. Nothing is overwritten, and once something was built from the release its record stays.

A release's content hash leaves out documents that change with every release (a table's metadata tells its release time), so
that equal content is recognised under a new release time.

Not here: what is known of the release already (recorded), whether a file is sound (receipt, zipfiles), what is in it
(transforms).
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate, RawFile, Release
from d4c_platform.sources.at_once import in_order
from d4c_platform.sources.detection import AGAIN_KEY, release_key
from d4c_platform.sources.raw import PROVENANCE, WHERE, ReleaseFolder
from d4c_platform.sources.receipt import KEPT, Receipt, receive
from d4c_platform.sources.recorded import archived, is_followed, record, refuse_unless_open, replace
from d4c_platform.sources.source import FILES_AT_ONCE, Offer, OtherState, SourceUrl
from d4c_platform.storage import proof
from d4c_platform.storage.portal import Portal
from d4c_platform.web import HttpRefusal, Web

__all__ = ["ABSENT", "FETCHED_AGAIN", "PROVENANCE", "archive", "changed_nothing", "fetch_raw"]

FETCHED_AGAIN = "fetched_again"
"""In a release's hint: the names of the files that differed when they were fetched again, separated by commas."""
ABSENT = "absent."
"""Before the name of an optional file in a release's hint: why the publisher does not offer it."""

GONE = frozenset({404, 410})  # of an optional file: it is not offered. A 5xx says nothing about that.


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
        if again:
            refuse_unless_open(candidate.version_id, portal)
        folder = ReleaseFolder(portal, dataset.id, release_key(candidate), again=again)
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
        before: the release as it is recorded, when it is fetched again.
        turn: whoever asks the source holds it.
    """

    candidate: Candidate
    dataset: Dataset
    source: Offer
    web: Web
    portal: Portal
    workdir: Path
    folder: ReleaseFolder
    before: Release | None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> Release:
        self.workdir.mkdir(parents=True, exist_ok=True)
        offered = self.source.files(self.dataset, self.candidate)
        _refuse_same_names(offered)
        most = getattr(self.source, "at_once", FILES_AT_ONCE)
        jobs = [partial(self._received, file, self.workdir / f"{place}.received") for place, file in enumerate(offered)]
        got: list[tuple[SourceUrl, RawFile]] = []
        absent: dict[str, str] = {}
        try:
            with in_order(jobs, most) as outcomes:
                for file, outcome in zip(offered, outcomes, strict=True):
                    if isinstance(outcome, str):
                        absent[ABSENT + file.name] = outcome
                    else:
                        got.append((file, outcome if isinstance(outcome, RawFile) else self._stored(file, outcome)))
        finally:
            for left in self.workdir.glob("*.received"):
                left.unlink()
        files = tuple(raw for _, raw in got)
        if self.before is not None and self.before.files == files:
            return self.before
        return self._record(files, _content_sha256({f.name: raw.content_sha256 for f, raw in got if f.in_content}), absent)

    def _record(self, files: tuple[RawFile, ...], content_sha256: str, absent: dict[str, str]) -> Release:
        candidate, before = self.candidate, self.before
        differ = () if before is None else (raw.name for raw in files if raw not in before.files)
        again = {FETCHED_AGAIN: ",".join(differ)} if before is not None else {}
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
        return record(release, self.portal) if before is None else replace(before, release, self.portal)

    def _received(self, file: SourceUrl, path: Path, stop: Callable[[], bool]) -> Receipt | RawFile | str:
        """The file on local disk, or as it lies in the archive, or why the publisher does not offer it."""
        raw = self.folder.received(file)
        if raw is not None or file.absent:
            return raw or file.absent
        try:
            if file.harvest is None:
                return receive(self.web, file, path, stop)
            with self.turn:
                return receive(self.web, file, path, stop)
        except HttpRefusal as refusal:
            if file.optional and refusal.status in GONE:
                return refusal.what
            raise

    def _stored(self, file: SourceUrl, receipt: Receipt) -> RawFile:
        if file.answer is None:
            with self.turn:
                self.source.confirm(self.dataset, self.candidate)
        raw = self._as_recorded(file, receipt) or self.folder.store(file, receipt)
        receipt.path.unlink()  # before the next one comes: the disk holds a few files, not all of the release
        return raw

    def _as_recorded(self, file: SourceUrl, receipt: Receipt) -> RawFile | None:
        """The file as it is recorded already, when it was fetched again and is still the same."""
        recorded = self.before.files if self.before is not None else ()
        return next((f for f in recorded if (f.name, f.content_sha256) == (file.name, receipt.content_sha256)), None)


def _refuse_same_names(files: list[SourceUrl]) -> None:
    twice = [name for name, times in Counter(file.name for file in files).items() if times > 1]
    if twice:
        raise PermanentFailure(
            f"two files of the release have the name {twice[0]}",
            where=WHERE,
            kept=KEPT,
            remedy="Report this: the source must give each file a name of its own",
        )


def _content_sha256(content: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(content):
        digest.update(f"{name}\0{content[name]}\n".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
