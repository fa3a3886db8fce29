"""What runs once a day: the list behind a family, and the second look at files. And what a tick leaves to the next one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest

from d4c_platform import datasets
from d4c_platform.definitions import defs
from d4c_platform.orchestration import sensors
from d4c_platform.sandbox.clock import Clock
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import REAL_HOST, statcan_app
from d4c_platform.sandbox.tables import Tables
from d4c_platform.settings import Settings
from d4c_platform.stages.platform import Platform
from d4c_platform_tests.orchestration.ledger import platform_at

NOW = datetime.now(UTC).replace(microsecond=0)  # the real jobs and sensors go by the machine's clock
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An environment that follows a publisher of forty tables, four of them fresh. Yields the publisher's URL."""
    tables = Tables(Clock(tmp_path / "clock.json").now, tmp_path / "zips")
    for n in range(40):
        age = timedelta(days=1) if n % 10 == 9 else timedelta(days=200 + n)
        tables.add(f"{14100001 + n}").release(NOW - age, f"{n}")
    declared = tmp_path / "datasets"
    declared.mkdir()
    [family] = datasets.families_in(datasets.PACKAGED)
    text = family.read_text(encoding="utf-8").replace("recheck_days: 7", "recheck_days: 1")
    (declared / family.name).write_text(text, encoding="utf-8")
    with serve(with_faults(statcan_app(tables, Clock(tmp_path / "clock.json")))) as served:
        for name, value in {
            "DATASETS": str(declared),
            "FAMILIES": '["statcan-tables"]',
            "ORIGINS": json.dumps({REAL_HOST: served.url}),
            "REQUESTS_PER_S": "10000",
            "ATTEMPTS": "1",
            "PORTAL_DIR": str(tmp_path / "portal"),
            "PORTAL_URL": "http://127.0.0.1:1/",
            "WORK_DIR": str(tmp_path / "work"),
        }.items():
            monkeypatch.setenv(f"D4C_{name}", value)
        yield served.url


def run(instance: dg.DagsterInstance, job: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)


def tick(instance: dg.DagsterInstance, name: str) -> dg.SensorResult:
    with (
        Platform(Settings.read()) as platform,
        dg.build_sensor_context(instance=instance, definitions=defs, resources={"platform": platform}) as context,
    ):
        result = defs.resolve_sensor_def(name)(context)
    for request in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return result


def asked_for(result: dg.SensorResult) -> set[str]:
    return {r.partition_key.partition("statistical_")[2] for r in result.run_requests or []}


def test_the_daily_work_follows_the_publishers_morning_in_its_own_time_zone():
    times = {s.name: (s.job_name, s.cron_schedule, s.execution_timezone) for s in defs.schedules}
    assert times == {
        "daily_lists": ("refresh_families", "45 8,12 * * *", "America/Toronto"),
        "daily_recheck": ("recheck_tables", "15 10 * * *", "America/Toronto"),
    }
    assert all(s.default_status is dg.DefaultScheduleStatus.RUNNING for s in defs.schedules)


def test_an_installation_that_follows_no_family_reads_no_list(tmp_path: Path):
    with platform_at(tmp_path) as platform, dg.build_schedule_context(resources={"platform": platform}) as context:
        assert "no family" in defs.resolve_schedule_def("daily_lists").evaluate_tick(context).skip_message
        assert defs.resolve_schedule_def("daily_recheck").evaluate_tick(context).run_requests


def test_the_list_is_read_by_a_job_and_its_tables_become_runs_the_new_before_the_old(followed: str, monkeypatch):
    monkeypatch.setattr(sensors, "MOST_UNDER_WAY", 10)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, "refresh_families").success
        first = tick(instance, "releases")
        assert len(instance.get_dynamic_partitions("dataset_version")) == 40
        assert first.run_requests == []  # so many at once are the other sensor's
        requested = asked_for(tick(instance, "outstanding"))
    fresh = {v for v in requested if v[:8] in {"14100010", "14100020", "14100030", "14100040"}}
    assert (len(requested), len(fresh)) == (10, 4)


def test_a_list_that_cannot_be_read_is_a_failed_run_with_a_sentence(followed: str):
    httpx.post(f"{followed}/_sandbox/faults", json={"kind": "status", "path": "/t1"})
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, "refresh_families")
    [failure] = [e.step_failure_data for e in result.all_events if e.is_step_failure]
    assert "getAllCubesListLite" in failure.user_failure_data.description


def test_the_second_look_is_a_job_that_runs_without_anything_archived(followed: str):
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, "refresh_families")
        tick(instance, "releases")
        assert run(instance, "recheck_tables").success
