"""An operator's word on how much a version changes, when the derived bump is wrong about it.

The rule counts columns and rows; it cannot know that the lost fifth of the rows were duplicates, or that a column means
something else now. The word is recorded with its reason before the version is built, and from there on stands in its changelog
and manifest. What was derived stays beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Build, Bump, Override, OverrideDecision, Withdrawal
from d4c_platform.stages.platform import Platform

WHERE = "override"


def override(platform: Platform, version_id: str, bump: Bump, reason: str) -> OverrideDecision:
    """Record that a version counts as this bump; it may be recorded anew until the version is built.

    Raises:
        PermanentFailure: there is no reason, no version before, or nothing left to decide.
    """
    dataset = platform.dataset_of(version_id)
    problem, remedy = "", ""
    withdrawn = platform.records.read(Withdrawal, version_id)
    if not reason.strip():
        problem, remedy = "an override needs a reason, for whoever reads the changelog", "Give one with --reason"
    elif all(c.version_id != version_id for c in platform.records.candidates(dataset.id)):
        problem, remedy = "no release was noticed under this version id", "See `d4c version outstanding` for those that were"
    elif withdrawn is not None:
        problem, remedy = f"it was withdrawn: {withdrawn.reason}", "Override the version that takes its place"
    elif platform.records.read(Build, version_id) is not None:
        problem = "it is built already, and its changelog says what it was counted as"
        remedy = "If the number is wrong, withdraw this version and publish the next one"
    elif platform.predecessor(dataset, version_id) is None:
        problem, remedy = "there is no version before it, so nothing is derived", "Publish it as it is"
    if problem:
        raise PermanentFailure(problem, where=WHERE, version=version_id, kept="Nothing was recorded", remedy=remedy)
    decision = OverrideDecision(
        version_id=version_id, override=Override(bump=bump, reason=reason.strip().rstrip(".")), decided_at=datetime.now(UTC)
    )
    platform.records.write(decision)
    return decision


def override_of(platform: Platform, version_id: str) -> Override | None:
    """The operator's word on a version, None when nobody decided anything."""
    decision = platform.records.read(OverrideDecision, version_id)
    return None if decision is None else decision.override
