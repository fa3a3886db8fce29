"""A CKAN portal's package is released when a resource's file changes, whatever the portal's dates say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Release
from d4c_platform.sandbox.ckan import Catalogue, ckan_app, package, recorded_packages, resource
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources import ckan as module
from d4c_platform.sources.archive import changed_nothing
from d4c_platform.sources.ckan import DOCUMENT, Ckan
from d4c_platform.sources.source import SourceSettings, Superseded
from d4c_platform.storage.portal import Portal
from d4c_platform.web import Web
from d4c_platform_tests.places import recorded
from d4c_platform_tests.sources.conftest import Publisher, dataset_of, utc, zip_of
from d4c_platform_tests.sources.room import NOON, Room

PORTAL = "https://open.canada.ca/data/en"
HOST, REGISTRY = "https://open.canada.ca", "http://registry.open.canada.ca"
SHOW = "/data/en/api/3/action/package_show"
WARDS, LINES = "wards-2024", "lines-2024"
UPLOADED = f"dataset/wards/resource/{WARDS}/download/wards.zip"


class PublishedPortal(Publisher):
    """A portal with one package of shapefiles, whose files and words a test changes."""

    def __init__(self, url: str, catalogue: Catalogue, folder: Path) -> None:
        super().__init__(url)
        self.catalogue, self._folder, self._clock = catalogue, folder, utc("2025-06-11T12:30").timestamp()
        catalogue.add(package("wards", [resource(WARDS, f"{HOST}/{UPLOADED}", url_type="upload")]))

    @property
    def package(self) -> dict[str, Any]:
        return self.catalogue.packages["wards"]

    @property
    def resource(self) -> dict[str, Any]:
        return self.package["resources"][0]

    def upload(self, body: bytes, path: str = UPLOADED) -> None:
        """Put a file in place; it gets a new date and inode, so other validators than the one before."""
        self._clock += 3600
        file = self._folder / f"{len(list(self._folder.iterdir()))}"
        file.write_bytes(body)
        os.utime(file, (self._clock, self._clock))
        self.catalogue.files[path] = file

    def dump(self, body: bytes, resource_id: str = WARDS) -> None:
        """Serve the resource from the datastore: without validators."""
        file = self._folder / f"{resource_id}.csv"
        file.write_bytes(body)
        self.catalogue.dumps[resource_id] = file
        self.resource.update(url=f"{HOST}/datastore/dump/{resource_id}", format="CSV", datastore_active=True)


def wards(*resources: str, **more: Any) -> Dataset:
    source = {"kind": "ckan", "portal": PORTAL, "package": "wards", "resources": resources or (WARDS,)}
    return dataset_of(source, vintage={"rule": "release"}, name="wards", **({"transform": {"kind": "shapefile"}} | more))


def of_csv() -> Dataset:
    """A declaration of a plain file: the transform that reads it is of no matter here."""
    return wards().model_copy(update={"transform": wards().transform.model_copy(update={"kind": "csv"})})


@pytest.fixture
def ckan(tmp_path: Path) -> Iterator[PublishedPortal]:
    catalogue, folder = Catalogue(), tmp_path / "uploads"
    folder.mkdir()
    with serve(with_faults(ckan_app(catalogue))) as served:
        published = PublishedPortal(served.url, catalogue, folder)
        published.upload(zip_of(("wards.shp", b"1")))
        yield published


@pytest.fixture
def web(ckan: PublishedPortal) -> Iterator[Web]:
    origins = {HOST: ckan.url, REGISTRY: ckan.url}
    web = Web(origins=origins, per_host_per_s=10_000, attempts=2, first_wait_s=0.01, timeout_s=20)
    yield web
    web.close()


@pytest.fixture
def room(web: Web, portal: Portal, tmp_path: Path) -> Room:
    return Room(web, portal, tmp_path / "work")


# -- what a release is --------------------------------------------------------------------------------------------------


def test_a_package_is_archived_with_its_files_and_its_description(ckan: PublishedPortal, room: Room) -> None:
    release = room.released(wards())
    file, about = release.files
    assert (file.name, file.url) == (f"{WARDS}.zip", f"{HOST}/{UPLOADED}")
    assert room.portal.store.read(file.key) == zip_of(("wards.shp", b"1"))
    assert about.name == DOCUMENT
    assert json.loads(room.portal.store.read(about.key))["title_translated"]["fr"] == "Quartiers électoraux"
    assert release.released_at == utc("2025-06-11T13:30")
    assert release.hint["title.en"] == "Electoral wards"
    assert release.hint["title.fr"] == "Quartiers électoraux"
    assert release.hint["keywords.fr"] == "quartiers, élections"
    assert release.hint["metadata_modified"] == "2024-03-01T15:05:00.000000"
    assert release.hint[f"{WARDS}.url"] == f"{HOST}/{UPLOADED}"


def test_dates_that_move_without_data_are_no_release(ckan: PublishedPortal, room: Room) -> None:
    ckan.catalogue.restless = True
    room.released(wards())
    for minute in range(5):
        ckan.resource.update(last_modified=f"2025-06-2{minute}T00:00:00", hash=f"{minute}", size=minute)
        assert room.notices(wards(), utc(f"2025-07-01T12:0{minute}")) == []


def test_a_linked_file_that_is_replaced_is_a_release_though_the_portal_says_nothing(ckan: PublishedPortal, room: Room) -> None:
    first = room.released(wards())
    ckan.upload(zip_of(("wards.shp", b"2")))
    second = room.released(wards(), utc("2025-07-02T12:00"))
    assert not changed_nothing(second, first)
    assert second.version_id != first.version_id
    assert room.notices(wards(), utc("2025-07-03T12:00")) == []


def test_a_restamped_zip_has_the_same_content(ckan: PublishedPortal, room: Room) -> None:
    first = room.released(wards())
    ckan.upload(zip_of(("wards.shp", b"1"), stamp=(2025, 6, 30, 0, 0, 0)))
    second = room.released(wards(), utc("2025-07-02T12:00"))
    assert second.files[0].sha256 != first.files[0].sha256
    assert changed_nothing(second, first)


def test_the_description_does_not_count_when_releases_are_compared(ckan: PublishedPortal, room: Room) -> None:
    first = room.released(wards())
    ckan.package["title_translated"]["en"] = "Wards, corrected title"
    ckan.upload(zip_of(("wards.shp", b"1")))
    second = room.released(wards(), utc("2025-07-02T12:00"))
    assert second.hint["title.en"] == "Wards, corrected title"
    assert changed_nothing(second, first)


def test_each_resource_counts_and_has_a_name_of_its_own(ckan: PublishedPortal, room: Room) -> None:
    ckan.package["resources"].append(resource(LINES, f"{HOST}/other/wards.zip"))
    ckan.upload(zip_of(("lines.shp", b"1")), "other/wards.zip")
    both = wards(WARDS, LINES)
    first = room.released(both)
    assert [f.name for f in first.files] == [f"{WARDS}.zip", f"{LINES}.zip", DOCUMENT]
    ckan.upload(zip_of(("lines.shp", b"2")), "other/wards.zip")
    second = room.released(both, utc("2025-07-02T12:00"))
    assert second.files[0].sha256 == first.files[0].sha256
    assert not changed_nothing(second, first)


def test_a_resource_that_is_declared_later_makes_a_release(ckan: PublishedPortal, room: Room) -> None:
    room.released(wards())
    ckan.package["resources"].append(resource(LINES, f"{HOST}/other/lines.zip"))
    ckan.upload(zip_of(("lines.shp", b"1")), "other/lines.zip")
    assert len(room.notices(wards(WARDS, LINES))) == 1


# -- files without validators -------------------------------------------------------------------------------------------


def test_a_datastore_dump_is_watched_by_its_content(ckan: PublishedPortal, room: Room) -> None:
    ckan.dump(b"_id,name\r\n1,Centre\r\n")
    ckan.catalogue.restless = True
    first = room.released(of_csv())
    assert (first.files[0].name, first.key[:8]) == (f"{WARDS}.csv", "undated-")
    ckan.resource["last_modified"] = "2025-06-20T10:00:00.000001"
    assert room.notices(of_csv()) == []
    ckan.dump(b"_id,name\r\n1,Centre-ville\r\n")
    second = room.released(of_csv(), utc("2025-07-02T12:00"))
    assert second.released_at == utc("2025-06-20T10:00:00.000001")  # UTC, though CKAN does not say so
    assert not changed_nothing(second, first)


@pytest.mark.parametrize("said", [{"last_modified": "2025-06-20T10:00:00"}, {"hash": "b"}, {"size": 7}])
def test_of_a_large_dump_the_portals_word_starts_a_look(
    ckan: PublishedPortal, room: Room, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    monkeypatch.setattr(Ckan, "HASHED_BYTES", 8)
    ckan.dump(b"_id,name\r\n1,Centre\r\n")
    ckan.resource.update(last_modified="2025-06-19T10:00:00", hash="a", size=5)
    first = room.released(of_csv())
    assert room.notices(of_csv()) == []
    ckan.dump(b"_id,name\r\n1,Centre-ville\r\n")  # further on than is read
    assert room.notices(of_csv()) == []
    ckan.resource.update(said)
    assert not changed_nothing(room.released(of_csv(), utc("2025-07-02T12:00")), first)


def test_of_a_large_dump_of_which_nothing_is_said_the_packages_date_starts_a_look(
    ckan: PublishedPortal, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ckan, "HASHED_BYTES", 8)
    ckan.dump(b"_id,name\r\n1,Centre\r\n")
    first = room.released(of_csv())
    assert room.notices(of_csv()) == []
    ckan.package["metadata_modified"] = "2025-06-20T10:00:00"
    second = room.released(of_csv(), utc("2025-07-02T12:00"))
    assert changed_nothing(second, first)


def test_a_dump_that_changes_before_it_is_fetched_is_not_archived_under_the_old_release(
    ckan: PublishedPortal, room: Room
) -> None:
    ckan.dump(b"_id,name\r\n1,Centre\r\n")
    (candidate,) = room.notices(of_csv())
    ckan.dump(b"_id,name\r\n1,Centre-ville\r\n")
    with pytest.raises(TransientFailure, match="changed between noticing and fetching"):
        room.archive(of_csv(), candidate)
    room.notices(of_csv(), utc("2025-07-01T12:05"))
    with pytest.raises(Superseded):
        room.archive(of_csv(), candidate)


# -- what moves and vanishes --------------------------------------------------------------------------------------------


def test_a_resource_that_moves_is_followed_and_the_same_file_is_no_release(ckan: PublishedPortal, room: Room) -> None:
    first = room.released(wards())
    ckan.catalogue.files["new/place.zip"] = ckan.catalogue.files.pop(UPLOADED)
    ckan.resource["url"] = f"{HOST}/new/place.zip"
    assert room.notices(wards()) == []
    ckan.upload(zip_of(("wards.shp", b"2")), "new/place.zip")
    second = room.released(wards(), utc("2025-07-02T12:00"))
    assert second.files[0].url == f"{HOST}/new/place.zip"
    assert second.files[0].name == first.files[0].name


def test_a_resource_that_moves_before_it_is_fetched_says_so(ckan: PublishedPortal, room: Room) -> None:
    (candidate,) = room.notices(wards())
    ckan.upload(zip_of(("wards.shp", b"22")), "new/place.zip")
    ckan.resource["url"] = f"{HOST}/new/place.zip"
    room.notices(wards(), utc("2025-07-01T12:05"))
    with pytest.raises(Superseded, match=rf"new/place\.zip: the resource has moved from {HOST}/{UPLOADED}"):
        room.archive(wards(), candidate)


def test_a_large_dump_that_moves_before_it_is_fetched_is_not_taken_for_the_noticed_one(
    ckan: PublishedPortal, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ckan, "HASHED_BYTES", 8)
    ckan.dump(b"_id,name\r\n1,Centre\r\n")
    (candidate,) = room.notices(of_csv())
    ckan.catalogue.dumps["other"] = ckan.catalogue.dumps[WARDS]
    ckan.resource["url"] = f"{HOST}/datastore/dump/other"
    with pytest.raises(TransientFailure, match="looked at again"):
        room.archive(of_csv(), candidate)


def test_a_resource_that_vanished_is_told_with_those_that_are_there(ckan: PublishedPortal, room: Room) -> None:
    room.released(wards())
    ckan.resource["state"] = "deleted"
    ckan.package["resources"].append(resource(LINES, f"{HOST}/other/lines.zip"))
    with pytest.raises(PermanentFailure) as failure:
        room.notices(wards())
    assert f"no longer has the resource {WARDS}" in str(failure.value)
    assert f"{LINES} (SHP, Resource {LINES})" in str(failure.value)


def test_a_deleted_package_is_told_and_what_is_published_stays(ckan: PublishedPortal, room: Room) -> None:
    ckan.package["state"] = "deleted"
    with pytest.raises(PermanentFailure, match=r"the package was deleted from the portal.*What is published stays"):
        room.notices(wards())


ASTRAY = {
    "http://169.254.169.254/latest/meta-data": "private network",
    "http://localhost:5432/": "private network",
    "https://10.0.0.8/wards.zip": "private network",
    "ftp://files.example.ca/wards.zip": "no web address",
    "": "no web address",
    None: "no web address",
}


def test_an_address_that_a_portal_has_no_business_to_give_is_refused(ckan: PublishedPortal, room: Room) -> None:
    (candidate,) = room.notices(wards())
    for url, why in ASTRAY.items():
        ckan.resource["url"] = url
        with pytest.raises(PermanentFailure, match=why):
            room.notices(wards())
        with pytest.raises(PermanentFailure, match=why):
            room.archive(wards(), candidate)


# -- the portal's failures ----------------------------------------------------------------------------------------------


def failure(kind: str, **more: Any) -> str:
    return json.dumps({"help": "https://…", "success": False, "error": {"__type": kind, **more}})


@pytest.mark.parametrize(
    ("real", "body", "why"),
    [
        (404, failure("Not Found Error", message="Not found"), "the portal has no such package"),
        (403, failure("Authorization Error", message="Access denied"), r"not public \(Access denied\)"),
        (409, failure("Validation Error", name_or_id=["Missing value"]), "name_or_id: Missing value"),
    ],
)
def test_a_failure_is_a_sentence_whatever_status_it_comes_with(
    ckan: PublishedPortal, room: Room, real: int, body: str, why: str
) -> None:
    for status in (real, 200):
        ckan.fault(kind="status", path=SHOW, status=status, body=body)
        with pytest.raises(PermanentFailure, match=why) as told:
            room.notices(wards())
        assert told.value.remedy


def test_the_portals_own_refusals_are_understood(ckan: PublishedPortal, room: Room) -> None:
    ckan.catalogue.add(package("secret", []))
    ckan.catalogue.private.add("secret")
    for name, why in (("gone", "no such package"), ("secret", "not public")):
        dataset = wards().model_copy(update={"source": wards().source.model_copy(update={"package": name})})
        with pytest.raises(PermanentFailure, match=why):
            room.notices(dataset)


@pytest.mark.parametrize(
    ("fault", "kind", "why"),
    [
        ({"kind": "status", "status": 200, "body": failure("Search Error", message="Solr")}, TransientFailure,
         "Search Error, Solr"),
        ({"kind": "status", "status": 200, "body": '{"success": false}'}, TransientFailure, "success is false"),
        ({"kind": "html"}, TransientFailure, "with text/html.* instead of JSON"),
        ({"kind": "status", "status": 503, "times": -1}, TransientFailure, "answered 503"),
        ({"kind": "html", "status": 404}, PermanentFailure, "no CKAN portal answers"),
        ({"kind": "html", "status": 403}, PermanentFailure, "answered 403"),
        ({"kind": "status", "status": 200, "body": '{"success": true, "result": {"id": "wards"}}'}, PermanentFailure,
         "no package"),
        ({"kind": "status", "status": 404, "body": '{"help": "' + "long " * 600 + '", "error": {"__type": "Not Found Error"}}'},
         PermanentFailure, "answered 404"),
        ({"kind": "status", "status": 404, "body": '{"error": {"__type": "Not Found Error"}, "help": "' + "long " * 600 + '"}'},
         PermanentFailure, "no such package"),
    ],
)  # fmt: skip
def test_what_can_pass_is_told_apart_from_what_cannot(
    ckan: PublishedPortal, room: Room, fault: dict[str, Any], kind: type[D4CError], why: str
) -> None:
    ckan.fault(path=SHOW, **fault)
    with pytest.raises(kind, match=why):
        room.notices(wards())


def test_a_page_in_the_files_place_is_no_release(ckan: PublishedPortal, room: Room) -> None:
    ckan.fault(kind="html", path=f"/{UPLOADED}", times=-1)
    with pytest.raises(PermanentFailure, match="an HTML page is served where a zip is expected"):
        room.notices(wards())


# -- politeness ---------------------------------------------------------------------------------------------------------


def test_a_quiet_package_is_asked_once_an_hour(ckan: PublishedPortal, room: Room) -> None:
    module.SHARED.forget()
    settings = SourceSettings(remember=True)
    seen = [room.released(wards())]
    candidates = list(room.portal.records.candidates(seen[0].dataset_id))
    asked = len(ckan.asked("GET", SHOW))
    for now in ("2025-07-01T13:00", "2025-07-01T13:05", "2025-07-01T13:59"):
        assert Ckan.open(room.web, settings).detect(wards(), None, candidates, utc(now)) == []
    assert len(ckan.asked("GET", SHOW)) == asked + 1
    ckan.upload(zip_of(("wards.shp", b"2")))
    asked = len(ckan.asked("GET", SHOW))
    for _ in range(2):  # what is new is asked for each time, until it is in the ledger
        assert len(Ckan.open(room.web, settings).detect(wards(), None, candidates, utc("2025-07-01T14:01"))) == 1
    assert len(ckan.asked("GET", SHOW)) == asked + 2
    module.SHARED.forget()


# -- the real thing -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real(web_to: Callable[[str, str], Web], tmp_path: Path) -> Iterator[tuple[Web, Catalogue, Path]]:
    packages = recorded_packages(recorded("ckan", "open_canada_packages.jsonl"))
    catalogue = Catalogue()
    catalogue.add(*packages)
    file = tmp_path / "daily.pdf"
    file.write_bytes(b"%PDF-1.4 The Daily")
    for shown in packages:
        for linked in shown["resources"]:
            catalogue.files[linked["url"].removeprefix(f"{REGISTRY}/")] = file
    with serve(with_faults(ckan_app(catalogue))) as served:
        web = Web(origins={HOST: served.url, REGISTRY: served.url}, per_host_per_s=10_000, attempts=1)
        yield web, catalogue, file
        web.close()


def test_the_recorded_packages_pass_through_the_real_client(
    real: tuple[Web, Catalogue, Path], portal: Portal, tmp_path: Path
) -> None:
    web, catalogue, file = real
    room = Room(web, portal, tmp_path / "work")
    releases: dict[str, Release] = {}
    for number, (package_id, shown) in enumerate(catalogue.packages.items()):
        ids = tuple(linked["id"] for linked in shown["resources"])
        source = {"kind": "ckan", "portal": PORTAL, "package": package_id, "resources": ids}
        dataset = dataset_of(source, vintage={"rule": "release"}, name=f"daily{number}")
        dataset = dataset.model_copy(update={"transform": dataset.transform.model_copy(update={"kind": "csv"})})
        releases[package_id] = room.released(dataset)
        assert room.notices(dataset, NOON) == []
        catalogue.restless = True
        assert room.notices(dataset, NOON) == []
        catalogue.restless = False
    assert len(releases) == 4
    for package_id, release in releases.items():
        assert [f.name for f in release.files[:-1]] == [f"{r['id']}.pdf" for r in catalogue.packages[package_id]["resources"]]
        assert release.hint["title.en"] == catalogue.packages[package_id]["title_translated"]["en"]
        assert release.hint["keywords.fr"] == "statcan"
        assert portal.store.read(release.files[0].key) == file.read_bytes()
