"""Who may try what again, and when: read from Dagster's runs, newest first, back to the last success.

A failed stretch is tried again with growing waits. It is left to a person when its failure said that trying again cannot help,
after the last attempt, and when a person cancelled it; until a run of it succeeds, for instance after the person's change.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from d4c_platform.stages.outstanding import Missing, Stretch

ATTEMPTS = 5  # the last one about ten hours after the first failure
WAIT_GROWS_BY = 3  # 15 min, 45 min, 2 h 15, 6 h 45
FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
LOOK_BACK = timedelta(days=14)  # what failed before that may be tried again
STALE_AFTER = timedelta(hours=6)  # an unfinished run without news for this long died with its machine
PARTITION_TAG = "dagster/partition"
NEEDS_A_PERSON = "d4c/needs_a_person"
"""On a run whose failure trying again cannot mend."""
ABANDONED_TAG = "d4c/abandoned"
"""On a run that was cancelled because its process is gone, not because a person wanted it."""
WORKER_TAG = "d4c/worker"
"""On a run: the host and process id that execute it. Dagster's default launcher does not notice a worker that was killed."""

STRETCH_OF_ASSET = {
    **dict.fromkeys(("raw_release", "artifact", "version_manifest", "portal_version", "catalog_item"), Stretch.BUILD),
    "source_coop_copy": Stretch.SOURCE_COOP,
    "zenodo_record": Stretch.ZENODO,
    "torrent": Stretch.TORRENT,
}


@dataclass(slots=True)
class Tried:
    """What was tried for one stretch of one version since it last succeeded."""

    under_way: bool = False
    needs_a_person: bool = False
    failed: int = 0
    last_failure: datetime | None = None
    last_success: datetime | None = None

    def may_try(self, first_wait_s: float, now: datetime | None = None) -> bool:
        """Whether a run may be requested now."""
        if self.under_way or self.needs_a_person or self.failed >= ATTEMPTS:
            return False
        wait = timedelta(seconds=first_wait_s * WAIT_GROWS_BY ** max(0, self.failed - 1))
        return self.last_failure is None or (now or datetime.now(UTC)) - self.last_failure >= wait

    @property
    def waits_for_a_person(self) -> bool:
        return not self.under_way and (self.needs_a_person or self.failed >= ATTEMPTS)


def worker() -> str:
    """Host and id of the present process: the value of `WORKER_TAG`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Cancel the runs whose process on this machine is gone, so that their work is requested again at once."""
    unfinished = [s for s in dg.DagsterRunStatus if s not in FINISHED]
    for record in instance.get_run_records(dg.RunsFilter(statuses=unfinished)):
        host, _, pid = record.dagster_run.tags.get(WORKER_TAG, "").rpartition(":")
        if host == socket.gethostname() and not _is_alive(int(pid)):
            bury(instance, record.dagster_run)


def bury(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Cancel a run whose process is gone, and free its pool slots: it would hold up everybody until the monitor comes by."""
    instance.add_run_tags(run.run_id, {ABANDONED_TAG: "yes"})
    instance.report_run_canceled(run, message="The process that executed it is gone.")
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A killed worker stays in the process table until its parent asks after it: state Z in proc(5).
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True  # no procfs here: what answers a signal is taken for alive


def tried(instance: dg.DagsterInstance, wanted: Iterable[Missing], now: datetime | None = None) -> Mapping[Missing, Tried]:
    """What was tried for each of the wanted stretches."""
    now = now or datetime.now(UTC)
    found = {missing: Tried() for missing in wanted}
    versions = {missing.version_id for missing in found}
    records = instance.get_run_records(dg.RunsFilter(updated_after=now - LOOK_BACK)) if found else []
    for record in sorted(records, key=lambda r: r.create_timestamp, reverse=True):
        run = record.dagster_run
        if run.tags.get(PARTITION_TAG) not in versions:
            continue
        for stretch in _stretches(run):
            entry = found.get(Missing(run.tags[PARTITION_TAG], stretch))
            if entry is not None and entry.last_success is None:
                _count(entry, run, record.update_timestamp.astimezone(UTC), now)
    return found


def _count(entry: Tried, run: dg.DagsterRun, updated: datetime, now: datetime) -> None:
    match run.status:
        case dg.DagsterRunStatus.SUCCESS:
            entry.last_success = updated
        case dg.DagsterRunStatus.FAILURE:
            entry.failed += 1
            entry.last_failure = max(updated, entry.last_failure or updated)
            entry.needs_a_person |= NEEDS_A_PERSON in run.tags
        case dg.DagsterRunStatus.CANCELED:
            entry.needs_a_person |= ABANDONED_TAG not in run.tags
        case _:
            entry.under_way |= now - updated < STALE_AFTER


def _stretches(run: dg.DagsterRun) -> set[Stretch]:
    """The stretches a run works on; also of a materialisation that a person started from the asset graph."""
    if run.job_name in {s.value for s in Stretch}:
        return {Stretch(run.job_name)}
    names = {key.to_user_string() for key in run.asset_selection or ()}
    return {STRETCH_OF_ASSET[name] for name in names if name in STRETCH_OF_ASSET}
