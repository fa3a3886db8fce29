"""The list of all tables is read with few requests, and what a table says of itself counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.listing import Listing
from d4c_platform.sandbox.clock import Clock, instant
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import statcan_app
from d4c_platform.sandbox.tables import Tables
from d4c_platform.sources.cube_list import read_listing
from d4c_platform.sources.wds import StatCan
from d4c_platform_tests.sources.conftest import RECORDED, STATCAN, Publisher, utc

WDS = "/t1/wds/rest"
AREAS = ("2021A000011124", "2021A000235")
NOW = utc("2025-06-11T13:00")


class Shelf(Publisher):
    def __init__(self, url: str, tables: Tables, clock: Clock) -> None:
        super().__init__(url)
        self.tables, self._clock = tables, clock

    def at(self, eastern: str) -> datetime:
        self._clock.set(instant(eastern))
        return instant(eastern)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    clock = Clock(tmp_path / "clock.json")
    tables = Tables(clock.now)
    with serve(with_faults(statcan_app(tables, clock))) as served:
        there = Shelf(served.url, tables, clock)
        there.at("2025-06-11T09:00")
        yield there


@pytest.fixture
def statcan(shelf: Shelf, web_to) -> StatCan:
    return StatCan(web_to(STATCAN, shelf.url))


def read(statcan: StatCan, before: Listing | None = None) -> Listing:
    return read_listing(statcan, before, AREAS, NOW)


def test_the_first_reading_asks_every_table_fifty_at_once(shelf: Shelf, statcan: StatCan) -> None:
    for n in range(120):
        shelf.tables.add(f"{14100001 + n}", geography="35" if n == 7 else "11124").release(instant("2024-12-11T08:30"), "1")
    listing = read(statcan)
    assert len(listing.tables) == 120
    assert shelf.asked("POST") == [f"POST {WDS}/getCubeMetadata"] * 3
    table = listing.tables["14100008"]
    assert (table.released, table.listed, table.area) == ("20241211T133000Z", "2024-12-11T13:30:00Z", "2021A000235")
    assert listing.tables["14100001"].area == "2021A000011124"
    assert (table.title_en[:7], table.title_fr[:9], table.frequency) == ("Persons", "Personnes", "6")
    assert listing.words["subject.14"] == ("Labour", "Travail")


def test_later_only_tables_of_which_the_list_says_something_new_are_asked(shelf: Shelf, statcan: StatCan) -> None:
    for n in range(60):
        shelf.tables.add(f"{14100001 + n}").release(instant("2025-05-12T08:30"), "1")
    first = read(statcan)
    shelf.tables["14100003"].release(instant("2025-06-11T08:30"), "2")
    asked = len(shelf.asked("POST"))
    second = read(statcan, first)
    assert len(shelf.asked("POST")) == asked + 1
    assert second.tables["14100003"].released == "20250611T123000Z"
    assert {p for p, t in second.tables.items() if t != first.tables[p]} == {"14100003"}
    assert second.before == first.listed_at


def test_where_the_list_and_the_table_disagree_the_table_counts_and_is_not_asked_every_day(
    shelf: Shelf, statcan: StatCan
) -> None:
    shelf.tables.add("10100007").release(instant("2025-05-12T08:30"), "1")
    cube = {"productId": 10100007, "cubeTitleEn": "A", "cubeTitleFr": "B", "releaseTime": "2025-05-30T12:30", "archived": "2"}

    def listed() -> None:
        shelf.fault(kind="status", path=f"{WDS}/getAllCubesListLite", status=200, body=json.dumps([cube]))

    listed()
    first = read(statcan)
    assert (first.tables["10100007"].released, first.tables["10100007"].listed) == ("20250512T123000Z", "2025-05-30T12:30")
    listed()
    read(statcan, first)
    assert len(shelf.asked("POST")) == 1


def test_a_table_being_published_keeps_what_is_known_and_is_asked_again(shelf: Shelf, statcan: StatCan) -> None:
    shelf.tables.add("14100001").release(instant("2025-05-12T08:30"), "1")
    shelf.tables.add("14100002").release(instant("2025-05-12T08:30"), "1")
    first = read(statcan)
    for product_id in ("14100001", "14100003"):
        table = shelf.tables["14100001"] if product_id == "14100001" else shelf.tables.add(product_id)
        table.release(instant("2025-06-11T08:30"), "2")
    locked = [{"status": "FAILED", "object": {"responseStatusCode": 6, "productId": int(p)}} for p in (14100001, 14100003)]
    shelf.fault(kind="status", method="POST", path=WDS, status=200, body=json.dumps(locked))
    second = read(statcan, first)
    assert second.tables["14100001"] == first.tables["14100001"]
    assert second.left_out == {"14100003": "is being published just now (code 6)"}
    third = read(statcan, second)
    assert (third.tables["14100001"].released, third.left_out) == ("20250611T123000Z", {})
    assert third.tables["14100003"].released == "20250611T123000Z"


def test_a_title_is_corrected_without_a_release_and_a_table_that_left_the_list_stays(shelf: Shelf, statcan: StatCan) -> None:
    for product_id in ("14100001", "14100002"):
        shelf.tables.add(product_id).release(instant("2025-05-12T08:30"), "1")
    first = read(statcan)
    cube = {"productId": 14100001, "cubeTitleEn": "New", "cubeTitleFr": "Nouveau", "archived": "1"}
    cube["releaseTime"] = first.tables["14100001"].listed
    shelf.fault(kind="status", path=f"{WDS}/getAllCubesListLite", status=200, body=json.dumps([cube]))
    second = read(statcan, first)
    assert (second.tables["14100001"].title_fr, second.tables["14100001"].archived) == ("Nouveau", True)
    assert second.tables["14100002"] == first.tables["14100002"]


def test_an_entry_without_a_french_title_is_left_out_with_the_reason(shelf: Shelf, statcan: StatCan) -> None:
    shelf.tables.add("14100001").release(instant("2025-05-12T08:30"), "1")
    cubes = [
        {"productId": 14100001, "cubeTitleEn": "A", "cubeTitleFr": "B", "releaseTime": "x"},
        {"productId": 14100002, "cubeTitleEn": "A", "cubeTitleFr": " ", "releaseTime": "x"},
        {"productId": 12, "cubeTitleEn": "A", "cubeTitleFr": "B", "releaseTime": "x"},
    ]
    shelf.fault(kind="status", path=f"{WDS}/getAllCubesListLite", status=200, body=json.dumps(cubes))
    left_out = read(statcan).left_out
    assert left_out == {"14100002": "it has no title in one of the languages", "12": "its product id '12' is not one"}


def test_a_list_that_is_an_error_or_empty_is_never_taken_for_a_list(shelf: Shelf, statcan: StatCan) -> None:
    with pytest.raises(TransientFailure, match="no table could be read"):
        read(statcan)
    shelf.fault(kind="status", path=f"{WDS}/getAllCubesListLite", status=200, body='{"status": "FAILED"}')
    with pytest.raises(PermanentFailure, match="not a bare list"):
        read(statcan)


def test_an_answer_too_long_is_asked_for_in_halves(shelf: Shelf, statcan: StatCan, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(8):
        shelf.tables.add(f"{14100001 + n}").release(instant("2025-05-12T08:30"), "1")
    monkeypatch.setattr("d4c_platform.web.LIMIT_BYTES", 3_000)
    monkeypatch.setattr(
        statcan._web.request.__func__, "__kwdefaults__", {**statcan._web.request.__kwdefaults__, "limit_bytes": 3_000}
    )
    assert len(statcan.metadata_of([f"{14100001 + n}" for n in range(8)])) == 8
    assert len(shelf.asked("POST")) > 2


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded answers at {RECORDED}")
def test_the_recorded_list_is_read(shelf: Shelf, statcan: StatCan) -> None:
    recorded = (RECORDED / "statcan" / "wds" / "getAllCubesListLite.json").read_text()
    cubes = json.loads(recorded)
    for cube in cubes:
        shelf.tables.add(str(cube["productId"])).release(instant("2024-04-17T08:30"), "1")
    shelf.fault(kind="status", path=f"{WDS}/getAllCubesListLite", status=200, body=recorded)
    listing = read(statcan)
    assert set(listing.tables) == {str(cube["productId"]) for cube in cubes}
    assert listing.tables["10100001"].archived
    assert not listing.tables["10100002"].archived
