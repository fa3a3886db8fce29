"""The files of a release come a few at once and lie in the archive as if they had come in turn, each byte once."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate, RawFile, Release
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources.archive import PROVENANCE, archive, fetch_raw
from d4c_platform.sources.at_once import in_order
from d4c_platform.sources.source import FILES_AT_ONCE, Answer, Noticed, SourceSettings, SourceUrl
from d4c_platform.storage.portal import Portal
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import candidate_of, http_file, utc

NAMES = tuple(f"{n}.bin" for n in range(6))
DAY = utc("2025-06-11T12:00")


class ManyFiles:
    """A source of a release of many files."""

    kind: ClassVar[str] = "many-files"

    def __init__(self, files: list[SourceUrl]) -> None:
        self.offered, self.asked_now, self.crowded = files, threading.Lock(), False

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls([])

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        return []

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        return self.offered

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        self.ask()

    def harvest(self, out: BinaryIO) -> Answer:
        self.ask()
        out.write(b"harvested")
        return Answer(b"", 200, {})

    def ask(self) -> None:
        if not self.asked_now.acquire(blocking=False):
            self.crowded = True
            return
        threading.Event().wait(0.01)
        self.asked_now.release()


class Host:
    """A server that can hold an answer back until as many requests as wanted have come."""

    def __init__(self) -> None:
        self.bodies = {name: name.encode() * 100 for name in NAMES}
        self.here = self.most = self.wanted = 0
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.held: dict[str, str] = {}  # a file to the one that has to be answered before it
        self.refused: set[str] = set()
        self.app = Starlette(routes=[Route("/moved/{name}", self._moved), Route("/{name}", self._file)])

    async def _moved(self, request: Request) -> Response:
        return RedirectResponse(f"/{request.path_params['name']}?token=secret", 301)

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.asked.append(name)
        self.here += 1
        self.most = max(self.most, self.here)
        try:
            for _ in range(500):
                if self.most >= self.wanted and self.held.get(name, name) in [name, *self.answered]:
                    break
                await asyncio.sleep(0.005)
        finally:
            self.here -= 1
        self.answered.append(name)
        if name in self.refused:
            return PlainTextResponse("no", 403)
        return Response(self.bodies[name], headers={"ETag": '"1"', "Set-Cookie": "secret"})


class Room:
    def __init__(self, url: str, portal: Portal, workdir: Path, host: Host) -> None:
        self.url, self.portal, self.workdir, self.host = url, portal, workdir, host
        self.web = Web(per_host_per_s=10_000, attempts=2, first_wait_s=0.001)
        self.source = ManyFiles([SourceUrl(name, f"{url}/{name}") for name in NAMES])

    def archive(self, key: str = "20250611T120000Z", again: bool = False) -> Release:
        candidate = candidate_of(http_file(), key, DAY).model_copy(update={"version_id": f"{http_file().id}_{key[:8]}_v1.0.0"})
        return archive(candidate, http_file(), self.source, self.web, self.portal, self.workdir, again=again)

    def keys(self, prefix: str = "raw/") -> list[str]:
        return [info.key for info in self.portal.store.list(prefix)]

    def stored(self) -> set[str]:
        """The names of the files whose bytes are in the archive."""
        return {key.rpartition("/")[2] for key in self.keys() if "/sha256/" in key}


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def room(host: Host, portal: Portal, tmp_path: Path) -> Iterator[Room]:
    with serve(host.app) as served:
        room = Room(served.url, portal, tmp_path / "work", host)
        yield room
        room.web.close()


# -- a few at once ---------------------------------------------------------------------------------------------------------


def test_a_few_files_come_at_once_and_no_more(room: Room) -> None:
    room.host.wanted = FILES_AT_ONCE
    release = room.archive()
    assert room.host.most == FILES_AT_ONCE
    assert [f.name for f in release.files] == list(NAMES)
    assert [f.sha256 for f in release.files] == [hashlib.sha256(room.host.bodies[n]).hexdigest() for n in NAMES]
    assert list(room.workdir.iterdir()) == []


@pytest.mark.parametrize("most", [1, 5])
def test_a_kind_of_source_says_how_many_its_servers_bear(room: Room, most: int) -> None:
    room.source.at_once = most  # type: ignore[attr-defined]
    room.host.wanted = most
    room.archive()
    assert room.host.most == most


def test_what_comes_first_does_not_change_the_order(room: Room) -> None:
    room.host.held = {NAMES[0]: NAMES[2], NAMES[3]: NAMES[4]}
    release = room.archive()
    assert room.host.answered.index(NAMES[2]) < room.host.answered.index(NAMES[0])
    assert [f.name for f in release.files] == list(NAMES)
    assert [f.sha256 for f in release.files] == [hashlib.sha256(room.host.bodies[n]).hexdigest() for n in NAMES]


@pytest.mark.parametrize("place", range(6))
def test_when_a_file_fails_those_before_it_are_kept_and_no_other(room: Room, place: int) -> None:
    room.host.refused = {NAMES[place]}
    with pytest.raises(PermanentFailure, match="answered 403"):
        room.archive()
    assert room.stored() == set(NAMES[:place])
    assert list(room.workdir.iterdir()) == []
    room.host.refused, room.host.asked = set(), []
    assert [f.name for f in room.archive().files] == list(NAMES)
    assert set(room.host.asked) == set(NAMES[place:]), "what was kept is not asked for again"


def test_of_several_failures_the_first_in_the_order_is_told(room: Room) -> None:
    room.host.refused = {NAMES[1], NAMES[2], NAMES[5]}
    with pytest.raises(PermanentFailure) as failure:
        room.archive()
    assert f"/{NAMES[1]}" in str(failure.value)


def test_a_file_that_is_not_offered_is_no_failure_of_the_others(room: Room) -> None:
    room.source.offered[2] = SourceUrl("x", f"{room.url}/a/b/c", optional=True)
    release = room.archive()
    assert [f.name for f in release.files] == [n for n in NAMES if n != NAMES[2]]
    assert release.hint["absent.x"].startswith("answered 404")


def test_two_files_of_one_name_are_refused(room: Room) -> None:
    room.source.offered.append(room.source.offered[0])
    with pytest.raises(PermanentFailure, match=r"two files of the release have the name 0\.bin"):
        room.archive()
    assert room.host.asked == []


def test_a_source_is_never_asked_by_two_threads(room: Room) -> None:
    for n in (1, 3, 4):
        room.source.offered[n] = SourceUrl(NAMES[n], f"{room.url}/x", harvest=room.source.harvest)
    release = room.archive()
    assert not room.source.crowded
    assert release.files[1].sha256 == hashlib.sha256(b"harvested").hexdigest()


def test_a_harvest_is_stopped_when_a_file_before_it_fails(room: Room) -> None:
    written: list[int] = []

    def endless(out: BinaryIO) -> Answer:
        while len(written) < 100_000:
            written.append(out.write(bytes(10_000)))
            threading.Event().wait(0.001)
        return Answer(b"", 200, {})

    room.host.refused = {NAMES[0]}
    room.source.offered = [room.source.offered[0], SourceUrl("layer", f"{room.url}/x", harvest=endless)]
    with pytest.raises(PermanentFailure, match="answered 403"):
        room.archive()
    assert len(written) < 100_000
    assert list(room.workdir.iterdir()) == []


def test_jobs_behind_a_failure_are_stopped_and_those_before_it_are_not() -> None:
    begun, ended = threading.Barrier(3), []

    def job(place: int) -> Callable[[Callable[[], bool]], int]:
        def run(stop: Callable[[], bool]) -> int:
            begun.wait(10)
            if place == 1:
                raise TransientFailure("the second")
            for _ in range(2000):
                if stop():
                    ended.append(f"{place} stopped")
                    raise TransientFailure("stopped")
                if place == 0 and "2 stopped" in ended:
                    break
                threading.Event().wait(0.001)
            ended.append(f"{place} done")
            return place

        return run

    taken: list[int] = []
    with pytest.raises(TransientFailure, match="the second"), in_order([job(n) for n in range(3)], 3) as results:
        taken.extend(results)
    assert ended == ["2 stopped", "0 done"]


def test_a_later_failure_does_not_hide_an_earlier_one() -> None:
    begun, fails = threading.Barrier(4), {1: threading.Event(), 3: threading.Event()}
    asked, stopped = threading.Event(), []

    def job(place: int) -> Callable[[Callable[[], bool]], int]:
        def run(stop: Callable[[], bool]) -> int:
            begun.wait(10)
            if place == 3:
                fails[1].wait(10)
            if place in fails:
                threading.Event().wait(0.05)  # the one that failed before has been noted
                fails[place].set()
                raise TransientFailure(f"number {place}")
            if place == 2:
                fails[3].wait(10)
                threading.Event().wait(0.05)
                stopped.append(stop())
                asked.set()
            return place

        return run

    with in_order([job(n) for n in range(4)], 4) as results:
        assert next(results) == 0
        asked.wait(10)
        with pytest.raises(TransientFailure, match="number 1"):
            next(results)
    assert stopped == [True]


def test_no_job_is_begun_further_ahead_than_a_few() -> None:
    begun: list[int] = []
    with in_order([lambda stop, n=n: begun.append(n) for n in range(20)], 3) as results:
        for taken, _ in enumerate(results):
            threading.Event().wait(0.005)  # long enough for every job that has begun
            assert len(begun) <= taken + 3


def test_jobs_are_stopped_when_nobody_wants_their_results() -> None:
    begun, stopped = threading.Event(), threading.Event()

    def run(stop: Callable[[], bool]) -> int:
        begun.set()
        for _ in range(5000):
            if stop():
                stopped.set()
                break
            threading.Event().wait(0.001)
        return 1

    with in_order([lambda stop: 0, run], 2) as results:
        next(results)
        begun.wait(10)
    assert stopped.is_set()


def test_an_interrupt_ends_what_is_at_work(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(dataset: Dataset, candidate: Candidate) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room.source, "confirm", interrupted)
    with pytest.raises(KeyboardInterrupt):
        room.archive()
    assert not [t for t in threading.enumerate() if t.name.startswith("fetch")]
    assert (list(room.workdir.iterdir()), room.keys()) == ([], [])


# -- each byte once --------------------------------------------------------------------------------------------------------


def test_a_file_that_an_earlier_release_has_is_fetched_and_not_stored_again(room: Room) -> None:
    first = room.archive("20250611T120000Z")
    before = {info.key: info.etag for info in room.portal.store.list("raw/")}
    room.host.bodies[NAMES[0]] = b"corrected"
    asked = len(room.host.asked)
    second = room.archive("20250711T120000Z")
    assert len(room.host.asked) == asked + len(NAMES)
    assert [f.key for f in second.files[1:]] == [f.key for f in first.files[1:]]
    assert second.files[1].fetched_at > first.files[1].fetched_at, "how it came is told of each release"
    new = set(room.keys()) - set(before)
    assert len([key for key in new if "/sha256/" in key]) == 1
    assert len([key for key in new if key.endswith(PROVENANCE)]) == len(NAMES)
    assert all(room.portal.store.head(key).etag == etag for key, etag in before.items())


def test_bytes_that_are_there_are_not_sent_to_the_store_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.archive("20250611T120000Z")
    sent: list[str] = []
    put = room.portal.store.put

    def noted(key: str, body: bytes | Path, **more: Any) -> Any:
        sent.append(key)
        return put(key, body, **more)

    monkeypatch.setattr(room.portal.store, "put", noted)
    room.archive("20250711T120000Z")
    assert not [key for key in sent if "/sha256/" in key]


def test_a_release_is_read_from_what_others_stored(room: Room, tmp_path: Path) -> None:
    room.archive("20250611T120000Z")
    second = room.archive("20250711T120000Z")
    files = fetch_raw(second, room.portal, tmp_path / "raw")
    assert {name: path.read_bytes() for name, path in files.items()} == room.host.bodies


def test_the_provenance_tells_what_was_asked_and_every_hop_without_secrets(room: Room) -> None:
    room.source.offered = [SourceUrl("0.bin", f"{room.url}/moved/0.bin?key=declared")]
    (file,) = room.archive().files
    folder = f"raw/{http_file().id}/20250611T120000Z"
    told = room.portal.store.read(f"{folder}/0.bin{PROVENANCE}").decode()
    assert RawFile.model_validate_json(told) == file
    assert file.fetching is not None
    assert [(hop.status, hop.location) for hop in file.fetching.hops] == [(301, "/0.bin")]
    assert file.redirects == ("/0.bin",)
    assert (file.fetching.method, file.fetching.requests, file.fetching.resumed_bytes) == ("GET", 1, 0)
    assert set(file.fetching.request_headers) == {"user-agent", "accept-encoding"}
    assert file.fetching.started_at <= file.fetched_at
    assert "secret" not in told


# -- what earlier releases of this program archived --------------------------------------------------------------------------

OLD: dict[str, Any] = {
    "name": "0.bin",
    "url": "https://files.example.ca/0.bin",
    "bytes": 3,
    "sha256": hashlib.sha256(b"old").hexdigest(),
    "content_sha256": hashlib.sha256(b"old").hexdigest(),
    "fetched_at": "2025-06-11T12:00:00Z",
    "status": 200,
    "headers": {},
}


def test_a_file_that_was_archived_beside_its_provenance_is_read(room: Room, tmp_path: Path) -> None:
    folder = f"raw/{http_file().id}/20250611T120000Z"
    old = RawFile.model_validate(OLD | {"key": f"{folder}/0.bin"})
    room.portal.store.put(old.key, b"old")
    room.portal.store.put(f"{folder}/0.bin{PROVENANCE}", old.model_dump_json(exclude={"fetching"}).encode())
    release = room.archive()
    assert release.files[0] == old
    assert room.host.asked.count("0.bin") == 0
    assert fetch_raw(release, room.portal, tmp_path / "raw")["0.bin"].read_bytes() == b"old"


def test_a_damaged_file_is_told_with_its_version(room: Room, tmp_path: Path) -> None:
    release = room.archive()
    room.portal.store.put(release.files[0].key, b"tampered")
    with pytest.raises(D4CError, match="instead of") as failure:
        fetch_raw(release, room.portal, tmp_path / "raw")
    assert failure.value.version == release.version_id
