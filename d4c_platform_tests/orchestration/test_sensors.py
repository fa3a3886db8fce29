"""What the sensors request, when they wait, and when they leave it to a person."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from d4c_platform.definitions import defs
from d4c_platform.orchestration import attempts
from d4c_platform.orchestration.attempts import NEEDS_A_PERSON
from d4c_platform.orchestration.jobs import PARTITIONS
from d4c_platform.orchestration.sensors import SWEEP_BUDGET_S
from d4c_platform.stages.notice import notice
from d4c_platform.stages.outstanding import Missing, Stretch, outstanding
from d4c_platform.stages.platform import GLANCE_TIMEOUT_S
from d4c_platform_tests.orchestration.ledger import (
    cited,
    copied,
    drafted,
    noticed,
    platform_at,
    published,
    ran,
    seeded,
    withdrawn,
)
from d4c_platform_tests.orchestration.world import OUTLINES, TABLE

FAILURE, SUCCESS, CANCELED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED


@pytest.fixture
def platform(tmp_path):
    with platform_at(tmp_path) as platform:
        yield platform


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(instance, platform) -> dg.SensorResult:
    with dg.build_sensor_context(instance=instance, definitions=defs, resources={"platform": platform}) as context:
        result = defs.resolve_sensor_def("outstanding")(context)
    for request in result.dynamic_partitions_requests or []:
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            instance.add_dynamic_partitions(PARTITIONS, list(request.partition_keys))
        else:
            for key in request.partition_keys:
                instance.delete_dynamic_partition(PARTITIONS, key)
    return result


def due(instance, platform) -> list[tuple[str, str]]:
    return [(r.job_name, r.partition_key) for r in tick(instance, platform).run_requests or []]


def test_a_noticed_release_is_built_even_when_its_first_request_was_lost(platform, instance):
    version = noticed(platform, TABLE, 5)
    assert due(instance, platform) == [("build_and_publish", version)]
    assert instance.get_dynamic_partitions(PARTITIONS) == [version]


def test_versions_of_one_dataset_are_built_in_turn_and_datasets_side_by_side(platform, instance):
    first, _ = noticed(platform, TABLE, 5), noticed(platform, TABLE, 6)
    other = noticed(platform, OUTLINES, 7, vintage="2021")
    assert set(due(instance, platform)) == {("build_and_publish", first), ("build_and_publish", other)}
    ran(instance, Stretch.BUILD, first, dg.DagsterRunStatus.STARTED)
    assert due(instance, platform) == [("build_and_publish", other)]


def test_a_build_that_waits_for_a_person_holds_up_no_later_release(platform, instance):
    first, second = noticed(platform, TABLE, 5), noticed(platform, TABLE, 6)
    ran(instance, Stretch.BUILD, first, FAILURE, {NEEDS_A_PERSON: "yes"})
    assert due(instance, platform) == [("build_and_publish", second)]


def test_a_stretch_under_way_is_not_requested_again(platform, instance):
    version = noticed(platform, TABLE, 5)
    ran(instance, Stretch.BUILD, version, dg.DagsterRunStatus.STARTING)
    assert due(instance, platform) == []


def test_a_materialisation_from_the_graph_counts_as_under_way(platform, instance):
    version = noticed(platform, TABLE, 5)
    instance.add_run(
        dg.DagsterRun(
            job_name="__ASSET_JOB",
            status=dg.DagsterRunStatus.STARTED,
            tags={attempts.PARTITION_TAG: version},
            asset_selection=frozenset({dg.AssetKey("artifact")}),
        )
    )
    assert due(instance, platform) == []


def test_a_failed_stretch_waits_before_it_is_tried_again(platform, instance):
    version = noticed(platform, TABLE, 5)
    ran(instance, Stretch.BUILD, version, FAILURE)
    assert due(instance, platform) == []
    missing = Missing(version, Stretch.BUILD)
    [entry] = attempts.tried(instance, [missing]).values()
    assert entry.may_try(900, datetime.now(UTC) + timedelta(minutes=16))
    assert not entry.may_try(900, datetime.now(UTC) + timedelta(minutes=14))


def test_the_waits_grow_and_after_the_last_attempt_a_person_has_to_look(platform, instance):
    version = noticed(platform, TABLE, 5)
    missing = Missing(version, Stretch.BUILD)
    for failed in range(1, attempts.ATTEMPTS + 1):
        ran(instance, Stretch.BUILD, version, FAILURE)
        entry = attempts.tried(instance, [missing])[missing]
        wait = timedelta(seconds=900 * 3 ** (failed - 1))
        if failed < attempts.ATTEMPTS:
            assert not entry.may_try(900, entry.last_failure + wait - timedelta(seconds=1))
            assert entry.may_try(900, entry.last_failure + wait)
    assert entry.waits_for_a_person
    assert not entry.may_try(900, entry.last_failure + timedelta(days=3))


def test_a_success_after_a_persons_change_wipes_the_slate(platform, instance):
    version = noticed(platform, TABLE, 5)
    missing = Missing(version, Stretch.BUILD)
    ran(instance, Stretch.BUILD, version, FAILURE, {NEEDS_A_PERSON: "yes"})
    ran(instance, Stretch.BUILD, version, SUCCESS)
    entry = attempts.tried(instance, [missing])[missing]
    assert not entry.waits_for_a_person
    assert entry.failed == 0


def test_what_a_person_cancelled_is_left_to_that_person(platform, instance):
    version = noticed(platform, TABLE, 5)
    ran(instance, Stretch.BUILD, version, CANCELED)
    assert due(instance, platform) == []


def test_a_run_whose_process_died_is_requested_again(platform, instance):
    version = noticed(platform, TABLE, 5)
    ran(instance, Stretch.BUILD, version, CANCELED, {attempts.ABANDONED_TAG: "yes"})
    assert due(instance, platform) == [("build_and_publish", version)]


def test_a_run_whose_worker_was_killed_is_noticed_and_requested_again(platform, instance):
    version = noticed(platform, TABLE, 5)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    signed = {attempts.WORKER_TAG: f"{socket.gethostname()}:{dead.pid}"}
    ran(instance, Stretch.BUILD, version, dg.DagsterRunStatus.STARTED, signed)
    assert due(instance, platform) == [("build_and_publish", version)]
    [run] = instance.get_runs()
    assert run.status == CANCELED


def test_a_run_of_a_living_worker_or_of_another_machine_is_left_alone(platform, instance):
    first, other = noticed(platform, TABLE, 5), noticed(platform, OUTLINES, 7, vintage="2021")
    ran(instance, Stretch.BUILD, first, dg.DagsterRunStatus.STARTED, {attempts.WORKER_TAG: attempts.worker()})
    ran(instance, Stretch.BUILD, other, dg.DagsterRunStatus.STARTED, {attempts.WORKER_TAG: "elsewhere:1"})
    assert due(instance, platform) == []
    assert not any(run.is_finished for run in instance.get_runs())


def test_mirrors_come_after_the_item_and_the_torrent_after_the_first_mirror(platform, instance):
    version = noticed(platform, TABLE, 5)
    published(platform, version)
    assert set(due(instance, platform)) == {("copy_to_source_coop", version), ("copy_to_zenodo", version)}
    copied(platform, version, "source-coop")
    assert set(due(instance, platform)) == {("copy_to_zenodo", version), ("publish_torrent", version)}


def test_a_new_mirror_copy_reissues_the_torrent(platform, instance):
    version = noticed(platform, TABLE, 5)
    published(platform, version)
    first = copied(platform, version, "source-coop")
    seeded(platform, version, [first])
    assert due(instance, platform) == [("copy_to_zenodo", version)]
    copied(platform, version, "zenodo")
    assert due(instance, platform) == [("publish_torrent", version)]


def test_a_torrent_that_leaves_out_a_copy_is_issued_again_but_seldom(platform, instance):
    version = noticed(platform, TABLE, 5)
    published(platform, version)
    first, second = copied(platform, version, "source-coop"), copied(platform, version, "zenodo")
    seeded(platform, version, [first], {second: "answered 503"})
    assert due(instance, platform) == [("publish_torrent", version)]
    ran(instance, Stretch.TORRENT, version, SUCCESS)
    assert due(instance, platform) == []


def test_a_later_version_waits_while_an_earlier_draft_waits_at_the_gate(platform, instance):
    first, second = noticed(platform, TABLE, 5), noticed(platform, TABLE, 6)
    for version in (first, second):
        published(platform, version)
        seeded(platform, version, [copied(platform, version, "source-coop")])
    drafted(platform, first)
    ran(instance, Stretch.ZENODO, first, FAILURE, {NEEDS_A_PERSON: "yes"})
    assert due(instance, platform) == []
    cited(platform, first)
    copied(platform, first, "zenodo")
    assert ("copy_to_zenodo", second) in due(instance, platform)


def test_a_complete_version_needs_nothing(platform, instance):
    version = noticed(platform, TABLE, 5)
    published(platform, version)
    seeded(platform, version, [copied(platform, version, place) for place in ("source-coop", "zenodo")])
    assert due(instance, platform) == []
    assert outstanding(platform).missing == ()


def test_a_withdrawn_version_needs_nothing_and_loses_its_partition(platform, instance):
    version = noticed(platform, TABLE, 5)
    instance.add_dynamic_partitions(PARTITIONS, [version])
    withdrawn(platform, version)
    assert due(instance, platform) == []
    assert instance.get_dynamic_partitions(PARTITIONS) == []


def test_an_empty_instance_gets_the_partitions_of_finished_versions_back(platform, instance):
    version = noticed(platform, TABLE, 5)
    published(platform, version)
    seeded(platform, version, [copied(platform, version, place) for place in ("source-coop", "zenodo")])
    tick(instance, platform)
    assert instance.get_dynamic_partitions(PARTITIONS) == [version]


def test_a_damaged_record_stops_its_own_dataset_only(platform, instance):
    noticed(platform, TABLE, 5)
    other = noticed(platform, OUTLINES, 7, vintage="2021")
    [entry] = (platform.settings.portal_dir / "releases" / TABLE).glob("*.json")
    entry.chmod(0o644)
    entry.write_text("{")
    assert due(instance, platform) == [("build_and_publish", other)]
    [failure] = outstanding(platform).failures
    assert TABLE in failure


def test_a_finished_version_costs_no_reads(platform, monkeypatch):
    for day in range(1, 29):
        version = noticed(platform, TABLE, day)
        published(platform, version)
        seeded(platform, version, [copied(platform, version, place) for place in ("source-coop", "zenodo")])
    outstanding(platform)
    reads = []
    original = platform.portal.store.read
    monkeypatch.setattr(platform.portal.store, "read", lambda key: reads.append(key) or original(key))
    outstanding(platform)
    # Three small documents where a torrent is compared with its copies; nothing for the ledger, which is remembered.
    assert len(reads) <= 3 * 28
    assert not any(key.startswith("releases/") for key in reads)


def test_a_sweep_keeps_its_budget_and_goes_on_where_it_stopped(platform, monkeypatch):
    looked = []
    monkeypatch.setattr("d4c_platform.stages.notice.detect", lambda dataset, *_: looked.append(dataset.id) or [])
    first = notice(platform, datetime.now(UTC), budget_s=-1.0)
    assert first.looked_at == 1
    second = notice(platform, datetime.now(UTC), cursor=first.cursor, budget_s=-1.0)
    assert looked == sorted(platform.datasets)
    assert second.cursor in ("", min(platform.datasets))


def test_one_source_that_fails_in_any_way_is_stepped_over(platform, monkeypatch):
    def detect(dataset, *_):
        if dataset.id == TABLE:
            raise RuntimeError("a fault of ours")
        return []

    monkeypatch.setattr("d4c_platform.stages.notice.detect", detect)
    found = notice(platform, datetime.now(UTC), budget_s=60)
    assert found.looked_at == len(platform.datasets)
    [failure] = found.failures
    assert TABLE in failure
    assert "RuntimeError" in failure


def test_a_tick_in_which_one_source_hangs_still_ends_in_time():
    tick_limit_s = 60
    assert tick_limit_s > SWEEP_BUDGET_S + 3 * GLANCE_TIMEOUT_S


def test_a_sweep_in_which_nothing_worked_is_a_failed_tick(platform, instance, monkeypatch):
    def detect(*_):
        raise RuntimeError("no network")

    monkeypatch.setattr("d4c_platform.stages.notice.detect", detect)
    with (
        dg.build_sensor_context(instance=instance, definitions=defs, resources={"platform": platform}) as context,
        pytest.raises(dg.Failure, match="no source could be looked at"),
    ):
        defs.resolve_sensor_def("releases")(context)
