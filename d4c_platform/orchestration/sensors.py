"""Two sensors: one notices releases, one sees to it that what was noticed gets finished.

`releases` looks at the sources and adds a partition for each new release. `outstanding` is level-triggered over the records: it
requests the stretch a version still misses, unless a run for it is under way or it failed often enough for a person to look. A
lost event, a killed daemon or a dead machine therefore costs time, never a version.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from d4c_platform.orchestration.failures import NEEDS_A_PERSON
from d4c_platform.orchestration.jobs import JOBS, PARTITIONS
from d4c_platform.orchestration.partitions import dataset_versions
from d4c_platform.stages.notice import notice
from d4c_platform.stages.outstanding import Missing, Stretch, outstanding
from d4c_platform.stages.platform import Platform

SWEEP_BUDGET_S = 45.0  # a sensor tick is cut at 60 s; leave room for the cursor write
RELEASE_INTERVAL_S = 300
OUTSTANDING_INTERVAL_S = 60
ATTEMPTS_A_DAY = 6  # failed runs of one stretch of one version in 24 h before a person has to look
WAIT_GROWS_BY = 3  # after each failed attempt: 15 min, 45 min, 2 h 15 …
ONE_AT_A_TIME = (Stretch.BUILD, Stretch.ZENODO)
"""Stretches in which the versions of one dataset go one after the other: a build is compared with the version before, and a
Zenodo concept has one next draft."""
PARTITION_TAG = "dagster/partition"
STALE_AFTER = timedelta(hours=6)  # an unfinished run without news for this long died with its machine


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
    if found.failures and len(found.failures) == found.looked_at:
        # Only a failed tick is visible to operators; a sweep in which nothing worked must not look like a quiet day.
        raise dg.Failure(description="no source could be looked at: " + " | ".join(found.failures[:3]))
    ids = [c.version_id for c in found.candidates]
    known = set(context.instance.get_dynamic_partitions(PARTITIONS))
    return dg.SensorResult(
        run_requests=[_request(Missing(v, Stretch.BUILD)) for v in _first_of_each_dataset(platform, ids)],
        dynamic_partitions_requests=[dataset_versions.build_add_request([v for v in ids if v not in known])] if ids else [],
        cursor=found.cursor,
        skip_reason=None if ids else dg.SkipReason(f"no new release in {found.looked_at} sources"),
    )


@dg.sensor(
    name="outstanding",
    jobs=list(JOBS.values()),
    minimum_interval_seconds=OUTSTANDING_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests what a noticed version still misses: build, mirrors, torrent.",
)
def outstanding_sensor(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
    missing = outstanding(platform)
    known = set(context.instance.get_dynamic_partitions(PARTITIONS))
    tried = _tried(context.instance)
    due = [m for m in _in_turn(platform, missing, tried) if tried[m].may_try(platform.settings.retry_wait_s)]
    for m in missing:
        if tried[m].needs_a_person:
            context.log.warning(f"{m.version_id}: {m.stretch.value} waits for a person: see its last failed run.")
    lost = sorted({m.version_id for m in due} - known)
    return dg.SensorResult(
        run_requests=[_request(m) for m in due],
        dynamic_partitions_requests=[dataset_versions.build_add_request(lost)] if lost else [],
        skip_reason=None if due else dg.SkipReason(f"{len(missing)} stretches missing, none due"),
    )


def _request(missing: Missing) -> dg.RunRequest:
    # No run key: a key is remembered for ever, and the same stretch may be due again after a failure.
    return dg.RunRequest(job_name=missing.stretch.value, partition_key=missing.version_id)


def _first_of_each_dataset(platform: Platform, ids: list[str]) -> list[str]:
    """The first version of each dataset, in the order given: oldest first."""
    first = {platform.dataset_of(v).id: v for v in reversed(ids)}
    return [v for v in ids if first[platform.dataset_of(v).id] == v]


def _in_turn(platform: Platform, missing: list[Missing], tried: Mapping[Missing, "Tried"]) -> list[Missing]:
    """Leave out what has to wait for an earlier version of its dataset; one that failed holds up nobody."""
    wait_s = platform.settings.retry_wait_s
    kept = {m for m in missing if m.stretch not in ONE_AT_A_TIME}
    for stretch in ONE_AT_A_TIME:
        can = [m.version_id for m in missing if m.stretch is stretch and (tried[m].under_way or tried[m].may_try(wait_s))]
        kept |= {Missing(version_id, stretch) for version_id in _first_of_each_dataset(platform, can)}
    return [m for m in missing if m in kept]


@dataclass
class Tried:
    """What was tried for one stretch of one version within a day."""

    under_way: bool = False
    needs_a_person: bool = False
    failed: int = 0
    last_failure: datetime | None = None

    def may_try(self, first_wait_s: float) -> bool:
        if self.under_way or self.needs_a_person:
            return False
        wait = timedelta(seconds=first_wait_s * WAIT_GROWS_BY ** max(0, self.failed - 1))
        return self.last_failure is None or datetime.now(UTC) - self.last_failure >= wait


def _tried(instance: dg.DagsterInstance) -> dict[Missing, Tried]:
    now = datetime.now(UTC)
    found: dict[Missing, Tried] = defaultdict(Tried)
    names = {s.value for s in Stretch}
    for record in instance.get_run_records(dg.RunsFilter(updated_after=now - timedelta(days=1))):
        run = record.dagster_run
        if run.job_name not in names or PARTITION_TAG not in run.tags:
            continue
        tried = found[Missing(run.tags[PARTITION_TAG], Stretch(run.job_name))]
        updated = record.update_timestamp.astimezone(UTC)
        if not run.is_finished:
            tried.under_way |= now - updated < STALE_AFTER
        elif run.status == dg.DagsterRunStatus.FAILURE:
            tried.failed += 1
            tried.last_failure = max(updated, tried.last_failure or updated)
            tried.needs_a_person |= NEEDS_A_PERSON in run.tags or tried.failed >= ATTEMPTS_A_DAY
    return found
