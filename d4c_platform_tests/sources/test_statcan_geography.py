"""Statistics Canada's geography files: their server's dates say when a zip was made, and their members what is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.sources import StatCanGeographySource
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.files import files_app
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources import statcan_geography as module
from d4c_platform.sources.archive import changed_nothing
from d4c_platform.sources.source import SourceSettings
from d4c_platform.sources.statcan_geography import StatCanGeography
from d4c_platform.storage.portal import Portal
from d4c_platform.web import Web
from d4c_platform_tests.places import recorded
from d4c_platform_tests.sources.conftest import Publisher, dataset_of, utc, zip_of
from d4c_platform_tests.sources.room import NOON, Room

HOST = "https://www12.statcan.gc.ca"
FOLDER = "census-recensement/2021/geo/sip-pis/boundary-limites/files-fichiers"
NAME = "lpr_000a21a_e.zip"
MEMBERS = (("lpr_000a21a_e.shp", b"1"), ("lpr_000a21a_e.dbf", b"2"))


def boundaries(name: str = NAME, host: str = HOST) -> Dataset:
    source = {"kind": "statcan-geography", "url": f"{host}/{FOLDER}/{name}"}
    vintage = {"rule": "fixed", "date": "2021"}
    return dataset_of(source, vintage=vintage, name="provinces_2021", transform={"kind": "shapefile"})


class FileServer(Publisher):
    def __init__(self, url: str, offered: dict[str, Path], folder: Path) -> None:
        super().__init__(url)
        self.offered, self._folder, self._clock = offered, folder, utc("2021-11-17T13:30").timestamp()

    def make(self, body: bytes, name: str = NAME) -> None:
        """Put a zip in place; it is a file of its own with the date of its making."""
        self._clock += 86_400
        file = self._folder / f"{len(list(self._folder.iterdir()))}.zip"
        file.write_bytes(body)
        os.utime(file, (self._clock, self._clock))
        self.offered[f"{FOLDER}/{name}"] = file


@pytest.fixture
def www12(tmp_path: Path) -> Iterator[FileServer]:
    offered: dict[str, Path] = {}
    (tmp_path / "made").mkdir()
    with serve(with_faults(files_app(lambda: offered))) as served:
        server = FileServer(served.url, offered, tmp_path / "made")
        server.make(zip_of(*MEMBERS))
        yield server


@pytest.fixture
def room(www12: FileServer, web_to: Callable[[str, str], Web], portal: Portal, tmp_path: Path) -> Room:
    return Room(web_to(HOST, www12.url), portal, tmp_path / "work")


def test_a_boundary_file_is_archived_with_its_language(www12: FileServer, room: Room) -> None:
    release = room.released(boundaries())
    assert [f.name for f in release.files] == [NAME]
    assert release.hint["language"] == "en"
    assert room.notices(boundaries()) == []


@pytest.mark.parametrize(
    ("name", "language"), [("lpr_000a21a_f.zip", "fr"), ("lpr_000A21A_E.ZIP", "en"), ("92-151_XBB.zip", None)]
)
def test_the_name_tells_the_language_when_there_are_two(www12: FileServer, room: Room, name: str, language: str | None) -> None:
    www12.make(zip_of(*MEMBERS), name)
    (candidate,) = room.notices(boundaries(name))
    assert candidate.hint.get("language") == language


def test_a_zip_that_was_made_again_has_the_same_content_and_a_corrected_one_has_not(www12: FileServer, room: Room) -> None:
    first = room.released(boundaries())
    www12.make(zip_of(*reversed(MEMBERS), stamp=(2025, 6, 30, 0, 0, 0)))
    again = room.released(boundaries(), utc("2025-07-02T12:00"))
    www12.make(zip_of(MEMBERS[0], ("lpr_000a21a_e.dbf", b"corrected")))
    corrected = room.released(boundaries(), utc("2025-07-03T12:00"))
    assert first.files[0].sha256 != again.files[0].sha256
    assert changed_nothing(again, first)
    assert not changed_nothing(corrected, again)


def test_a_page_that_is_served_as_a_success_is_no_release(www12: FileServer, room: Room) -> None:
    www12.fault(kind="html", path=f"/{FOLDER}", times=-1)
    with pytest.raises(PermanentFailure, match="an HTML page is served where a zip is expected"):
        room.notices(boundaries())


def test_a_page_that_calls_itself_a_zip_is_never_archived(www12: FileServer, room: Room) -> None:
    www12.fault(kind="html", path=f"/{FOLDER}", times=-1, headers={"content-type": "application/zip"})
    (candidate,) = room.notices(boundaries())
    with pytest.raises(PermanentFailure, match="an HTML page arrived with status 200"):
        room.archive(boundaries(), candidate)
    assert [info.key for info in room.portal.store.list("raw/")] == []


def test_of_a_file_that_is_gone_the_other_language_is_offered_if_it_is_there(www12: FileServer, room: Room) -> None:
    www12.make(zip_of(*MEMBERS), "lpr_000a21a_f.zip")
    del www12.offered[f"{FOLDER}/{NAME}"]
    with pytest.raises(PermanentFailure, match=r"no such file any more \(404\).*declare .*/lpr_000a21a_f\.zip"):
        room.notices(boundaries())
    www12.offered.clear()
    with pytest.raises(PermanentFailure, match=r"no such file any more \(404\).*Look for the file's new address"):
        room.notices(boundaries())


def test_a_quiet_file_is_asked_once_a_day(www12: FileServer, room: Room) -> None:
    module.SHARED.forget()
    room.released(boundaries())
    candidates = list(room.portal.records.candidates(boundaries().id))
    asked = len(www12.asked("HEAD"))

    def look(now: str) -> int:
        source = StatCanGeography.open(room.web, SourceSettings(remember=True))
        return len(source.detect(boundaries(), None, candidates, utc(now)))

    assert [look(f"2025-07-02T{hour:02}:00") for hour in (0, 1, 12, 23)] == [0, 0, 0, 0]
    assert len(www12.asked("HEAD")) == asked + 1
    www12.make(zip_of(*MEMBERS, ("new.txt", b"")))
    assert look("2025-07-02T23:59") == 0
    asked = len(www12.asked("HEAD"))
    assert (look("2025-07-03T00:00"), look("2025-07-03T00:05")) == (1, 1)
    assert len(www12.asked("HEAD")) == asked + 2  # what is new is asked for each time, until it is in the ledger
    module.SHARED.forget()


def test_every_recorded_boundary_file_can_be_declared_and_names_its_language() -> None:
    lines = recorded("statcan", "boundary_files_2021.txt").read_text().splitlines()
    addresses = [line.split("\t")[1] for line in lines if not line.startswith("#") and "\t" in line]
    assert len(addresses) == 32
    for url in addresses:
        source = StatCanGeographySource(kind="statcan-geography", url=url)
        assert module._variant(source.url) == {"language": "en"}


def test_a_recorded_shapefile_passes_through_the_real_client(www12: FileServer, room: Room) -> None:
    body = recorded("shapefiles", "yukon_electoral_districts_2015.zip").read_bytes()
    www12.make(body)
    release = room.released(boundaries(), NOON)
    assert room.portal.store.read(release.files[0].key) == body
