"""A file is one stream however often its line breaks, and never a mixture of two states of it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from d4c_platform.model.errors import TransientFailure
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources import body as module
from d4c_platform.sources.body import Body, Changed
from d4c_platform.web import Web

DATA = bytes(range(256)) * 1000


@dataclass
class Server:
    """Answers one file as it is told, and breaks the line after so many bytes, once for each number in `breaks`."""

    data: bytes = DATA
    headers: dict[str, str] = field(default_factory=lambda: {"etag": '"one"'})
    ranges: bool = True
    length: Callable[[int], int | None] = lambda size: size
    breaks: list[int] = field(default_factory=list)
    shift: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        asked = {k.decode(): v.decode() for k, v in scope["headers"]}
        self.asked.append(asked)
        start, status, said = 0, 200, dict(self.headers)
        if self.ranges and "range" in asked and asked.get("if-range") in (None, *self.headers.values()):
            start, status = int(asked["range"].removeprefix("bytes=").rstrip("-")) + self.shift, 206
            said["content-range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        rest = self.data[start:]
        if (length := self.length(len(rest))) is not None:
            said["content-length"] = str(length)
        await send(
            {"type": "http.response.start", "status": status, "headers": [(k.encode(), v.encode()) for k, v in said.items()]}
        )
        limit = self.breaks.pop(0) if self.breaks else len(rest)
        await send({"type": "http.response.body", "body": rest[:limit], "more_body": True})
        if limit < len(rest):
            send.__self__.transport.close()
            return
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(module, "STALL_WAIT_S", 0.01)


@contextmanager
def served(server: Server):
    web = Web(per_host_per_s=10_000, attempts=2, first_wait_s=0.01, timeout_s=10)
    with serve(server) as where:
        yield web, f"{where.url}/a.tif"
    web.close()


def received(server: Server) -> tuple[bytes, int]:
    with served(server) as (web, url), Body(web, url, "a.tif") as body:
        return b"".join(body.chunks()), body.resumed


def test_a_line_that_breaks_again_and_again_but_gets_on_brings_the_file():
    server = Server(breaks=[100_000, 1, 50_000, 20, 1, 1, 1])
    assert received(server) == (DATA, 7)
    assert [a.get("range") for a in server.asked[:3]] == [None, "bytes=100000-", "bytes=100001-"]
    assert {a["if-range"] for a in server.asked[1:]} == {'"one"'}


def test_a_date_will_do_where_there_is_no_strong_etag():
    date = "Wed, 11 Jun 2025 00:34:00 GMT"
    server = Server(headers={"etag": 'W/"weak"', "last-modified": date}, breaks=[1000])
    assert received(server) == (DATA, 1)
    assert server.asked[1]["if-range"] == date


def test_a_server_that_knows_no_ranges_is_read_again_up_to_where_we_were():
    assert received(Server(ranges=False, breaks=[100_000, 150_000])) == (DATA, 2)


@pytest.mark.parametrize(
    "server",
    [
        Server(headers={}, breaks=[1000]),
        Server(headers={"content-encoding": "gzip", "etag": '"z"'}, data=gzip.compress(DATA), breaks=[500]),
        Server(breaks=[1000], shift=1),
    ],
    ids=["nothing to compare", "encoded", "another part"],
)
def test_a_rest_that_may_be_another_files_is_not_taken(server):
    with pytest.raises(Changed):
        received(server)


@pytest.mark.parametrize("change", [{"headers": {"etag": '"two"'}}, {"data": DATA + b"more"}])
def test_a_file_that_was_replaced_meanwhile_is_told(change):
    server = Server(breaks=[100_000])
    with served(server) as (web, url), Body(web, url, "a.tif") as body:
        chunks = body.chunks()
        next(chunks)
        for name, value in change.items():
            setattr(server, name, value)
        with pytest.raises(Changed):
            b"".join(chunks)


def test_a_length_that_is_announced_and_not_sent_is_trouble():
    with pytest.raises(TransientFailure, match="it ends after 10 of 256,000 bytes, again and again"):
        received(Server(breaks=[10] + [0] * 50))


def test_a_file_without_a_length_ends_where_it_ends():
    assert received(Server(length=lambda size: None)) == (DATA, 0)
    assert received(Server(length=lambda size: None, breaks=[1000])) == (DATA, 1)


def test_what_a_server_compresses_unasked_is_the_file_itself():
    server = Server(data=gzip.compress(DATA), headers={"content-encoding": "gzip"})
    with served(server) as (web, url), Body(web, url, "a.tif") as body:
        assert body.length is None
        assert b"".join(body.chunks()) == DATA


def test_a_page_that_calls_itself_a_page_is_a_file():
    with serve(with_faults(Server(data=b"<html></html>"))) as where:
        web = Web(attempts=1)
        with Body(web, f"{where.url}/a", "index.html") as body:
            assert b"".join(body.chunks()) == b"<html></html>"
        web.close()
