"""An Opendatasoft dataset is released when its data was processed, and is archived only when all of it arrived."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Release
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.opendatasoft import OdsDataset, OdsPortal, opendatasoft_app
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources import opendatasoft as module
from d4c_platform.sources.archive import changed_nothing
from d4c_platform.sources.opendatasoft import Opendatasoft
from d4c_platform.sources.source import SourceSettings, Superseded
from d4c_platform.storage.portal import Portal
from d4c_platform.web import LONGEST_WAIT_S, HttpTrouble, Web
from d4c_platform_tests.sources.conftest import Publisher, dataset_of, utc
from d4c_platform_tests.sources.room import NOON, Room

PORTAL = "https://opendata.vancouver.ca"
AREAS = "local-area-boundary"
ABOUT = f"/api/explore/v2.1/catalog/datasets/{AREAS}"
SQUARE = {"type": "Polygon", "coordinates": [[[-123.1, 49.2], [-123.0, 49.2], [-123.0, 49.3], [-123.1, 49.2]]]}


def records(number: int = 22) -> list[dict[str, Any]]:
    return [{"mapid": f"M{n}", "name": f'Quartier {n}, "là"', "geo_shape": SQUARE} for n in range(number)]


def areas(form: str = "geojson", **more: Any) -> Dataset:
    source = {"kind": "opendatasoft", "portal": PORTAL, "dataset": AREAS, "format": form}
    dataset = dataset_of(source, vintage={"rule": "release"}, name="areas", **more)
    return dataset.model_copy(update={"transform": dataset.transform.model_copy(update={"kind": form})})


class City(Publisher):
    """Vancouver, with one dataset that a test changes."""

    def __init__(self, url: str, portal: OdsPortal) -> None:
        super().__init__(url)
        self.portal = portal
        self.areas = portal.add(OdsDataset(AREAS, records()))

    def process(self, day: int, *changed: dict[str, Any]) -> None:
        """Process the data again, with these records in place of the first ones."""
        self.areas.data_processed = f"2025-06-{day:02}T06:02:03.456000+00:00"
        self.areas.records[: len(changed)] = changed


@pytest.fixture
def city() -> Iterator[City]:
    portal = OdsPortal()
    with serve(with_faults(opendatasoft_app(portal))) as served:
        yield City(served.url, portal)


@pytest.fixture
def room(city: City, web_to: Callable[[str, str], Web], portal: Portal, tmp_path: Path) -> Room:
    return Room(web_to(PORTAL, city.url), portal, tmp_path / "work")


@pytest.mark.parametrize("form", ["geojson", "csv", "parquet"])
def test_data_that_was_processed_without_a_change_has_the_same_content(city: City, room: Room, form: str) -> None:
    releases: list[Release] = []
    for day in (12, 13, 14):
        city.process(day, *([] if day < 14 else [records()[0] | {"name": "Downtown"}]))
        releases.append(room.released(areas(form), utc(f"2025-06-{day}T12:00")))
    first, again, changed = releases
    assert first.files[0].name == f"{AREAS}.{form}"
    assert first.files[0].sha256 != again.files[0].sha256  # in another order
    assert changed_nothing(again, first)
    assert not changed_nothing(changed, again)


def test_an_export_is_archived_as_received_with_the_datasets_description(city: City, room: Room) -> None:
    release = room.released(areas())
    export, about = release.files
    assert export.url == f"{PORTAL}{ABOUT}/exports/geojson?timezone=UTC"
    features = json.loads(room.portal.store.read(export.key))["features"]
    assert sorted(f["properties"]["mapid"] for f in features) == sorted(r["mapid"] for r in records())
    assert (about.name, about.url) == (f"{AREAS}.dataset.json", f"{PORTAL}{ABOUT}")
    assert json.loads(room.portal.store.read(about.key))["metas"]["default"]["records_count"] == 22
    assert release.key.startswith("20250611T060203Z-")
    assert (release.hint["title"], release.hint["records_count"]) == ("Local area boundary", "22")


def test_a_csv_is_asked_for_with_commas_whatever_the_portals_default_is(city: City, room: Room) -> None:
    release = room.released(areas("csv"))
    body = room.portal.store.read(release.files[0].key).decode("utf-8-sig")
    assert body.splitlines()[0] == "mapid,name,geo_shape"


def test_a_corrected_description_is_no_release(city: City, room: Room) -> None:
    room.released(areas())
    city.areas.modified, city.areas.title = "2025-06-30T00:00:00+00:00", "Local areas"
    assert room.notices(areas()) == []


def test_a_count_that_moves_alone_is_a_release(city: City, room: Room) -> None:
    room.released(areas())
    city.areas.records.append({"mapid": "M99", "name": "New", "geo_shape": None})
    assert len(room.notices(areas())) == 1


def test_without_a_time_of_processing_the_time_of_change_counts(city: City, room: Room) -> None:
    city.areas.data_processed = ""
    assert room.released(areas()).released_at == utc("2025-06-11T06:02:03")
    city.areas.modified = "2025-06-12T06:02:03"
    (second,) = room.notices(areas())
    assert second.released_at == utc("2025-06-12T06:02:03")  # UTC, when no zone is said


@pytest.mark.parametrize("form", ["geojson", "csv", "parquet"])
def test_an_export_with_fewer_records_is_tried_again_and_never_kept(city: City, room: Room, form: str) -> None:
    (candidate,) = room.notices(areas(form))
    for name, value in (("cut_after", 20), ("cut_after", 0), ("shows", 21), ("public", False)):
        usual = getattr(city.areas, name)
        setattr(city.areas, name, value)
        with pytest.raises(TransientFailure, match=r"where the portal says there are 22|not whole") as failure:
            room.archive(areas(form), candidate)
        assert candidate.version_id in str(failure.value)
        assert [info.key for info in room.portal.store.list("raw/")] == []
        setattr(city.areas, name, usual)
    assert len(room.archive(areas(form), candidate).files) == 2


def test_a_connection_that_breaks_is_tried_again_at_once(city: City, room: Room) -> None:
    (candidate,) = room.notices(areas())
    city.fault(kind="truncate", path=f"{ABOUT}/exports", after_bytes=100, times=2)
    assert len(room.archive(areas(), candidate).files) == 2


def test_data_that_is_processed_before_it_is_fetched_is_the_next_release(city: City, room: Room) -> None:
    (candidate,) = room.notices(areas())
    city.process(12)
    with pytest.raises(TransientFailure, match="looked at again"):
        room.archive(areas(), candidate)
    assert city.asked("GET", f"{ABOUT}/exports") == []  # an export takes long, and is counted
    (second,) = room.notices(areas(), utc("2025-07-01T12:05"))
    with pytest.raises(Superseded, match="processed again"):
        room.archive(areas(), candidate)
    assert len(room.archive(areas(), second).files) == 2


@pytest.mark.parametrize("lost", [0, 3])
def test_data_that_is_processed_while_it_is_exported_is_not_kept(
    city: City, room: Room, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    (candidate,) = room.notices(areas())
    content_of = module.content_of

    def processed_meanwhile(path: Path, form: str) -> tuple[int, str]:
        city.process(12)
        count, sha256 = content_of(path, form)
        return count - lost, sha256

    monkeypatch.setattr(module, "content_of", processed_meanwhile)
    with pytest.raises(TransientFailure, match="looked at again"):
        room.archive(areas(), candidate)
    assert [info.key for info in room.portal.store.list("raw/")] == []


# -- the portal's failures ----------------------------------------------------------------------------------------------


def test_a_quota_that_is_used_up_is_left_for_the_time_of_its_reset(city: City, room: Room) -> None:
    city.portal.calls_left, city.portal.resets_at = 0, datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(HttpTrouble, match="10002") as trouble:
        room.notices(areas())
    assert LONGEST_WAIT_S < (trouble.value.retry_after_s or 0) <= 86_400
    assert city.portal.calls == 1  # not asked again before: that would only be counted


def test_a_short_wait_is_waited_out(city: City, room: Room) -> None:
    city.fault(kind="status", path=ABOUT, status=429, headers={"Retry-After": "0"})
    assert len(room.notices(areas())) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "why"),
    [
        ({"kind": "status", "status": 404, "body": "{}"}, PermanentFailure, "the portal has no such dataset"),
        ({"kind": "status", "status": 403, "body": "{}"}, PermanentFailure, "not open to everybody"),
        ({"kind": "status", "status": 200, "body": "[]"}, PermanentFailure, "describes no dataset"),
        ({"kind": "status", "status": 200, "body": '{"metas": {"default": {"modified": "x"}}}'}, PermanentFailure,
         "does not say"),
        ({"kind": "status", "status": 200, "body": '{"has_records": false, "metas": {"default": {}}}'}, PermanentFailure,
         "only attachments"),
        ({"kind": "html"}, TransientFailure, "instead of JSON"),
        ({"kind": "status", "status": 503, "times": -1}, TransientFailure, "answered 503"),
    ],
)  # fmt: skip
def test_what_can_pass_is_told_apart_from_what_cannot(
    city: City, room: Room, fault: dict[str, Any], kind: type[D4CError], why: str
) -> None:
    city.fault(path=ABOUT, **fault)
    with pytest.raises(kind, match=why) as failure:
        room.notices(areas())
    assert failure.value.remedy


def test_a_page_instead_of_the_export_is_refused(city: City, room: Room) -> None:
    (candidate,) = room.notices(areas())
    city.fault(kind="html", path=f"{ABOUT}/exports")
    with pytest.raises(PermanentFailure, match="an HTML page arrived"):
        room.archive(areas(), candidate)


def test_a_quiet_dataset_is_asked_once_an_hour(city: City, room: Room) -> None:
    module.SHARED.forget()
    settings = SourceSettings(remember=True)
    room.released(areas())
    candidates = list(room.portal.records.candidates(areas().id))
    calls = city.portal.calls
    for minute in (0, 5, 59):
        assert Opendatasoft.open(room.web, settings).detect(areas(), None, candidates, utc(f"2025-07-01T13:{minute:02}")) == []
    assert city.portal.calls == calls + 1
    city.process(30)
    for _ in range(2):  # what is new is asked for each time, until it is in the ledger
        assert len(Opendatasoft.open(room.web, settings).detect(areas(), None, candidates, utc("2025-07-01T14:01"))) == 1
    assert city.portal.calls == calls + 3
    module.SHARED.forget()


def test_a_killed_archive_goes_on_when_the_export_comes_in_another_order(city: City, room: Room) -> None:
    (candidate,) = room.notices(areas(), NOON)
    first = room.archive(areas(), candidate)
    store = room.portal.store
    left = store.read(first.files[0].key)
    for info in list(store.list("")):
        if info.key.endswith(("release.json", ".provenance.json")):
            store.delete(info.key)
    again = room.archive(areas(), candidate)
    assert store.read(first.files[0].key) == left
    assert again.files[0].key != first.files[0].key  # other bytes of the same content lie beside those that were left
    assert again.content_sha256 == first.content_sha256
