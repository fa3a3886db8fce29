"""A release is archived whole, as received, once; and what is no release never gets that far."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Build, Candidate, Copies, RawFile, Release, Withdrawal
from d4c_platform.sandbox.clock import Clock
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import statcan_app
from d4c_platform.sources import archive as archives
from d4c_platform.sources.archive import PROVENANCE, archive, changed_nothing, fetch_raw
from d4c_platform.sources.detection import detect
from d4c_platform.sources.raw import ReleaseFolder
from d4c_platform.sources.recorded import record
from d4c_platform.sources.registry import open_source
from d4c_platform.sources.source import Superseded
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import Conflict
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import (
    FILES,
    PID,
    RECORDED,
    STATCAN,
    Publisher,
    StatCanPublisher,
    http_file,
    table,
    table_zip,
    utc,
    zip_of,
)

ZIPS = "/n1/tbl/csv/"
ENG = f"{ZIPS}{PID}-eng.zip"


class Room:
    """What a stage holds when it archives."""

    def __init__(self, web: Web, portal: Portal, workdir: Path) -> None:
        self.web, self.portal, self.workdir = web, portal, workdir

    def noticed(self, dataset: Dataset, now=None) -> Candidate:
        return detect(dataset, open_source(dataset, self.web), self.portal.records, now or utc("2025-07-01T12:00"))[-1]

    def archive(self, dataset: Dataset, candidate: Candidate, again: bool = False) -> Release:
        source = open_source(dataset, self.web)
        return archive(candidate, dataset, source, self.web, self.portal, self.workdir, again=again)

    def keys(self, prefix: str = "raw/") -> list[str]:
        return [info.key.rpartition("/")[2] for info in self.portal.store.list(prefix)]


def provenance(room: Room, place: str) -> RawFile:
    return RawFile.model_validate_json(room.portal.store.read(f"raw/{table().id}/{place}{PROVENANCE}"))


@pytest.fixture
def room(statcan: StatCanPublisher, portal: Portal, tmp_path: Path, web_to: Callable[[str, str], Web]) -> Room:
    return Room(web_to(STATCAN, statcan.url), portal, tmp_path / "work")


@pytest.fixture
def at_files(files: Publisher, portal: Portal, tmp_path: Path, web_to: Callable[[str, str], Web]) -> Room:
    return Room(web_to(FILES, files.url), portal, tmp_path / "work")


def test_a_table_is_archived_with_both_languages_its_metadata_and_their_provenance(
    statcan: StatCanPublisher, room: Room
) -> None:
    statcan.release("2025-06-11T08:30", "1.25")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    release = room.archive(table(), candidate)
    eng, fra, about = release.files
    assert [f.name for f in release.files] == [f"{PID}-eng.zip", f"{PID}-fra.zip", f"{PID}.json"]
    assert eng.key == f"raw/{table().id}/sha256/{eng.sha256[:2]}/{eng.sha256}/{PID}-eng.zip"
    assert (eng.url, eng.status, eng.redirects) == (f"{STATCAN}{ENG}", 200, ())
    assert eng.sha256 == hashlib.sha256(table_zip("1.25")).hexdigest()
    assert eng.headers["content-type"] == "application/zip"
    assert "set-cookie" not in eng.headers
    assert room.portal.store.read(eng.key) == table_zip("1.25")
    assert json.loads(room.portal.store.read(about.key))["releaseTime"] == "2025-06-11T08:30"
    assert "été" in room.portal.store.read(about.key).decode()
    assert provenance(room, f"{candidate.key}/{PID}-fra.zip") == fra
    assert room.portal.records.read(Release, candidate.version_id) == release
    assert list(room.workdir.iterdir()) == []


def test_archiving_again_returns_the_record_without_a_request(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    release = room.archive(table(), candidate)
    asked = len(statcan.asked())
    assert room.archive(table(), candidate) == release
    assert len(statcan.asked()) == asked


def test_a_table_without_french_is_archived_in_english_and_says_so(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30", french=False)
    release = room.archive(table(), room.noticed(table(), statcan.at("2025-06-11T09:00")))
    assert [f.name for f in release.files] == [f"{PID}-eng.zip", f"{PID}.json"]
    assert release.hint[f"absent.{PID}-fra.zip"].startswith("answered 404")


def test_french_that_the_service_does_not_offer_is_absent_too(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(
        kind="status",
        path=f"/t1/wds/rest/getFullTableDownloadCSV/{PID}/fr",
        status=200,
        body='{"status":"FAILED","object":{"responseStatusCode":7}}',
    )
    release = room.archive(table(), candidate)
    assert "code 7" in release.hint[f"absent.{PID}-fra.zip"]


@pytest.mark.parametrize(("status", "failure"), [(503, TransientFailure), (403, PermanentFailure)])
def test_only_a_404_says_that_there_is_no_french(
    statcan: StatCanPublisher, room: Room, status: int, failure: type[D4CError]
) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(kind="status", path=f"{ZIPS}{PID}-fra.zip", status=status, times=-1)
    with pytest.raises(failure, match=f"answered {status}"):
        room.archive(table(), candidate)
    assert room.portal.records.read(Release, candidate.version_id) is None


def test_missing_english_is_a_failure(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(kind="status", path=ENG, status=404, times=-1)
    with pytest.raises(PermanentFailure, match="answered 404"):
        room.archive(table(), candidate)


def test_a_503_that_passes_is_waited_out(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(kind="status", path=ENG, status=503, times=1)
    assert len(room.archive(table(), candidate).files) == 3


def test_a_body_that_breaks_off_is_fetched_again(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(kind="truncate", path=ENG, after_bytes=100, times=2)
    assert room.archive(table(), candidate).files[0].sha256 == hashlib.sha256(table_zip("1")).hexdigest()


def test_a_body_that_always_breaks_off_is_a_transient_failure_and_nothing_is_kept(
    statcan: StatCanPublisher, room: Room
) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(kind="truncate", path=ENG, after_bytes=0, times=-1)
    with pytest.raises(TransientFailure) as failure:
        room.archive(table(), candidate)
    assert candidate.version_id in str(failure.value)
    assert (room.keys(), list(room.workdir.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "html"}, "an HTML page arrived with status 200"),
        ({"kind": "status", "status": 200, "body": ""}, "the file is empty"),
        ({"kind": "status", "status": 200, "body": "not a zip"}, "what arrived is no zip"),
        ({"kind": "status", "status": 200, "body": '{"error": "try later"}'}, "what arrived is no zip"),
        ({"kind": "status", "status": 200, "body": "PK\x03\x04 and then nothing"}, "corrupt or cut short"),
    ],
)
def test_what_is_no_release_is_refused_with_a_sentence_that_helps(
    statcan: StatCanPublisher, room: Room, fault: dict[str, object], why: str
) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(path=ENG, **fault)
    with pytest.raises(PermanentFailure) as failure:
        room.archive(table(), candidate)
    told = str(failure.value)
    assert why in told
    assert candidate.version_id in told
    assert f"{PID}-eng.zip" in told
    assert "The previous latest stays." in told
    assert "materialize this version again" in told
    assert failure.value.dataset == table().id
    assert room.keys() == []


def test_a_corrupt_zip_is_refused_by_its_member(at_files: Room, offered: dict[str, Path], tmp_path: Path) -> None:
    body = bytearray(zip_of(("a.shp", os.urandom(5000)), ("a.dbf", b"1")))
    body[3000] ^= 0xFF
    offered["wards.zip"] = tmp_path / "wards.zip"
    offered["wards.zip"].write_bytes(body)
    with pytest.raises(PermanentFailure, match=r"corrupt at member 'a\.shp'"):
        at_files.archive(http_file(), at_files.noticed(http_file()))
    assert at_files.keys() == []


def test_a_killed_archive_goes_on_with_the_next_file(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(kind="html", path=f"{ZIPS}{PID}-fra.zip")
    with pytest.raises(PermanentFailure):
        room.archive(table(), candidate)
    assert room.keys() == [f"{PID}-eng.zip{PROVENANCE}", f"{PID}-eng.zip"]
    room.archive(table(), candidate)
    assert statcan.asked("GET", ENG) == [f"GET {ENG}"]


@pytest.mark.parametrize("stamp", [34, 33], ids=["as it was", "stamped again since"])
def test_killed_between_a_file_and_its_provenance_the_release_is_what_came_whole(
    statcan: StatCanPublisher, room: Room, monkeypatch: pytest.MonkeyPatch, stamp: int
) -> None:
    statcan.release("2025-06-11T08:30", stamp=(2025, 6, 11, 0, 34, 0))
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    with monkeypatch.context() as killed:
        killed.setattr(ReleaseFolder, "_describe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            room.archive(table(), candidate)
    left = room.keys()
    (english,) = statcan.files(f"{PID}-eng.zip")
    english.write_bytes(table_zip("1", stamp=(2025, 6, 11, 0, stamp, 0)))
    release = room.archive(table(), candidate)
    assert left == [f"{PID}-eng.zip"]
    assert release.files[0].sha256 == hashlib.sha256(english.read_bytes()).hexdigest()
    assert room.keys().count(f"{PID}-eng.zip") == (1 if stamp == 34 else 2)
    assert fetch_raw(release, room.portal, room.workdir / "raw")[f"{PID}-eng.zip"].read_bytes() == english.read_bytes()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_lies_under_the_key_of_other_bytes_is_told_and_never_overwritten(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30", "2")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    key = room.portal.raw_key(table().id, hashlib.sha256(table_zip("2")).hexdigest(), f"{PID}-eng.zip")
    room.portal.store.put(key, table_zip("1"))
    with pytest.raises(PermanentFailure, match="it has not the bytes that its key names"):
        room.archive(table(), candidate)
    assert room.portal.store.read(key) == table_zip("1")
    assert room.portal.records.read(Release, candidate.version_id) is None


def test_a_release_replaced_during_its_archive_leaves_no_false_file(
    statcan: StatCanPublisher, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    statcan.release("2025-06-11T08:30", "1")
    statcan.release("2025-06-12T08:30", "2")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    receive, turn = archives.receive, threading.Lock()

    def next_day_comes(*args):
        with turn:  # the files come at once, and there is one clock
            statcan.at("2025-06-12T09:00")
        return receive(*args)

    monkeypatch.setattr(archives, "receive", next_day_comes)
    with pytest.raises(Superseded, match="replaced by that of 2025-06-12"):
        room.archive(table(), candidate)
    assert room.keys() == []


def test_a_file_noticed_by_its_content_must_still_have_it(files: Publisher, at_files: Room, offered, tmp_path) -> None:
    bare = {"kind": "status", "status": 200, "times": -1, "headers": {"content-type": "application/zip"}}
    files.fault(**bare, body="PK\x05\x06 one")
    candidate = at_files.noticed(http_file())
    httpx.delete(f"{files.url}/_sandbox/faults")
    files.fault(**bare, body="PK\x05\x06 two")
    with pytest.raises(TransientFailure, match="changed between noticing and fetching") as failure:
        at_files.archive(http_file(), candidate)
    assert "withdraw it" in str(failure.value)
    at_files.noticed(http_file(), utc("2025-07-02T12:00"))
    with pytest.raises(Superseded):
        at_files.archive(http_file(), candidate)


@pytest.mark.parametrize("turns", ["AB", "AAB", "ABB", "AABB", "AAABBB", "AAAABBBB"])
def test_servers_that_disagree_about_the_date_yield_one_version_of_one_content(
    web_to, portal: Portal, tmp_path: Path, turns: str
) -> None:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    dates = {"A": "Mon, 02 Jun 2025 10:00:00 GMT", "B": "Mon, 02 Jun 2025 10:00:07 GMT"}
    node, body = itertools.cycle(turns), zip_of(("a.shp", b"1"))

    async def file(request):
        return Response(body, media_type="application/zip", headers={"Last-Modified": dates[next(node)]})

    published: list[Release] = []
    with serve(Starlette(routes=[Route("/wards.zip", file, methods=["GET", "HEAD"])])) as served:
        room = Room(web_to(FILES, served.url), portal, tmp_path / "work")
        for minute in range(20):
            source = open_source(http_file(), room.web)
            detect(http_file(), source, portal.records, utc(f"2025-07-01T12:{minute:02}"))
            for candidate in portal.records.candidates(http_file().id):
                if any(portal.records.read(kind, candidate.version_id) for kind in (Release, Withdrawal)):
                    continue
                try:
                    release = room.archive(http_file(), candidate)
                except TransientFailure:
                    continue
                except Superseded as error:
                    portal.records.write(Withdrawal(version_id=candidate.version_id, reason=error.what))
                    continue
                if published and changed_nothing(release, published[-1]):
                    portal.records.write(Withdrawal(version_id=candidate.version_id, reason="It changed nothing"))
                else:
                    published.append(release)
    assert len(published) == 1
    assert len(portal.records.candidates(http_file().id)) <= 4


def repaired(statcan: StatCanPublisher, value: str, pid: str = PID) -> None:
    """The publisher repairs the English zip under the same release time."""
    (english,) = statcan.files(f"{pid}-eng.zip")
    english.write_bytes(table_zip(value, pid))


def test_fetched_again_a_repaired_file_is_archived_beside_the_first(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30", "ragged")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    first = room.archive(table(), candidate)
    repaired(statcan, "2")
    assert room.archive(table(), candidate) == first
    second = room.archive(table(), candidate, again=True)
    eng, fra, about = second.files
    assert eng.sha256 == hashlib.sha256(table_zip("2")).hexdigest()
    assert provenance(room, f"{candidate.key}/{PID}-eng.zip") == first.files[0]
    assert provenance(room, f"{candidate.key}/{PID}-eng.zip.{eng.sha256[:12]}") == eng
    assert (fra, about) == first.files[1:]
    assert second.content_sha256 != first.content_sha256
    assert second.hint["fetched_again"] == f"{PID}-eng.zip"
    assert room.portal.store.read(first.files[0].key) == table_zip("ragged")
    assert room.archive(table(), candidate) == second
    assert fetch_raw(second, room.portal, room.workdir / "raw")[f"{PID}-eng.zip"].read_bytes() == table_zip("2")
    repaired(statcan, "3")
    assert room.archive(table(), candidate, again=True).files[0].sha256 == hashlib.sha256(table_zip("3")).hexdigest()
    repaired(statcan, "ragged")
    assert room.archive(table(), candidate, again=True).files[0] == first.files[0]


def test_fetched_again_unchanged_nothing_is_stored(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    first, keys = room.archive(table(), candidate), room.keys("")
    assert room.archive(table(), candidate, again=True) == first
    assert room.keys("") == keys


def test_what_a_killed_run_fetched_again_is_not_mixed_with_a_later_state(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30", "ragged")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    room.archive(table(), candidate)
    repaired(statcan, "still ragged")
    statcan.fault(kind="html", path=f"{ZIPS}{PID}-fra.zip")
    with pytest.raises(PermanentFailure):
        room.archive(table(), candidate, again=True)
    repaired(statcan, "2")
    release = room.archive(table(), candidate, again=True)
    assert room.portal.store.read(release.files[0].key) == table_zip("2")


def test_nor_is_it_mixed_when_nothing_was_recorded_before(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30", "ragged")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    statcan.fault(kind="html", path=f"{ZIPS}{PID}-fra.zip", times=2)
    for again in (False, True):
        with pytest.raises(PermanentFailure):
            room.archive(table(), candidate, again=again)
        repaired(statcan, "2")
    release = room.archive(table(), candidate)
    assert room.portal.store.read(release.files[0].key) == table_zip("2")


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (lambda v: Copies(version_id=v, place="portal", copies=()), "it is published"),
        (lambda v: Build(version_id=v, artifacts=()), "its artifact was built"),
        (lambda v: Withdrawal(version_id=v, reason="Wrong"), "it was withdrawn"),
    ],
)
def test_a_release_that_something_stands_on_is_not_fetched_again(statcan: StatCanPublisher, room: Room, document, why) -> None:
    statcan.release("2025-06-11T08:30", "1")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    first = room.archive(table(), candidate)
    repaired(statcan, "2")
    room.portal.records.write(document(candidate.version_id))
    keys = room.keys()
    with pytest.raises(PermanentFailure, match=why):
        room.archive(table(), candidate, again=True)
    assert room.keys() == keys
    assert room.archive(table(), candidate) == first


def test_a_renewal_is_made_from_what_was_fetched_again(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30", "ragged")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    room.archive(table(), candidate)
    repaired(statcan, "2")
    second = room.archive(table(), candidate, again=True)
    higher = table(version="1.1.0")
    renewed = room.archive(higher, room.noticed(higher, statcan.at("2025-06-11T10:00")))
    assert (renewed.files, renewed.version_id[-7:]) == (second.files, "_v1.1.0")


def test_a_restamped_release_has_the_same_content_and_a_corrected_one_has_not(statcan: StatCanPublisher, room: Room) -> None:
    releases = []
    for day, value, stamp in ((10, "1", 10), (11, "1", 11), (12, "2", 12)):
        statcan.release(f"2025-06-{day}T08:30", value, stamp=(2025, 6, stamp, 0, 34, 0))
        releases.append(room.archive(table(), room.noticed(table(), statcan.at(f"2025-06-{day}T09:00"))))
    first, restamped, corrected = releases
    assert first.files[0].sha256 != restamped.files[0].sha256
    assert changed_nothing(restamped, first)
    assert not changed_nothing(corrected, restamped)


def test_a_release_published_again_reuses_its_archive(files: Publisher, at_files: Room, offered, tmp_path) -> None:
    offered["wards.zip"] = tmp_path / "wards.zip"
    offered["wards.zip"].write_bytes(zip_of(("a.shp", b"1")))
    first = at_files.archive(http_file(), at_files.noticed(http_file()))
    again = at_files.noticed(http_file(version="2.0.0"))
    asked = len(files.asked())
    release = at_files.archive(http_file(version="2.0.0"), again)
    assert len(files.asked()) == asked
    assert (release.files, release.content_sha256) == (first.files, first.content_sha256)
    assert release.version_id.endswith("_v2.0.0")
    assert not changed_nothing(release, first)


def test_two_archives_at_once_record_one_release(statcan: StatCanPublisher, room: Room, monkeypatch) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    first = room.archive(table(), candidate)
    with monkeypatch.context() as late:
        late.setattr(archives, "archived", lambda candidate, portal: None)  # it had looked before the other one wrote
        for name in (f"{PID}-eng.zip", f"{PID}.json"):
            room.portal.store.delete(f"raw/{table().id}/{candidate.key}/{name}{PROVENANCE}")
        assert room.archive(table(), candidate) == first


def test_a_redirect_is_kept_in_the_provenance_without_its_token(web_to, portal: Portal, tmp_path: Path) -> None:
    from starlette.applications import Starlette
    from starlette.responses import RedirectResponse, Response
    from starlette.routing import Route

    async def moved(request):
        return RedirectResponse("/2025/wards.zip?token=secret")

    async def file(request):
        body = zip_of(("a.shp", b"1"))
        return Response(body, media_type="application/zip", headers={"ETag": '"a"', "Set-Cookie": "session=secret"})

    with serve(Starlette(routes=[Route("/wards.zip", moved), Route("/2025/wards.zip", file)])) as served:
        room = Room(web_to(FILES, served.url), portal, tmp_path / "work")
        release = room.archive(http_file(), room.noticed(http_file()))
    assert release.files[0].url == f"{FILES}/wards.zip"
    assert release.files[0].redirects == ("/2025/wards.zip",)
    assert "secret" not in release.model_dump_json()


def test_raw_files_come_back_as_received_or_not_at_all(statcan: StatCanPublisher, room: Room, tmp_path: Path) -> None:
    statcan.release("2025-06-11T08:30")
    release = room.archive(table(), room.noticed(table(), statcan.at("2025-06-11T09:00")))
    files = fetch_raw(release, room.portal, tmp_path / "raw")
    assert files[f"{PID}-eng.zip"].read_bytes() == table_zip("1")
    assert fetch_raw(release, room.portal, tmp_path / "raw") == files
    room.portal.store.put(release.files[0].key, table_zip("tampered"))
    assert fetch_raw(release, room.portal, tmp_path / "raw") == files  # the local copy is still right
    with pytest.raises(D4CError, match="instead of") as failure:
        fetch_raw(release, room.portal, tmp_path / "elsewhere")
    assert failure.value.version == release.version_id


def test_a_conflicting_record_is_not_hidden(statcan: StatCanPublisher, room: Room) -> None:
    statcan.release("2025-06-11T08:30")
    candidate = room.noticed(table(), statcan.at("2025-06-11T09:00"))
    release = room.archive(table(), candidate)
    other = release.model_copy(update={"content_sha256": "0" * 64})
    with pytest.raises(Conflict):
        record(other, room.portal)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded real inputs are not at hand")
@pytest.mark.parametrize(
    ("pid", "key"), [("33100036", "20250611T123000Z"), ("18100204", "20181211T133000Z")], ids=["33100036", "18100204"]
)
def test_the_recorded_tables_pass_through_the_real_clients(web_to, portal: Portal, tmp_path: Path, pid: str, key: str) -> None:
    with serve(statcan_app(RECORDED, Clock(tmp_path / "clock.json"))) as served:
        room = Room(web_to(STATCAN, served.url), portal, tmp_path / "work")
        candidate = room.noticed(table(pid))
        release = room.archive(table(pid), candidate)
    assert candidate.key == key
    assert [f.name for f in release.files] == [f"{pid}-eng.zip", f"{pid}.json"]
    assert release.files[0].sha256 == hashlib.sha256((RECORDED / "statcan" / f"{pid}-eng.zip").read_bytes()).hexdigest()
