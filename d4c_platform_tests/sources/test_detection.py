"""Each release gets one version id, and each version id belongs to one release, however many sweeps run at once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform import naming
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Candidate, Copies, Release, Withdrawal
from d4c_platform.naming import SemVer
from d4c_platform.sources import detection
from d4c_platform.sources.detection import MOST_RETURNS, detect, release_key, replaced_by
from d4c_platform.sources.registry import open_source
from d4c_platform.sources.source import Noticed, SourceUrl, eastern_date, utc_key
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.records import Records
from d4c_platform_tests.sources.conftest import STATCAN, StatCanPublisher, http_file, table, utc

NOW = utc("2025-07-01T12:00")


@dataclass
class Signals:
    """A source that notices what it is told to, whatever was seen: the worst case for the ledger."""

    kind: ClassVar[str] = "signals"
    moments: list[datetime] = field(default_factory=list)

    def detect(self, dataset: Dataset, since: object, seen: Sequence[Candidate], now: datetime) -> list[Noticed]:
        return [Noticed(utc_key(m), m, eastern_date(m), {"signal": "told"}) for m in self.moments]

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        return []

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None: ...

    @classmethod
    def open(cls, web: object, settings: object) -> Signals:
        return cls()


@pytest.fixture
def records(portal: Portal) -> Records:
    return portal.records


def versions(found: Sequence[Candidate]) -> list[str]:
    return [c.version_id.partition("_d4c-datapkg-statistical_")[2] for c in found]


def test_a_release_is_noticed_once_with_its_eastern_date(statcan: StatCanPublisher, records: Records, web_to) -> None:
    source = open_source(table(), web_to(STATCAN, statcan.url))
    statcan.release("2025-06-11T08:30")
    (found,) = detect(table(), source, records, statcan.at("2025-06-11T09:00"))
    assert (versions([found]), found.vintage, found.key) == (["33100036_2025-06-11_v1.0.0"], "2025-06-11", "20250611T123000Z")
    assert detect(table(), source, records, statcan.at("2025-06-11T10:00")) == []
    assert records.candidates(table().id) == [found]


@pytest.mark.parametrize(("precision", "vintage"), [("year", "2025"), ("month", "2025-06"), ("day", "2025-06-11")])
def test_the_vintage_has_the_declared_precision(records: Records, precision: str, vintage: str) -> None:
    dataset = table().model_copy(update={"vintage": table().vintage.model_copy(update={"precision": precision})})
    (found,) = detect(dataset, Signals([utc("2025-06-12T03:00")]), records, NOW)  # still the 11th in the east
    assert found.vintage == vintage


def test_a_new_vintage_starts_at_the_declared_version(records: Records) -> None:
    detect(table(), Signals([utc("2025-06-10T12:30"), utc("2025-06-10T18:00")]), records, NOW)
    found = detect(table(), Signals([utc("2025-06-11T12:30")]), records, NOW)
    assert versions(found) == ["33100036_2025-06-11_v1.0.0"]


def test_another_release_of_a_vintage_is_the_next_patch_also_after_a_withdrawal(records: Records) -> None:
    first = detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW)
    records.write(Withdrawal(version_id=first[0].version_id, reason="It changed nothing"))
    second = detect(http_file(), Signals([utc("2025-06-11T12:30")]), records, NOW)
    assert versions(first + second) == ["wards_2021_v1.0.0", "wards_2021_v1.0.1"]


def test_patches_are_counted_as_numbers(records: Records) -> None:
    moments = [utc("2025-06-10T12:30") + timedelta(minutes=n) for n in range(12)]
    found = detect(http_file(), Signals(moments), records, NOW)
    assert versions(found)[-1] == "wards_2021_v1.0.11"


def publish(records: Records, *candidates: Candidate) -> None:
    for candidate in candidates:
        records.write(Copies(version_id=candidate.version_id, place="portal", copies=()))


def archived(records: Records, candidate: Candidate) -> None:
    told = candidate.model_dump()
    records.write(Release(**told, content_sha256="0" * 64, files=()))


def test_a_declared_version_above_all_others_wins_for_a_new_release(records: Records) -> None:
    publish(records, *detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW))
    found = detect(http_file(version="2.0.0"), Signals([utc("2025-06-11T12:30")]), records, NOW)
    assert versions(found) == ["wards_2021_v2.0.0"]


def test_a_higher_declared_version_publishes_the_newest_release_again_once(records: Records) -> None:
    (first,) = detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW)
    (again,) = detect(http_file(version="1.1.0"), Signals(), records, NOW)
    assert versions([again]) == ["wards_2021_v1.1.0"]
    assert (release_key(again), again.vintage, again.released_at) == (first.key, first.vintage, first.released_at)
    assert detect(http_file(version="1.1.0"), Signals(), records, NOW) == []
    (third,) = detect(http_file(version="2.0.0"), Signals(), records, NOW)
    assert release_key(third) == first.key
    assert replaced_by(third, records.candidates(http_file().id)) == (first.version_id, again.version_id)


def test_a_renewal_names_every_id_of_its_release_that_is_not_public(records: Records) -> None:
    (first,) = detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW)
    publish(records, first)
    (second,) = detect(http_file(version="1.1.0"), Signals(), records, NOW)
    (third,) = detect(http_file(version="1.2.0"), Signals(), records, NOW)
    (fourth,) = detect(http_file(version="1.3.0"), Signals(), records, NOW)
    assert fourth.hint["again_of_version"] == f"{second.version_id},{third.version_id}"
    ledger = records.candidates(http_file().id)
    assert [replaced_by(c, ledger) for c in (first, second, third)] == [(), (), (second.version_id,)]


def test_every_release_that_waits_is_renewed_and_no_other(records: Records) -> None:
    days = [utc(f"2025-06-{day}T12:30") for day in (10, 11, 12, 13)]
    public, withdrawn, failed, newest = (c for d in days for c in detect(table(), Signals([d]), records, NOW))
    publish(records, public)
    records.write(Withdrawal(version_id=withdrawn.version_id, reason="It changed nothing"))
    higher = table(version="1.1.0")
    renewed = detect(higher, Signals(), records, NOW)
    assert versions(renewed) == ["33100036_2025-06-12_v1.1.0", "33100036_2025-06-13_v1.1.0"]
    assert [replaced_by(c, records.candidates(table().id)) for c in renewed] == [(failed.version_id,), (newest.version_id,)]
    assert detect(higher, Signals(), records, NOW) == []


def test_within_a_vintage_an_older_release_is_never_renewed_behind_a_newer_one(records: Records) -> None:
    first = detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW)
    found = detect(http_file(version="2.0.0"), Signals([utc("2025-06-11T12:30")]), records, NOW)
    assert versions(found) == ["wards_2021_v2.0.0", "wards_2021_v2.0.1"]
    assert release_key(found[0]) == first[0].key


def test_a_release_is_not_renewed_once_a_later_one_has_the_declared_version(records: Records) -> None:
    (first,) = detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW)
    later = {"key": "20250611T123000Z", "version_id": first.version_id.replace("v1.0.0", "v2.0.0")}
    records.notice(first.model_copy(update=later))  # by a sweep beside this one
    assert detect(http_file(version="2.0.0"), Signals(), records, NOW) == []


def test_a_release_that_was_withdrawn_unarchived_is_noticed_anew_when_it_is_served_again(records: Records) -> None:
    source = Signals([utc("2025-06-10T12:30")])
    (lost,) = detect(http_file(), source, records, NOW)
    records.write(Withdrawal(version_id=lost.version_id, reason="The publisher replaced it"))
    (back,) = detect(http_file(), source, records, NOW)
    assert (back.key, back.version_id[-7:]) == (f"{lost.key}.again2", "_v1.0.1")


def test_a_withdrawn_release_that_is_archived_is_known(records: Records) -> None:
    source = Signals([utc("2025-06-10T12:30")])
    (same,) = detect(http_file(), source, records, NOW)
    archived(records, same)
    records.write(Withdrawal(version_id=same.version_id, reason="It changed nothing"))
    assert detect(http_file(), source, records, NOW) == []


def test_a_release_that_always_gets_lost_does_not_fill_the_ledger(records: Records) -> None:
    (lost,) = detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW)
    key = lost.key

    class Flapping(Signals):
        def detect(self, *_: object) -> list[Noticed]:
            return [Noticed(key, lost.released_at, lost.released_at.date(), {})]

    for _ in range(MOST_RETURNS + 3):
        records.write(Withdrawal(version_id=lost.version_id, reason="The publisher replaced it"))
        for lost in detect(http_file(), Flapping(), records, NOW):
            key = lost.key
    assert len(records.candidates(http_file().id)) == MOST_RETURNS


def test_a_lower_declared_version_changes_nothing(records: Records) -> None:
    detect(http_file(version="2.0.0"), Signals([utc("2025-06-10T12:30")]), records, NOW)
    assert detect(http_file(version="1.0.0"), Signals(), records, NOW) == []


def test_a_sweep_killed_between_claim_and_ledger_is_finished_by_the_next(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Signals([utc("2025-06-10T12:30")])
    with monkeypatch.context() as killed:
        killed.setattr(records, "notice", lambda candidate: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            detect(http_file(), source, records, NOW)
    assert records.candidates(http_file().id) == []
    other = detect(http_file(), Signals([utc("2025-06-09T12:30")]), records, NOW)
    assert versions(other) == ["wards_2021_v1.0.1"]  # 1.0.0 is claimed
    assert versions(detect(http_file(), source, records, NOW)) == ["wards_2021_v1.0.0"]


def all_at_once(work: Sequence[Callable[[], object]]) -> None:
    gate = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        gate.wait()
        one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(run, one) for one in work]:
            done.result()


@pytest.mark.parametrize("seed", range(5))
def test_sweeps_at_once_never_share_an_id_nor_split_a_release(records: Records, seed: int) -> None:
    chance = random.Random(seed)
    moments = [utc("2025-06-10T12:30") + timedelta(days=n) for n in range(6)]

    def sweep(count: int) -> Callable[[], object]:
        told = chance.sample(moments, count)
        return lambda: [detect(http_file(), Signals([m]), records, NOW) for m in told]

    all_at_once([sweep(chance.randint(1, 6)) for _ in range(8)])
    noticed = records.candidates(http_file().id)
    assert Counter(c.key for c in noticed).most_common(1)[0][1] == 1
    assert Counter(c.version_id for c in noticed).most_common(1)[0][1] == 1


def test_sweeps_at_once_on_one_release_agree(records: Records) -> None:
    source, found = Signals([utc("2025-06-10T12:30")]), []
    all_at_once([lambda: found.extend(detect(http_file(), source, records, NOW))] * 8)
    assert {c.version_id for c in found} == {c.version_id for c in records.candidates(http_file().id)}
    assert versions(records.candidates(http_file().id)) == ["wards_2021_v1.0.0"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["1.0.0", "1.0.1", "1.1.0-beta", "2.0.0"])), max_size=8))
def test_versions_only_rise_within_a_vintage(tmp_path_factory, steps: list[tuple[int, str]]) -> None:
    records = Records(LocalStore(tmp_path_factory.mktemp("ledger"), "http://127.0.0.1:1/"))
    given_out: list[Candidate] = []
    for n, (_, declared) in enumerate(steps):
        moment = utc("2025-06-10T12:30") + timedelta(days=n)
        given_out += detect(http_file(version=declared), Signals([moment]), records, NOW)
    numbers = [naming.parse(c.version_id).version for c in given_out]
    assert all(isinstance(n, SemVer) for n in numbers)
    assert numbers == sorted(set(numbers))


def test_the_claims_lie_outside_the_ledger_and_the_records(records: Records) -> None:
    detect(http_file(), Signals([utc("2025-06-10T12:30")]), records, NOW)
    assert {info.key.split("/")[0] for info in records.store.list("")} == {"releases", detection.CLAIMS.rstrip("/")}
