"""A sweep over a family asks for lists and not for tables; a revision that nobody announced is found by its files."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import httpx
import pytest

from d4c_platform import datasets
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Copies, Item, Release, Withdrawal
from d4c_platform.sandbox.clock import EASTERN, Clock
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import REAL_HOST, statcan_app
from d4c_platform.sandbox.tables import Tables
from d4c_platform.settings import Settings
from d4c_platform.sources.source import SourceSettings
from d4c_platform.stages import notice as sweeping
from d4c_platform.stages.build import archive_release
from d4c_platform.stages.notice import Noticed, notice
from d4c_platform.stages.outstanding import outstanding
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.recheck import Rechecked, recheck
from d4c_platform.stages.refresh import Refreshed, refresh_families
from d4c_platform.storage.local import LocalStore

DAY = date(2025, 6, 11)  # a Wednesday
RECHECK_DAYS = 7


class There:
    """A publisher's tables, and an installation that follows them. Each act is a new process's: nothing is kept in between."""

    def __init__(self, folder: Path, url: str, clock: Clock, tables: Tables) -> None:
        self.folder, self.url, self.clock, self.tables = folder, url, clock, tables
        (folder / "datasets").mkdir()
        [family] = datasets.families_in(datasets.PACKAGED)
        self.family = folder / "datasets" / family.name
        self.family.write_text(family.read_text(encoding="utf-8").replace("mirrors: [source-coop, zenodo]", "mirrors: []"))

    def platform(self, *, lock: bool = False) -> Platform:
        settings = Settings(
            datasets=self.folder / "datasets",
            families=("statcan-tables",),
            origins={REAL_HOST: self.url},
            requests_per_s=100_000,
            attempts=1,
            portal_dir=self.folder / "portal",
            portal_url="http://127.0.0.1:1/",
            work_dir=self.folder / "work",
        )
        return Platform(settings, SourceSettings(statcan_lock=lock, clock=lambda: self.clock.now().astimezone(UTC)))

    def at(self, days: int, eastern: time = time(9, 0)) -> datetime:
        self.clock.set(datetime.combine(DAY + timedelta(days=days), eastern, EASTERN))
        return self.clock.now().astimezone(UTC)

    def refresh(self) -> Refreshed:
        with self.platform() as platform:
            [found] = refresh_families(platform, self.clock.now().astimezone(UTC))
        return found

    def sweep(self, cursor: str = "", budget_s: float = 60) -> Noticed:
        with self.platform() as platform:
            return notice(platform, self.clock.now().astimezone(UTC), cursor=cursor, budget_s=budget_s)

    def archive(self) -> list[Release | Withdrawal]:
        """Archive what is missing; what is archived counts as published."""
        with self.platform() as platform:
            found = [archive_release(platform, m.version_id) for m in outstanding(platform).missing]
            for release in found:
                if isinstance(release, Release):
                    platform.records.write(Copies(version_id=release.version_id, place="portal", copies=()))
                    platform.records.write(Item(version_id=release.version_id, item={}))
        return found

    def recheck(self, *, lock: bool = False) -> Rechecked:
        with self.platform(lock=lock) as platform:
            return recheck(platform, self.clock.now().astimezone(UTC))

    def recheck_for(self, days: int, start: int) -> list[str]:
        """Look every day; returns the versions that revisions were given."""
        found = []
        for day in range(start, start + days):
            self.at(day, time(10, 15))
            found += [c.version_id for c in self.recheck().revisions]
        return found

    def fault(self, **fault: object) -> None:
        httpx.post(f"{self.url}/_sandbox/faults", json=fault).raise_for_status()

    def asked(self) -> list[str]:
        log = httpx.get(f"{self.url}/_sandbox/requests").json()
        httpx.delete(f"{self.url}/_sandbox/requests")
        return [f"{r['method']} {r['path'].rpartition('rest/')[2]}" for r in log]

    def table(self, product_id: str, *days: int, content: str = "1") -> None:
        table = self.tables.add(product_id)
        for day in days:
            table.release(datetime.combine(DAY + timedelta(days=day), time(8, 30), EASTERN), content if day < 0 else f"{day}")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    clock = Clock(tmp_path / "clock.json")
    tables = Tables(clock.now, tmp_path / "zips")
    with serve(with_faults(statcan_app(tables, clock))) as served:
        yield There(tmp_path, served.url, clock, tables)


def names(found: Noticed) -> list[str]:
    return [c.version_id.partition("statistical_")[2] for c in found.candidates]


def test_a_sweep_over_many_tables_asks_for_two_lists_and_for_no_table(there: There, monkeypatch) -> None:
    for n in range(40):
        there.table(f"{14100001 + n}", -40)
    there.at(0)
    there.refresh()
    there.asked()
    monkeypatch.setattr(sweeping, "FIRST_LOOKS", 25)
    assert len(there.sweep().candidates) == 25
    assert there.asked() == ["GET getChangedCubeList/2025-06-10", "GET getChangedCubeList/2025-06-11"]
    assert len(there.sweep().candidates) == 15
    assert there.sweep().candidates == ()


def test_only_tables_with_news_and_a_few_that_rest_are_looked_at(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(9):
        there.table(f"{14100001 + n}", -40, *([1] if n == 7 else []))
    there.at(0)
    there.refresh()
    there.sweep()
    monkeypatch.setattr(sweeping, "RESTING_LOOKS", 2)
    looked: list[str] = []
    detect = sweeping.detect
    monkeypatch.setattr(sweeping, "detect", lambda d, *rest: looked.append(d.id[-8:]) or detect(d, *rest))
    there.at(1)
    first = there.sweep()
    assert looked == ["14100001", "14100002", "14100008"]
    assert names(first) == ["14100008_2025-06-12_v1.0.0"]
    assert first.looked_at == 9
    looked.clear()
    there.sweep(cursor=first.cursor)
    assert looked == ["14100003", "14100004"]


def test_the_rotation_comes_around_and_renews_a_version_that_is_declared_anew(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        there.table(f"{14100001 + n}", -40)
    there.at(0)
    there.refresh()
    there.sweep()
    there.family.write_text(there.family.read_text().replace("version: 1.0.0", "version: 1.1.0"))
    monkeypatch.setattr(sweeping, "RESTING_LOOKS", 2)
    renewed, cursor = [], ""
    for _ in range(4):
        found = there.sweep(cursor=cursor)
        renewed += names(found)
        cursor = found.cursor
    assert sorted(renewed) == [f"{14100001 + n}_2025-05-02_v1.1.0" for n in range(5)]


def test_a_sweep_without_time_goes_on_where_it_stopped(there: There) -> None:
    for n in range(4):
        there.table(f"{14100001 + n}", -40)
    there.at(0)
    there.refresh()
    found, cursor = [], ""
    for _ in range(4):
        swept = there.sweep(cursor=cursor, budget_s=-1)
        found += names(swept)
        cursor = swept.cursor
    assert sorted(found) == [f"{14100001 + n}_2025-05-02_v1.0.0" for n in range(4)]


def test_after_days_offline_the_newest_release_is_noticed_and_names_those_it_replaced(there: There) -> None:
    there.table("14100001", -40, 1, 2, 5)
    there.at(0)
    there.refresh()
    there.sweep()
    there.at(6)
    there.refresh()  # before the first sweep: the list alone would know the newest only
    [found] = there.sweep().candidates
    assert found.version_id.endswith("_14100001_2025-06-16_v1.0.0")
    assert found.hint["superseded"] == "20250612T123000Z,20250613T123000Z"


def test_without_the_daily_list_sweeps_go_on_from_the_last_one(there: There) -> None:
    there.table("14100001", -40, 9)
    there.at(0)
    there.refresh()
    there.sweep()
    there.at(9)
    assert names(there.sweep()) == ["14100001_2025-06-20_v1.0.0"]
    there.at(45)
    found = there.sweep()
    assert found.blind
    assert "Run the job `refresh_families`" in found.failures[0]


def test_a_list_that_cannot_be_read_blinds_the_family_and_says_so_once(there: There) -> None:
    for n in range(20):
        there.table(f"{14100001 + n}", -40)
    there.at(0)
    there.refresh()
    there.fault(kind="status", path="/t1/wds/rest/getChangedCubeList", times=-1)
    found = there.sweep()
    assert (len(found.failures), found.blind, found.looked_at) == (1, True, 0)
    assert found.failures[0].startswith("statcan-tables: ")


def test_a_release_still_being_published_is_noticed_by_a_later_sweep(there: There) -> None:
    there.table("14100001", -40, 1)
    there.at(0)
    there.refresh()
    there.sweep()
    there.at(1)
    entry = '{"responseStatusCode": 6, "productId": 14100001, "releaseTime": "2025-06-12T08:30"}'
    path = "/t1/wds/rest/getChangedCubeList/2025-06-12"
    there.fault(kind="status", path=path, status=200, body=f'{{"status":"SUCCESS","object":[{entry}]}}')
    assert there.sweep().candidates == ()
    assert names(there.sweep()) == ["14100001_2025-06-12_v1.0.0"]


def test_a_new_process_reads_no_document_of_what_is_finished(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(6):
        there.table(f"{14100001 + n}", -40)
    there.at(0)
    there.refresh()
    there.sweep()
    there.archive()
    there.at(1)
    there.refresh()
    monkeypatch.setattr("d4c_platform.storage.ledger._MEMORY", {})
    read: list[str] = []
    whole = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda store, key: read.append(key) or whole(store, key))
    with there.platform() as platform:
        found = outstanding(platform)
    assert (found.missing, len(found.versions)) == ((), 6)
    assert [key for key in read if not key.startswith("families/")] == []


def test_what_the_budget_does_not_reach_is_told_and_reached_by_the_next_look(there: There, monkeypatch) -> None:
    there.table("14100001", -40)
    there.at(0)
    there.refresh()
    there.sweep()
    monkeypatch.setattr("d4c_platform.storage.ledger._MEMORY", {})
    with there.platform() as platform:
        starved = outstanding(platform, budget_s=-1)
        assert (starved.missing, starved.unread) == ((), 1)
        assert [m.late for m in outstanding(platform).missing] == [True]  # and it gives way to what is new


# -- revisions that are not announced -----------------------------------------------------------------------------------


@pytest.fixture
def archived(there: There) -> There:
    """One table, released on the day and archived."""
    there.table("14100001", -40, 0)
    there.at(0)
    there.refresh()
    there.sweep()
    [release] = there.archive()
    assert isinstance(release, Release)
    assert all(f.directory_sha256 for f in release.files if f.name.endswith(".zip"))
    return there


def test_a_revision_without_a_release_becomes_the_next_patch(archived: There) -> None:
    archived.tables["14100001"].revise(datetime.combine(DAY, time(15, 0), EASTERN), "corrected")
    [version] = archived.recheck_for(RECHECK_DAYS + 1, start=1)
    assert version.endswith("_14100001_2025-06-11_v1.0.1")
    [release] = archived.archive()
    assert isinstance(release, Release)
    assert (release.hint["signal"], release.hint["revision_of"]) == ("files", "20250611T123000Z")
    assert archived.sweep().candidates == ()
    assert archived.recheck_for(2 * RECHECK_DAYS, start=20) == []


def test_a_revision_that_is_taken_back_is_a_patch_of_its_own(archived: There) -> None:
    table, found = archived.tables["14100001"], []
    for n, content in enumerate(("other", "0", "other")):
        archived.at(20 * n + 1)
        table.revise(archived.clock.now(), content)
        found += archived.recheck_for(RECHECK_DAYS + 1, start=20 * n + 2)
        archived.archive()
    assert [v[-6:] for v in found] == ["v1.0.1", "v1.0.2", "v1.0.3"]


def test_zips_that_were_only_packed_anew_become_nothing_and_are_read_no_further_than_their_end(archived: There) -> None:
    archived.tables["14100001"].restamp(datetime.combine(DAY, time(15, 0), EASTERN))
    archived.asked()
    assert archived.recheck_for(RECHECK_DAYS, start=1) == []
    files = [f"/n1/tbl/csv/14100001-{language}.zip" for language in ("eng", "fra")]
    assert archived.asked() == [f"{method} {file}" for file in files for method in ("HEAD", "GET")]
    assert archived.recheck_for(RECHECK_DAYS, start=1 + RECHECK_DAYS) == []
    assert archived.asked() == [f"HEAD {file}" for file in files]  # what was found equal is sealed
    with archived.platform() as platform:
        assert platform.records.ledger().releases(next(iter(platform.datasets))) == 1


def test_files_of_a_newer_release_are_no_revision_of_the_older(archived: There) -> None:
    archived.at(1)
    archived.tables["14100001"].release(archived.clock.now(), "new")
    assert archived.recheck_for(RECHECK_DAYS + 1, start=2) == []
    archived.refresh()
    assert len(archived.sweep().candidates) == 1


def test_looks_are_spread_over_the_period_and_each_table_has_its_turn(there: There) -> None:
    ids = [f"{14100001 + n}" for n in range(14)]
    for product_id in ids:
        there.table(product_id, -40)
    there.at(0)
    there.refresh()
    there.sweep()
    there.archive()
    looks = []
    for day in range(2 * RECHECK_DAYS + 1):
        there.at(day, time(10, 15))
        looks.append(there.recheck().looked_at)
    first = [zlib.crc32(f"ca_statcan-2021A000011124_d4c-datapkg-statistical_{i}".encode()) % RECHECK_DAYS for i in ids]
    assert looks[0] == 0
    assert looks[1 : RECHECK_DAYS + 1] == looks[RECHECK_DAYS + 1 :] == [first.count(RECHECK_DAYS - n) for n in range(1, 8)]


def test_a_look_that_fails_is_tried_on_the_next_day_and_a_service_that_is_down_is_left_alone(there: There) -> None:
    for n in range(12):
        there.table(f"{14100001 + n}", -40)
    there.at(0)
    there.refresh()
    there.sweep()
    there.archive()
    there.recheck()
    there.at(RECHECK_DAYS, time(10, 15))
    there.fault(kind="status", path="/n1", times=5)
    found = there.recheck()
    assert (found.looked_at, len(found.failures)) == (0, 5)
    there.at(RECHECK_DAYS + 1, time(10, 15))
    again = there.recheck()
    assert again.looked_at == again.due >= found.due


def test_no_file_is_looked_at_while_files_are_rebuilt(archived: There) -> None:
    archived.at(1, time(3, 0))
    with pytest.raises(TransientFailure, match="rebuilt"):
        archived.recheck(lock=True)


def test_a_damaged_note_of_the_looks_says_what_to_do(archived: There) -> None:
    (archived.folder / "portal" / "rechecks.json").write_text("[]")
    archived.at(1, time(10, 15))
    with pytest.raises(PermanentFailure, match="Delete it"):
        archived.recheck()
