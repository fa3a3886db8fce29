"""A patient operator: ticks the code location's own sensors and executes the runs they ask for, until nothing is due.

What Dagster's daemon does over minutes, in order and in this process, on a real instance with the same definitions: the
same sensors, the same jobs, the same event log that `dagster dev` shows afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import dagster as dg

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.orchestration.attempts import bury
from d4c_platform.orchestration.jobs import PARTITIONS
from d4c_platform.stages.platform import Platform

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # the event log has it all; progress says the gist
MOST_ROUNDS = 50  # of ticks; a demo that asks for more is going in circles


@dataclass(frozen=True, slots=True)
class Run:
    """One executed run.

    Attributes:
        job: the job's name.
        version_id: its partition.
        ok: whether it succeeded.
        trouble: the first failed step's message, empty when there is none.
    """

    job: str
    version_id: str
    ok: bool
    trouble: str


class Operator:
    """Works the Dagster instance of $DAGSTER_HOME until nothing is due. A context manager: it opens and closes the instance.

    Args:
        defs: the code location.
        platform: what the sensors look at; the runs open their own, as they do in a daemon.
        progress: told what is being done, one sentence at a time.
    """

    def __init__(self, defs: dg.Definitions, platform: Platform, progress: Callable[[str], None]) -> None:
        self._defs, self._platform, self._progress = defs, platform, progress
        self._instance = dg.DagsterInstance.get()
        self._cursors: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        self._instance.__enter__()
        self._bury_dead_runs()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._instance.__exit__(*failure)

    def work(self) -> list[Run]:
        """Tick both sensors and execute what they request, until a round brings nothing."""
        done: list[Run] = []
        for _ in range(MOST_ROUNDS):
            requests = [r for sensor in ("releases", "outstanding") for r in self._tick(sensor)]
            unique = {(r.job_name, r.partition_key): r for r in requests if r.job_name and r.partition_key}
            if not unique:
                return done
            round_ = [self.execute(str(job), str(version)) for job, version in unique]
            done += round_
            if all(not run.ok for run in round_):
                return done
        raise PermanentFailure(f"work is still due after {MOST_ROUNDS} rounds of ticks", where="demo")

    def _tick(self, name: str) -> list[dg.RunRequest]:
        resources = {"platform": self._platform}
        with dg.build_sensor_context(
            instance=self._instance, cursor=self._cursors.get(name), definitions=self._defs, resources=resources
        ) as context:
            context.log.setLevel(logging.CRITICAL)  # sources that are not recorded here are no news at every tick
            try:
                tick = self._defs.resolve_sensor_def(name)(context)
            except dg.Failure as failed:
                raise PermanentFailure(str(failed.description), where=f"sensor {name}") from failed
        if not isinstance(tick, dg.SensorResult):
            raise PermanentFailure(f"the sensor {name} returned a {type(tick).__name__}", where="demo")
        self._cursors[name] = tick.cursor
        for request in tick.dynamic_partitions_requests or []:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self._instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
                for key in request.partition_keys:
                    self._progress(f"noticed a release: {key}")
            else:
                for key in request.partition_keys:
                    self._instance.delete_dynamic_partition(request.partitions_def_name, key)
        return list(tick.run_requests or [])

    def execute(self, job: str, version_id: str) -> Run:
        """Run one job for one version, as a person does with a click on Materialize."""
        self._progress(f"{job.replace('_', ' ')}: {version_id}")
        result = self._defs.resolve_job_def(job).execute_in_process(
            instance=self._instance, partition_key=version_id, raise_on_error=False, run_config=QUIET
        )
        trouble = "" if result.success else _first_failure(result)
        if trouble:
            self._progress(f"failed: {trouble}")
        return Run(job, version_id, result.success, trouble)

    def _bury_dead_runs(self) -> None:
        """Nobody else works on this instance: a run that looks alive at the start was killed with an earlier process."""
        for record in self._instance.get_run_records():
            if not record.dagster_run.is_finished:
                bury(self._instance, record.dagster_run)

    def materialised(self, version_id: str) -> set[str]:
        """Names of the assets that the event log has for this partition."""
        return {
            key.to_user_string()
            for key in self._defs.resolve_all_asset_keys()
            if version_id in self._instance.get_materialized_partitions(key)
        }

    @property
    def partitions(self) -> list[str]:
        return list(self._instance.get_dynamic_partitions(PARTITIONS))


def _first_failure(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return str(failure.user_failure_data.description)
            return failure.error.message if failure.error else "a step failed without a message"
    return "the run failed before its first step"
