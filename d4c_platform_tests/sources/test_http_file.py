"""A file at a URL is noticed when its validators, read with care, say that it may be new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources import http_file as module
from d4c_platform.sources.http_file import HttpFile, Validators
from d4c_platform.sources.source import Noticed, OtherState
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import FILES, Publisher, candidate_of, http_file, utc, zip_of

NOW = utc("2025-07-01T12:00")
MODIFIED, A_DAY_LATER = "Wed, 11 Jun 2025 12:30:00 GMT", "Thu, 12 Jun 2025 12:30:00 GMT"


class OddServer:
    """One file with exactly the headers that a test asks for."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = zip_of(("a.shp", b"1"))
        self.refuses_head: int | None = None

    async def __call__(self, request: Request) -> Response:
        if request.method == "HEAD" and self.refuses_head:
            return Response(status_code=self.refuses_head)
        return Response(self.body, headers=self.headers, media_type="application/zip")


@contextmanager
def served(odd: OddServer) -> Iterator[Publisher]:
    with serve(with_faults(Starlette(routes=[Route("/wards.zip", odd.__call__, methods=["GET", "HEAD"])]))) as at:
        yield Publisher(at.url)


@pytest.fixture
def odd(web_to: Callable[[str, str], Web]) -> Iterator[tuple[OddServer, HttpFile, Publisher]]:
    server = OddServer()
    with served(server) as publisher:
        yield server, HttpFile(web_to(FILES, publisher.url)), publisher


def as_seen(noticed: Noticed) -> Candidate:
    return candidate_of(http_file(), noticed.key, noticed.released_at, **noticed.hint)


def look(source: HttpFile, *seen: Candidate) -> list[Noticed]:
    return source.detect(http_file(), None, seen, NOW)


def test_a_file_is_noticed_once_and_again_when_it_is_replaced(
    files: Publisher, offered: dict[str, Path], tmp_path: Path, web_to: Callable[[str, str], Web]
) -> None:
    source = HttpFile(web_to(FILES, files.url))
    offered["wards.zip"] = tmp_path / "first.zip"
    offered["wards.zip"].write_bytes(zip_of(("a.shp", b"1")))
    os.utime(offered["wards.zip"], (utc("2025-06-11T12:30").timestamp(),) * 2)
    (first,) = look(source)
    assert first.key.startswith("20250611T123000Z-")
    assert look(source, as_seen(first)) == []
    offered["wards.zip"] = tmp_path / "second.zip"
    offered["wards.zip"].write_bytes(zip_of(("a.shp", b"2")))
    (second,) = look(source, as_seen(first))
    assert second.key != first.key
    assert look(source, as_seen(first), as_seen(second)) == []


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_without_head_is_asked_for_one_byte(odd: tuple[OddServer, HttpFile, Publisher], status: int) -> None:
    server, source, _ = odd
    server.headers = {"ETag": '"a"', "Last-Modified": MODIFIED}
    (with_head,) = look(source)
    server.refuses_head = status
    assert look(source, as_seen(with_head)) == []


def test_the_length_comes_from_the_range_when_head_is_refused(
    files: Publisher, offered: dict[str, Path], tmp_path: Path, web_to: Callable[[str, str], Web]
) -> None:
    offered["wards.zip"] = tmp_path / "first.zip"
    offered["wards.zip"].write_bytes(b"PK\x03\x04" + bytes(996))
    files.fault(kind="status", method="HEAD", status=405, times=-1)
    (noticed,) = look(HttpFile(web_to(FILES, files.url)))
    assert noticed.hint["content_length"] == "1000"


@pytest.mark.parametrize(
    ("before", "after", "noticed"),
    [
        ({"ETag": '"a"', "Last-Modified": MODIFIED}, {"ETag": '"a"', "Last-Modified": A_DAY_LATER}, False),
        ({"ETag": '"a"', "Last-Modified": MODIFIED}, {"ETag": '"b"', "Last-Modified": MODIFIED}, True),
        ({"ETag": '"a"', "Last-Modified": MODIFIED}, {"ETag": 'W/"a"', "Last-Modified": MODIFIED}, False),
        ({"ETag": '"a"', "Last-Modified": MODIFIED}, {"ETag": '"a-gzip"', "Last-Modified": MODIFIED}, False),
        (
            {"ETag": 'W/"a"', "Last-Modified": MODIFIED},
            {"ETag": 'W/"a"', "Last-Modified": A_DAY_LATER},
            True,
        ),
        ({"ETag": 'W/"a"', "Last-Modified": MODIFIED}, {"ETag": 'W/"b"', "Last-Modified": MODIFIED}, True),
        ({"Last-Modified": MODIFIED}, {"Last-Modified": MODIFIED}, False),
        ({"Last-Modified": MODIFIED}, {"Last-Modified": A_DAY_LATER}, True),
    ],
)
def test_only_a_strong_etag_stands_alone(
    odd: tuple[OddServer, HttpFile, Publisher], before: dict[str, str], after: dict[str, str], noticed: bool
) -> None:
    server, source, _ = odd
    server.headers = before
    (first,) = look(source)
    server.headers = after
    assert bool(look(source, as_seen(first))) == noticed


def test_the_same_date_with_another_length_is_noticed(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    server, source, _ = odd
    server.headers = {"Last-Modified": MODIFIED}
    (first,) = look(source)
    server.body += b"more"
    assert look(source, as_seen(first))


def test_without_validators_the_content_is_hashed(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    server, source, _ = odd
    (first,) = look(source)
    assert first.key.startswith("undated-")
    assert len(first.hint["sha256"]) == 64
    assert look(source, as_seen(first)) == []
    server.body = zip_of(("a.shp", b"2"))
    assert look(source, as_seen(first))


def test_everyone_who_notices_a_release_gives_it_the_same_key(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    server, source, _ = odd
    for headers in ({"ETag": '"a"'}, {"Last-Modified": MODIFIED}, {}):
        server.headers = headers
        one, other = (source.detect(http_file(), None, [], now)[0].key for now in (NOW, utc("2025-07-02T13:00")))
        assert one == other


def test_a_date_from_the_future_does_not_count_as_released_then(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    server, source, _ = odd
    server.headers = {"Last-Modified": "Wed, 11 Jun 2031 12:30:00 GMT"}
    (noticed,) = look(source)
    assert noticed.released_at == NOW


def test_a_page_where_a_zip_is_expected_is_an_error_and_no_release(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    _, source, publisher = odd
    publisher.fault(kind="html", times=-1)
    with pytest.raises(PermanentFailure, match="an HTML page is served where a zip is expected"):
        look(source)


def test_the_answer_that_brings_the_file_says_which_state_it_is(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    server, source, _ = odd
    server.headers = {"ETag": '"a"', "Last-Modified": MODIFIED}
    (first,) = look(source)
    (file,) = source.files(http_file(), as_seen(first))
    length = {"Content-Length": str(len(server.body))}
    file.accept({"ETag": '"a"', "Last-Modified": MODIFIED} | length)
    file.accept({"ETag": '"other-node"', "Last-Modified": MODIFIED} | length)
    file.accept({})  # it says less than HEAD did: nothing speaks against it
    for other in ({"ETag": '"b"', "Last-Modified": A_DAY_LATER} | length, {"ETag": '"b"'}, {"Content-Length": "1"}):
        with pytest.raises(OtherState):
            file.accept(other)


def test_a_state_that_is_put_back_is_told_under_its_first_key(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    server, source, _ = odd
    server.headers = {"Last-Modified": MODIFIED}
    (first,) = look(source)
    server.headers = {"Last-Modified": A_DAY_LATER}
    (second,) = look(source, as_seen(first))
    server.headers = {"Last-Modified": MODIFIED}
    assert [n.key for n in look(source, as_seen(first), as_seen(second))] == [first.key]


def test_a_new_file_with_an_older_date_is_no_older_vintage(odd: tuple[OddServer, HttpFile, Publisher]) -> None:
    server, source, _ = odd
    server.headers = {"Last-Modified": A_DAY_LATER}
    (first,) = look(source)
    server.headers = {"Last-Modified": MODIFIED}
    (second,) = look(source, as_seen(first))
    assert (second.released_at, second.vintage_time) == (utc("2025-06-11T12:30"), first.vintage_time)


def test_of_a_large_file_without_validators_only_the_start_is_read(
    odd: tuple[OddServer, HttpFile, Publisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, source, _ = odd
    monkeypatch.setattr(module, "HASHED_BYTES", 1000)
    server.body = b"PK\x03\x04" + bytes(996)
    assert "sha256" in look(source)[0].hint
    server.body += bytes(5_000_000)
    (large,) = look(source)
    assert large.hint.keys() == {"content_length", "start_sha256"}
    assert look(source, as_seen(large)) == []
    server.body = b"PK\x03\x05" + server.body[4:]
    assert look(source, as_seen(large))
    server.body = b"PK\x03\x04" + server.body[4:] + b"1"
    assert look(source, as_seen(large))


def test_validators_survive_the_ledger() -> None:
    said = Validators.of({"ETag": 'W/"x-gzip"', "Last-Modified": MODIFIED}, 12)
    assert Validators.from_hint(said.hint) == said
    assert said.weak_etag == '"x"'


@pytest.mark.parametrize("said", ["", "yesterday", "Mon, 99 Foo 2025", "Fri, 31 Dec 9999 23:59:59 -2300"])
def test_a_date_that_is_none_is_no_validator(said: str) -> None:
    assert Validators.of({"Last-Modified": said}, 12) == Validators(content_length=12)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b/lpr_000a21a_e.zip", "lpr_000a21a_e.zip"),
        ("/download?file=1", "download.zip"),
        ("/", "file.zip"),
        ("/quartiers%20%C3%A9lectoraux.ZIP", "quartiers-lectoraux.ZIP"),
        ("/..%2F..%2Fetc", "etc.zip"),
    ],
)
def test_the_archived_name_is_the_urls_own_and_safe(path: str, name: str) -> None:
    from d4c_platform.sources.http_file import _file_name

    dataset = http_file(path)
    assert _file_name(dataset, dataset.source.url) == name
