"""What the portal knows of a release: its record, and whether it may still change.

A release's record is written once and stays, until the publisher repairs a file under the same release: then it is replaced,
as long as nothing was built from it. The store lets any writer replace it, so the rule is kept here.

Not here: how the files get into the archive (archive, raw).
"""

from __future__ import annotations

from d4c_platform import naming
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Build, Candidate, Copies, Release, Withdrawal
from d4c_platform.sources.detection import AGAIN_KEY, release_key
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import Conflict

WHERE = "raw"


def archived(candidate: Candidate, portal: Portal) -> Release | None:
    """The release as it is recorded under this version, or, noticed again under a new version, under its latest one."""
    recorded = portal.records.read(Release, candidate.version_id)
    if recorded is not None or AGAIN_KEY not in candidate.hint:
        return recorded
    for before in _others_of_the_release(candidate, portal):
        earlier = portal.records.read(Release, before.version_id)
        if earlier is not None:
            hint = {**earlier.hint, **candidate.hint}
            mine = {"version_id": candidate.version_id, "key": candidate.key, "noticed_at": candidate.noticed_at, "hint": hint}
            return record(earlier.model_copy(update=mine), portal)
    return None


def _others_of_the_release(candidate: Candidate, portal: Portal) -> list[Candidate]:
    ledger = portal.records.candidates(candidate.dataset_id)
    others = [c for c in ledger if release_key(c) == release_key(candidate) and c.version_id != candidate.version_id]
    return sorted(others, key=lambda c: naming.order_key(c.version_id), reverse=True)


def is_followed(candidate: Candidate, portal: Portal) -> bool:
    """Whether another release was noticed after this one."""
    ledger = portal.records.candidates(candidate.dataset_id)
    return any(c.noticed_at > candidate.noticed_at and release_key(c) != release_key(candidate) for c in ledger)


def refuse_unless_open(version_id: str, portal: Portal) -> None:
    """A release may be fetched again until something stands on it."""
    records = portal.records
    if records.read(Copies, version_id, place="portal") is not None:
        what, remedy = "it is published, and what it was made from stays", "Declare a higher version to publish it again"
    elif records.read(Build, version_id) is not None:
        what, remedy = "its artifact was built from the files that are archived", "Withdraw it and declare a higher version"
    elif records.read(Withdrawal, version_id) is not None:
        what, remedy = "it was withdrawn", "Declare a higher version to publish its release"
    else:
        return
    raise PermanentFailure(f"it cannot be fetched again: {what}", where=WHERE, kept="Nothing was changed", remedy=remedy)


def record(release: Release, portal: Portal) -> Release:
    """Record a release that has no record yet.

    Raises:
        Conflict: another run recorded it with other content.
    """

    def first(present: Release | None) -> Release:
        if present is None:
            return release
        if present.content_sha256 != release.content_sha256:
            raise _conflict(release)
        return present  # a run beside this one archived the same content a moment earlier

    return portal.records.update(Release, release.version_id, first)


def replace(before: Release, release: Release, portal: Portal) -> Release:
    """Record the files that were fetched again in place of those before.

    Raises:
        Conflict: another run replaced them meanwhile.
        PermanentFailure: something was built from them meanwhile.
    """

    def second(present: Release | None) -> Release:
        if present != before:
            raise _conflict(release)
        return release

    refuse_unless_open(release.version_id, portal)
    return portal.records.update(Release, release.version_id, second)


def _conflict(release: Release) -> Conflict:
    return Conflict(
        "another run archived the release with other content",
        where=WHERE,
        version=release.version_id,
        kept="What it recorded stays",
        remedy="Look at the record; when it is not the release, have it fetched again while nothing is built from it",
    )
