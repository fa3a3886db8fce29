"""Two sensors: one notices releases, one sees to it that what was noticed gets finished.

`releases` looks at the sources and adds a partition for each new release. `outstanding` is level-triggered over the records: it
requests the stretch a version still misses, unless it has to wait (`attempts`), and keeps the partitions what the records say.
A lost event, a killed daemon, an empty Dagster database therefore cost time, never a version.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from d4c_platform.orchestration.attempts import bury_dead_runs, tried
from d4c_platform.orchestration.jobs import JOBS, PARTITIONS
from d4c_platform.orchestration.partitions import dataset_versions
from d4c_platform.stages.notice import notice
from d4c_platform.stages.outstanding import Missing, Outstanding, Stretch, outstanding
from d4c_platform.stages.platform import Platform

SWEEP_BUDGET_S = 25.0  # a tick is cut at 60 s: one source may still hang, the cursor must still be written
RELEASE_INTERVAL_S = 300
OUTSTANDING_INTERVAL_S = 60
REISSUE_AFTER = timedelta(hours=6)  # a torrent that leaves out a copy is issued again this seldom
MOST_AT_ONCE = (
    20  # datasets with news whose runs the tick that noticed them requests; of more, the next tick of `outstanding` does
)
MOST_UNDER_WAY = 200  # runs that are requested and not finished: an hour of work for a queue, and few enough to look through
ONE_AT_A_TIME = (Stretch.BUILD, Stretch.ZENODO)
"""Stretches in which the versions of one dataset go one after the other: a build is compared with the version before, and a
Zenodo concept has one next draft."""


@dg.sensor(
    name="releases",
    jobs=list(JOBS.values()),
    minimum_interval_seconds=RELEASE_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at every declared source and turns each new release into a version to build.",
)
def releases_sensor(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
    found = notice(platform, datetime.now(UTC), cursor=context.cursor or "", budget_s=SWEEP_BUDGET_S)
    for failure in found.failures:
        context.log.warning(failure)
    if found.blind:
        # Only a failed tick is visible to operators; a sweep in which nothing worked must not look like a quiet day. Nothing is
        # lost by raising: all were looked at, so there is no cursor to keep.
        raise dg.Failure(description="no source could be looked at: " + " | ".join(found.failures[:3]))
    new = {c.version_id for c in found.candidates}
    theirs = {c.dataset_id for c in found.candidates}
    few = 0 < len(theirs) <= MOST_AT_ONCE
    due, _ = _due(context, platform, outstanding(platform, only=theirs)) if few else ([], None)
    return dg.SensorResult(
        run_requests=[_request(m) for m in due if m.version_id in new],
        dynamic_partitions_requests=_partitions(context.instance, add=new, remove=()),
        cursor=found.cursor,
        skip_reason=None if new else dg.SkipReason(f"no new release in {found.looked_at} sources"),
    )


@dg.sensor(
    name="outstanding",
    jobs=list(JOBS.values()),
    minimum_interval_seconds=OUTSTANDING_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests what a noticed version still misses: build, mirrors, torrent.",
)
def outstanding_sensor(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
    bury_dead_runs(context.instance)
    found = outstanding(platform)
    for failure in found.failures:
        context.log.warning(failure)
    due, waiting = _due(context, platform, found)
    for m in waiting:
        context.log.warning(f"{m.version_id}: {m.stretch.value} waits for a person: see its last failed run.")
    return dg.SensorResult(
        run_requests=[_request(m) for m in due],
        dynamic_partitions_requests=_partitions(context.instance, add=found.versions, remove=found.withdrawn),
        skip_reason=None if due else dg.SkipReason(f"{len(found.missing)} stretches missing, none due"),
    )


def _due(context: dg.SensorEvaluationContext, platform: Platform, found: Outstanding) -> tuple[list[Missing], list[Missing]]:
    """The stretches to request now, and those that wait for a person."""
    attempts = tried(context.instance, (*found.missing, *found.reissue))
    wait_s, now = platform.settings.retry_wait_s, datetime.now(UTC)

    def can(missing: Missing) -> bool:
        return attempts[missing].may_try(wait_s)

    due = [m for m in found.missing if m.stretch not in ONE_AT_A_TIME and can(m)]
    for stretch in ONE_AT_A_TIME:
        # One that failed and waits holds up nobody; one that is under way does.
        in_turn = [m for m in found.missing if m.stretch is stretch and (can(m) or attempts[m].under_way)]
        of = {m: platform.dataset_of(m.version_id).id for m in in_turn}
        first = {of[m]: m for m in reversed(in_turn)}
        due += [m for m in in_turn if first[of[m]] == m and can(m)]
    for m in found.reissue:
        last = attempts[m].last_success
        if can(m) and (last is None or now - last >= REISSUE_AFTER):
            due.append(m)
    # What is new goes before the back-catalogue, which fills the queue only so far: a queue of thousands helps nobody.
    room = max(0, MOST_UNDER_WAY - sum(a.under_way for a in attempts.values()))
    due = sorted(due, key=lambda m: m.late)[:room]
    return due, [m for m in found.missing if attempts[m].waits_for_a_person]


def _partitions(
    instance: dg.DagsterInstance, *, add: Iterable[str], remove: Iterable[str]
) -> list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]:
    """Make the partitions what the records say: also on an instance that has just been born."""
    known = set(instance.get_dynamic_partitions(PARTITIONS))
    new, gone = sorted(set(add) - known), sorted(set(remove) & known)
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    if new:
        requests.append(dataset_versions.build_add_request(new))
    if gone:
        requests.append(dataset_versions.build_delete_request(gone))
    return requests


def _request(missing: Missing) -> dg.RunRequest:
    # No run key: a key is remembered for ever, and the same stretch may be due again after a failure.
    # The short tag is for people: partition keys of one publisher begin alike and are cut where they differ.
    short = "_".join(missing.version_id.split("_")[3:])
    return dg.RunRequest(job_name=missing.stretch.value, partition_key=missing.version_id, tags={"d4c/version": short})
