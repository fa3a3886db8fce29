"""Take a version back: what an operator does when nothing else helps.

A withdrawn version stays where it was copied, and its DOI stays what it is; but it is no longer the latest, no longer in the
catalog, and nothing more is done for it.
"""

from __future__ import annotations

from d4c_platform.model.dataset import MirrorName
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Release, Withdrawal
from d4c_platform.sources.archive import archive
from d4c_platform.sources.registry import open_source
from d4c_platform.stages import publication
from d4c_platform.stages.build import candidate_of
from d4c_platform.stages.platform import Platform


def withdraw(platform: Platform, version_id: str, reason: str) -> Withdrawal:
    """Withdraw a version, published or not; `processed/` steps back to the version before."""
    dataset = platform.dataset_of(version_id)
    candidate_of(platform, version_id)  # a slip of the pen must not become a record
    present = platform.records.read(Withdrawal, version_id)
    if present is None:
        present = Withdrawal(version_id=version_id, reason=reason)
        platform.records.write(present)
    platform.portal.switch_latest(dataset)
    publication.publish_catalog(platform)
    return present


def refetch(platform: Platform, version_id: str) -> Release:
    """Fetch an unpublished version's release again, because the publisher has repaired it since."""
    dataset = platform.dataset_of(version_id)
    candidate = candidate_of(platform, version_id)
    with platform.workspace("raw") as folder:
        source = open_source(dataset, platform.web, platform.sources)
        return archive(candidate, dataset, source, platform.web, platform.portal, folder, again=True)


def discard_draft(platform: Platform, mirror: MirrorName, version_id: str) -> None:
    """Delete a version's unpublished draft on a mirror that has drafts."""
    if mirror is not MirrorName.ZENODO:
        raise PermanentFailure("has no drafts", where=mirror.value, version=version_id)
    platform.zenodo.discard(version_id)
