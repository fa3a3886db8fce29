"""A file comes whole over a line that breaks and from a server that lies, in one of its states, or there is a typed failure."""

from __future__ import annotations

import gzip
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.sandbox.faults import FaultSwitch, with_faults
from d4c_platform.sandbox.files import files_app
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources import body as module
from d4c_platform.sources.body import MOST_IDLE, MOST_STARTS, PROGRESS_BYTES, Beginning, Body
from d4c_platform.sources.source import OtherState
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import SWITCH, Publisher

BODY = random.Random(7).randbytes(1_000_000)
CUT = 300_000  # more than what counts as progress, less than the file
OTHER = BODY[:-1] + b"!"  # the same length


class Site(Publisher):
    """A server of one file, with its faults and its log."""

    def __init__(self, url: str, file: Path) -> None:
        super().__init__(url)
        self.file = file

    def put(self, body: bytes) -> None:
        fresh = self.file.with_name("fresh")
        fresh.write_bytes(body)
        fresh.replace(self.file)

    def breaks(self, after_bytes: int = CUT, times: int = 1, **more: Any) -> None:
        self.fault(kind="truncate", path="/big.bin", after_bytes=after_bytes, times=times, **more)

    def lies(self, times: int = 1, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.fault(kind="alter", path="/big.bin", headers=named, times=times)

    def ranges(self) -> list[str | None]:
        """What each request for the file asked for."""
        log = SWITCH.get(f"{self.url}/_sandbox/requests").json()
        return [r["headers"].get("range") for r in log if r["path"] == "/big.bin"]

    def conditions(self) -> list[str | None]:
        log = SWITCH.get(f"{self.url}/_sandbox/requests").json()
        return [r["headers"].get("if-range") for r in log if r["path"] == "/big.bin"]


@pytest.fixture(scope="module")
def served_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    file = tmp_path_factory.mktemp("site") / "offered.bin"
    with serve(with_faults(files_app(lambda: {"big.bin": file}))) as served:
        yield Site(served.url, file)


@pytest.fixture
def site(served_site: Site) -> Site:
    served_site.put(BODY)
    SWITCH.delete(f"{served_site.url}/_sandbox/faults")
    SWITCH.delete(f"{served_site.url}/_sandbox/requests")
    return served_site


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    client = Web(per_host_per_s=10_000, attempts=2, first_wait_s=0.001, timeout_s=20)
    yield client
    client.close()


@dataclass
class Got:
    """A body that was read to its end, by somebody who empties his hands at each beginning."""

    body: Body
    data: bytes = b""
    beginnings: int = 0


def read(web: Web, url: str, pause_s: float = 0, **more: Any) -> Got:
    got = Got(Body(web, url, where="here", kept="All stays", **more))
    for piece in got.body.pieces():
        time.sleep(pause_s)
        if isinstance(piece, Beginning):
            assert piece is got.body.beginning
            got.data, got.beginnings = b"", got.beginnings + 1
        else:
            got.data += piece
    return got


@pytest.fixture
def fetch(site: Site, web: Web) -> Callable[..., Got]:
    return lambda **more: read(web, f"{site.url}/big.bin", **more)


def assert_whole(got: Got, data: bytes = BODY) -> None:
    assert got.data == data
    assert (got.body.size, got.body.beginning.status) == (len(data), 200)


# -- what came once is not asked for again ---------------------------------------------------------------------------------


def test_a_body_that_breaks_off_is_continued_where_it_broke(site: Site, fetch) -> None:
    site.breaks()
    got = fetch()
    assert_whole(got)
    assert site.ranges() == [None, f"bytes={CUT}-"]
    assert site.conditions()[1] == got.body.beginning.headers["etag"]
    assert got.beginnings == 1


def test_how_it_was_fetched_is_told(site: Site, fetch) -> None:
    site.breaks()
    body = fetch().body
    fetching = body.fetching()
    assert (fetching.method, fetching.requests, fetching.resumed_bytes) == ("GET", 2, len(BODY) - CUT)
    assert body.resumed == 1
    assert fetching.request_headers["range"] == f"bytes={CUT}-"
    assert fetching.request_headers["accept-encoding"] == "identity"
    assert fetching.request_headers["user-agent"].startswith("d4c")


def test_attempts_that_bring_something_are_not_counted(site: Site, fetch) -> None:
    site.breaks(after_bytes=PROGRESS_BYTES, times=-1)
    assert_whole(fetch())
    assert len(site.ranges()) > MOST_IDLE + MOST_STARTS


@pytest.mark.parametrize("crumb", [0, 1, 1000])
def test_attempts_that_bring_nothing_end_in_a_transient_failure(site: Site, fetch, crumb: int) -> None:
    site.breaks()
    site.breaks(after_bytes=crumb, times=-1)
    with pytest.raises(TransientFailure, match=r"it ends after 30\d,\d{3} of 1,000,000 bytes, again and again"):
        fetch()
    assert len(site.ranges()) == 1 + MOST_IDLE


def test_an_answered_503_between_two_parts_is_waited_out(site: Site, fetch) -> None:
    site.breaks()
    site.fault(kind="status", path="/big.bin", status=503, times=5)
    assert_whole(fetch())


def test_a_server_that_wants_to_be_left_alone_for_long_is_left_to_the_next_run(site: Site, fetch) -> None:
    site.breaks()
    site.fault(kind="status", path="/big.bin", status=503, headers={"Retry-After": "3600"})
    with pytest.raises(TransientFailure, match="answered 503") as caught:
        fetch()
    assert caught.value.retry_after_s == 3600


def test_a_503_before_the_first_byte_is_the_last_word(site: Site, fetch) -> None:
    site.fault(kind="status", path="/big.bin", status=503, times=-1)
    with pytest.raises(TransientFailure, match="answered 503"):
        fetch()
    assert len(site.ranges()) == 2, "the attempts of one request"


@pytest.mark.parametrize("length", [str(len(BODY)), ""], ids=["announced", "not announced"])
def test_a_server_that_sends_shorter_parts_is_asked_for_the_rest(web: Web, length: str) -> None:
    asked: list[str] = []

    async def parts(request: Request) -> Response:
        asked.append(request.headers.get("range", ""))
        if not asked[-1]:
            return Response(BODY[:CUT], headers={"ETag": '"a"', "Content-Length": str(len(BODY))})
        start = int(asked[-1].removeprefix("bytes=").removesuffix("-"))
        part = BODY[start : start + CUT]
        about = {"ETag": '"a"', "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(BODY)}"}
        return Response(part, 206, headers=about)

    switch = with_faults(Starlette(routes=[Route("/big.bin", parts)]))
    with serve(switch) as served:
        Publisher(served.url).fault(kind="truncate", path="/big.bin", after_bytes=CUT, headers={"Content-Length": length})
        got = read(web, f"{served.url}/big.bin")
    assert_whole(got)
    assert asked[1:] == [f"bytes={n * CUT}-" for n in (1, 2, 3)]


@pytest.mark.parametrize("broken", [False, True])
def test_a_file_of_unannounced_length_ends_where_it_ends(site: Site, fetch, broken: bool) -> None:
    unannounced = {"Content-Length": ""}
    if broken:
        site.breaks(headers=unannounced)
    else:
        site.lies(**unannounced)
    got = fetch()
    assert_whole(got)
    assert (got.body.beginning.length, got.body.resumed) == (None, broken)


# -- what does not fit is not appended -------------------------------------------------------------------------------------


def test_a_server_that_ignores_the_range_starts_over(site: Site, fetch) -> None:
    site.breaks(times=2)
    site.fault(kind="alter", path="/big.bin", without=["range", "if-range"])
    got = fetch()
    assert site.ranges() == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert_whole(got)
    assert (got.beginnings, got.body.resumed, got.body.fetching().resumed_bytes) == (2, 0, 0)


def test_a_server_that_never_continues_is_asked_a_few_times(site: Site, fetch) -> None:
    site.breaks(times=-1, without=["range", "if-range"])
    with pytest.raises(TransientFailure):
        fetch()
    assert len(site.ranges()) <= MOST_STARTS + 1


@pytest.mark.parametrize("body", [OTHER, BODY[:1000]], ids=["as long", "shorter"])
def test_a_file_that_is_replaced_meanwhile_arrives_as_the_new_one(site: Site, fetch, body: bytes) -> None:
    site.breaks()
    asked: list[object] = []

    def replaced(headers: object) -> None:
        asked.append(headers)
        if len(asked) == 1:
            site.put(body)

    assert_whole(fetch(accept=replaced), body)


@pytest.mark.parametrize(
    "lie",
    [
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"},
        {"Content_Range": f"bytes {CUT + 1}-{len(BODY) - 1}/{len(BODY)}"},
        {"Content_Range": f"bytes {CUT}-{len(BODY) - 1}/{len(BODY) + 1}"},
        {"Content_Range": f"bytes {CUT}-{len(BODY) - 1}/*"},
        {"Content_Range": f"bytes {CUT}-{CUT - 1}/{len(BODY)}"},
        {"Content_Range": f"bytes {CUT}-{CUT + 9}/{len(BODY)}"},
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}", "Content_Length": ""},
        {"Content_Range": f"bytes {CUT + 1}-{len(BODY) - 1}/{len(BODY)}", "Content_Length": ""},
        {"Content_Range": f"bytes {CUT}-{CUT + 9}/{len(BODY)}", "Content_Length": ""},
        {"Content_Range": "bytes nonsense"},
        {"Content_Range": ""},
        {"Content_Encoding": "gzip"},
        {"ETag": '"another"'},
    ],
    ids=str,
)
def test_a_part_that_is_not_the_rest_is_refused_and_the_file_started_over(site: Site, fetch, lie: dict[str, str]) -> None:
    site.breaks()
    site.lies(**lie)
    got = fetch()
    assert_whole(got)
    assert site.ranges() == [None, f"bytes={CUT}-", None]


def test_a_server_that_always_lies_about_its_parts_is_a_transient_failure(site: Site, fetch) -> None:
    site.breaks(times=-1, headers={"Content-Range": "bytes 5-9/10"})
    with pytest.raises(TransientFailure):
        fetch()


@pytest.mark.parametrize("status", [204, 205, 304])
def test_an_answer_without_a_file_is_no_empty_file(web: Web, status: int) -> None:
    with pytest.raises(TransientFailure, match=f"answered with {status}"), serve(_answers(status, b"")) as served:
        read(web, f"{served.url}/a")


def test_a_part_that_nobody_asked_for_is_no_file(web: Web) -> None:
    with pytest.raises(TransientFailure, match="other parts than were asked for"), serve(_answers(206, b"part")) as served:
        read(web, f"{served.url}/a")


def test_an_answer_416_starts_over(site: Site, fetch) -> None:
    site.breaks()
    site.fault(kind="status", path="/big.bin", status=416)
    assert_whole(fetch())
    assert site.ranges() == [None, f"bytes={CUT}-", None]


def test_an_answer_416_to_the_first_request_is_a_refusal(site: Site, fetch) -> None:
    site.fault(kind="status", path="/big.bin", status=416)
    with pytest.raises(PermanentFailure, match="answered 416"):
        fetch()


# -- what may be said as a condition ---------------------------------------------------------------------------------------

HOUR_AGO = formatdate(time.time() - 3600, usegmt=True)
FRESH = "half a minute ago"  # when it is asked for, not when the tests were collected


@pytest.mark.parametrize(
    ("headers", "condition"),
    [
        ({"ETag": '"strong"'}, '"strong"'),
        ({"ETag": 'W/"weak"', "Last-Modified": HOUR_AGO}, HOUR_AGO),
        ({"ETag": "", "Last-Modified": HOUR_AGO}, HOUR_AGO),
        ({"ETag": "", "Last-Modified": FRESH}, None),
        ({"ETag": 'W/"weak"', "Last-Modified": ""}, None),
        ({"ETag": "", "Last-Modified": ""}, None),
        ({"ETag": "unquoted", "Last-Modified": "yesterday"}, None),
    ],
    ids=["strong", "weak and old", "old", "fresh", "weak", "nothing", "unreadable"],
)
def test_only_what_proves_the_same_bytes_is_a_condition(
    site: Site, fetch, headers: dict[str, str], condition: str | None
) -> None:
    if headers.get("Last-Modified") == FRESH:
        headers = headers | {"Last-Modified": formatdate(time.time() - 30, usegmt=True)}
    site.breaks(headers=headers)
    site.lies(**{name.replace("-", "_"): value for name, value in headers.items()})
    assert_whole(fetch())
    assert site.conditions()[1] == condition
    assert (site.ranges()[1] is None) == (condition is None)


def test_an_encoded_body_is_undone_and_never_continued(web: Web, tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    app = with_faults(_answers(200, packed, {"Content-Encoding": "gzip", "ETag": '"a"'}))
    with serve(app) as served:
        site = Site(served.url, tmp_path)
        site.breaks()
        got = read(web, f"{served.url}/big.bin")
        assert site.ranges() == [None, None]
    assert_whole(got)
    assert got.body.beginning.length is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "made-up"])
def test_an_encoding_that_nobody_asked_for_is_refused(site: Site, fetch, encoding: str) -> None:
    site.lies(Content_Encoding=encoding)
    with pytest.raises(PermanentFailure, match="although it was asked for the bytes as they are"):
        fetch()


# -- who may refuse, stop or wait ------------------------------------------------------------------------------------------


def test_a_part_is_judged_as_the_whole_file_it_belongs_to(site: Site, fetch) -> None:
    lengths: list[str] = []
    site.breaks()
    fetch(accept=lambda headers: lengths.append(headers["content-length"]))
    assert lengths == [str(len(BODY))] * 2


def test_another_state_is_given_a_few_chances(site: Site, fetch) -> None:
    asked = []

    def never(headers) -> None:
        asked.append(headers)
        raise OtherState("another")

    with pytest.raises(OtherState):
        fetch(accept=never)
    assert len(asked) == MOST_STARTS


def test_a_line_that_only_crawls_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CRAWL_S", 0.02)

    async def crawl(scope, receive, send) -> None:
        import asyncio

        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.005)

    with serve(crawl) as served, pytest.raises(TransientFailure, match="bytes came in"):
        read(web, f"{served.url}/b")


def test_a_taker_that_is_slow_makes_no_crawling_line(site: Site, fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CRAWL_S", 0.5)
    monkeypatch.setattr(module, "CRAWL_BYTES", len(BODY) + 1)
    site.put(BODY[:200_000])
    got = fetch(pause_s=0.3)
    assert_whole(got, BODY[:200_000])
    assert len(site.ranges()) == 1


def test_a_body_without_an_end_is_refused(site: Site, fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_BYTES", 1000)
    site.lies(Content_Length="", Transfer_Encoding="")
    with pytest.raises(PermanentFailure, match="more than 1,000 bytes, or no end"):
        fetch()


# -- any sequence of bad days ----------------------------------------------------------------------------------------------


class Weather:
    """One server whose behaviour the next examples choose, request by request; it counts what it sends of the body."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "offered.bin"
        self.days: list[dict[str, Any]] = []
        self.sent = 0
        self._inner: FaultSwitch = with_faults(files_app(lambda: {"big.bin": self.file}))
        self._lock = threading.Lock()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        from d4c_platform.sandbox.faults import Fault

        day = self.days.pop(0) if self.days else {}
        if "put" in day:
            fresh = self.file.with_name("fresh")
            fresh.write_bytes(day.pop("put"))
            fresh.replace(self.file)
        self._inner._faults = [Fault.read(dict(day))] if day else []

        async def counting(message) -> None:
            self.sent += len(message.get("body", b""))
            await send(message)

        counting.__self__ = send.__self__  # the connection that a fault cuts
        await self._inner(scope, receive, counting)


def _day(draw: Callable[..., Any], size: int) -> dict[str, Any]:
    kind = draw(st.sampled_from(["truncate", "truncate", "alter", "status", "reset", "put"]))
    if kind == "put":
        return {"put": os.urandom(size), "kind": "truncate", "after_bytes": draw(st.integers(0, size))}
    if kind == "status":
        return {"kind": "status", "status": draw(st.sampled_from([503, 500, 416, 429, 404])), "headers": {"Retry-After": "0"}}
    if kind == "reset":
        return {"kind": "reset"}
    lie = draw(
        st.sampled_from(
            [
                {},
                {"Content-Range": f"bytes 0-{size - 1}/{size}"},
                {"Content-Range": f"bytes 10-{size - 1}/{size}"},
                {"Content-Range": ""},
                {"ETag": '"x"'},
                {"ETag": 'W/"x"'},
                {"ETag": ""},
            ]
        )
    )
    without = draw(st.sampled_from([[], ["range"], ["if-range"], ["range", "if-range"]]))
    return {"kind": kind, "after_bytes": draw(st.integers(0, size)), "headers": lie, "without": without}


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Weather, str]]:
    weather = Weather(tmp_path_factory.mktemp("weather"))
    with serve(weather) as served:
        yield weather, f"{served.url}/big.bin"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_happens_the_file_is_whole_or_there_is_a_typed_failure(weather, web, data) -> None:
    server, url = weather
    size = data.draw(st.integers(1, 400_000))
    states = [os.urandom(size)]
    server.file.write_bytes(states[0])
    server.days = [_day(data.draw, size) for _ in range(data.draw(st.integers(0, 6)))]
    states += [day["put"] for day in server.days if "put" in day]
    try:
        assert read(web, url).data in states
    except D4CError:
        return
    finally:
        server.days = []


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 2_000_000), st.lists(st.integers(PROGRESS_BYTES, 600_000), max_size=8))
def test_a_server_that_continues_sends_every_byte_once(weather, web, size: int, cuts: list[int]) -> None:
    server, url = weather
    body = random.Random(size).randbytes(size)
    server.file.write_bytes(body)
    server.days = [{"kind": "truncate", "after_bytes": cut} for cut in cuts]
    server.sent = 0
    got = read(web, url)
    server.days = []
    assert got.data == body
    # What the buffers of a broken connection swallow is all that is lost.
    assert server.sent <= size + 1024 * got.body.fetching().requests


def _answers(status: int, body: bytes, headers: dict[str, str] | None = None) -> Starlette:
    async def answer(request: Request) -> Response:
        about = {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"} if status == 206 else {}
        return Response(body, status, headers={**about, **(headers or {})})

    return Starlette(routes=[Route("/{path:path}", answer)])
