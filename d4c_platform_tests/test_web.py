"""How we behave towards servers that misbehave, and what of an address may be told."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from d4c_platform.answers import ERROR_BYTES
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.web import BadAddress, HttpRefusal, HttpTrouble, TooLong, Web, without_query

ENDLESS_MB = 64
SOCKETS_MB = 16  # what the buffers between two sockets may swallow before the server notices that nobody reads
MB = b"x" * (1 << 20)


class Endless:
    """A plain server whose bodies have no end but the reader's patience: it counts what it got rid of."""

    def __init__(self) -> None:
        endless, self.sent_mb, self.asked = self, 0, 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/":
                    self.send_response(204)
                    self.end_headers()
                    return
                endless.asked += 1
                self.send_response(int(self.path[1:]))
                self.send_header("Location", "/")
                self.end_headers()
                with suppress(OSError):
                    while endless.sent_mb < ENDLESS_MB:
                        self.wfile.write(MB)
                        endless.sent_mb += 1

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Endless:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server:
    """A server whose faults can be switched; it remembers the bodies it was sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        routes = [
            Route("/document", self._document, methods=["GET", "HEAD", "POST"]),
            Route("/packed", self._packed),
            Route("/moved", lambda _: RedirectResponse("/document")),
            Route("/away", lambda _: RedirectResponse("ftp://elsewhere.example/file")),
        ]
        self.app = with_faults(Starlette(routes=routes))
        self.url = ""

    async def _document(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        return PlainTextResponse("été", headers={"X-Kept": "yes"})

    async def _packed(self, _: Request) -> Response:
        return Response(gzip.compress(b"0" * 5_000_000), headers={"Content-Encoding": "gzip"}, media_type="text/plain")

    def fault(self, **fault: Any) -> None:
        httpx.post(f"{self.url}/_sandbox/faults", json=fault).raise_for_status()

    def asked(self) -> list[tuple[str, str]]:
        return [(r["method"], r["path"]) for r in httpx.get(f"{self.url}/_sandbox/requests").json()]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serve(server.app) as served:
        server.url = served.url
        yield server


@pytest.fixture
def endless() -> Iterator[Endless]:
    with Endless() as endless:
        yield endless


@pytest.fixture
def web() -> Iterator[Web]:
    client = Web(per_host_per_s=10_000, first_wait_s=0.001, timeout_s=10, attempts=3)
    yield client
    client.close()


def opened(web: Web, url: str) -> None:
    with web.stream(url, where="test"):
        pass


def asked(web: Web, url: str) -> None:
    web.request("GET", url, where="test")


# -- no answer is read without end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [asked, opened])
def test_of_an_error_only_the_start_is_read(ask: Callable[[Web, str], None], web: Web, endless: Endless) -> None:
    with pytest.raises(HttpRefusal, match="answered 404: xxx") as refusal:
        ask(web, f"{endless.url}/404")
    assert endless.sent_mb < SOCKETS_MB
    assert len(refusal.value.body) <= ERROR_BYTES


@pytest.mark.parametrize("ask", [asked, opened])
def test_of_a_redirect_only_the_start_is_read(ask: Callable[[Web, str], None], web: Web, endless: Endless) -> None:
    ask(web, f"{endless.url}/302")
    assert endless.sent_mb < SOCKETS_MB


def test_a_document_without_an_end_is_refused_at_its_limit(web: Web, endless: Endless) -> None:
    with pytest.raises(TooLong, match="longer than the 2,000,000 bytes") as failure:
        web.request("GET", f"{endless.url}/200", where="test", limit_bytes=2_000_000)
    assert isinstance(failure.value, PermanentFailure)
    assert endless.sent_mb < SOCKETS_MB
    assert endless.asked == 1, "it is as long the next time"


def test_without_a_limit_of_its_own_a_document_has_one(web: Web, endless: Endless) -> None:
    with pytest.raises(TooLong, match="16,777,216"):
        asked(web, f"{endless.url}/200")


def test_the_limit_counts_what_a_packed_answer_unfolds_to(web: Web, server: Server) -> None:
    with pytest.raises(TooLong):
        web.request("GET", f"{server.url}/packed", where="test", limit_bytes=1_000_000)
    assert len(web.request("GET", f"{server.url}/packed", where="test").content) == 5_000_000


def test_an_answer_is_what_the_server_said(web: Web, server: Server) -> None:
    answer = web.request("GET", f"{server.url}/document", where="test")
    assert (answer.status_code, answer.text, answer.headers["X-Kept"]) == (200, "été", "yes")
    assert answer.url == f"{server.url}/document"
    head = web.request("HEAD", f"{server.url}/document", where="test")
    assert (head.content, head.headers["Content-Length"]) == (b"", "5")


def test_a_redirect_stays_in_the_history_of_an_answer(web: Web, server: Server) -> None:
    answer = web.request("GET", f"{server.url}/moved", where="test")
    assert answer.text == "été"
    assert [hop.status_code for hop in answer.history] == [307]


# -- 429 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {}])
def test_a_post_that_was_turned_away_is_repeated(headers: dict[str, str], web: Web, server: Server) -> None:
    server.fault(method="POST", path="/document", kind="status", status=429, times=2, headers=headers)
    web.request("POST", f"{server.url}/document", where="test", content=b"once")
    assert server.bodies == [b"once"]


def test_a_post_that_is_always_turned_away_ends(web: Web, server: Server) -> None:
    server.fault(method="POST", path="/document", kind="status", status=429, times=-1, headers={"Retry-After": "0"})
    with pytest.raises(HttpTrouble) as trouble:
        web.request("POST", f"{server.url}/document", where="test")
    assert trouble.value.status == 429
    assert len(server.asked()) == 3


def test_a_post_that_may_have_been_performed_is_not_repeated(web: Web, server: Server) -> None:
    server.fault(method="POST", path="/document", kind="after", status=504)
    with pytest.raises(TransientFailure):
        web.request("POST", f"{server.url}/document", where="test")
    assert len(server.asked()) == 1


def test_a_body_that_is_used_up_is_not_sent_again(web: Web, server: Server) -> None:
    server.fault(method="POST", path="/document", kind="status", status=429)
    with pytest.raises(HttpTrouble):
        web.request("POST", f"{server.url}/document", where="test", content=iter([b"once"]))
    assert len(server.asked()) == 1


def test_a_quota_whose_reset_is_a_time_and_not_an_epoch_is_waited_for_on_the_next_run(web: Web, server: Server) -> None:
    reset = str(datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5))  # "2025-06-12 00:00:00+00:00"
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    server.fault(path="/document", kind="status", status=429, times=-1, headers=headers)
    with pytest.raises(HttpTrouble) as trouble:
        web.request("GET", f"{server.url}/document", where="test")
    assert 4 * 3600 < (trouble.value.retry_after_s or 0) <= 5 * 3600
    assert len(server.asked()) == 1


def test_of_several_quotas_the_one_that_is_used_up_counts(web: Web, server: Server) -> None:
    tomorrow, past = (str(datetime.now(UTC) + timedelta(days=days)) for days in (1, -1))
    headers = {
        "X-RateLimit-Remaining": "17",
        "X-RateLimit-Reset": tomorrow,
        "X-RateLimit-dataset-Remaining": "0",
        "X-RateLimit-dataset-Reset": past,
    }
    server.fault(path="/document", kind="status", status=429, headers=headers)
    web.request("GET", f"{server.url}/document", where="test")
    assert len(server.asked()) == 2


# -- a host that names a time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("3600", 3600, 3600),
        (lambda: formatdate(time.time() + 1800, usegmt=True), 1500, 1800),
        (lambda: formatdate(time.time() - 1800, usegmt=True), 0, 0),
        ("soon", None, None),
        ("Wed, 99 Nov 2026 99:99:99 GMT", None, None),
    ],
    ids=["seconds", "ahead", "past", "words", "no date"],
)
def test_the_time_that_a_host_names_is_understood(
    said: str | Callable[[], str], least: float | None, most: float | None, server: Server
) -> None:
    retry_after = said() if callable(said) else said  # a date of the moment when tests were collected would be old by now
    server.fault(path="/document", kind="status", status=503, times=-1, headers={"Retry-After": retry_after})
    web = Web(attempts=1)
    with pytest.raises(HttpTrouble) as trouble:
        asked(web, f"{server.url}/document")
    web.close()
    after = trouble.value.retry_after_s
    assert after is None if least is None or most is None else after is not None and least <= after <= most


def test_a_host_that_asks_for_rest_is_left_alone_by_every_thread(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("d4c_platform.web.time.sleep", slept.append)
    server.fault(path="/document", kind="status", status=429, headers={"Retry-After": "50"})
    web = Web(attempts=1, per_host_per_s=10_000)
    with pytest.raises(HttpTrouble):
        asked(web, f"{server.url}/document")
    asking = threading.Thread(target=asked, args=(web, f"{server.url}/document"))
    asking.start()
    asking.join()
    web.close()
    assert [round(s) for s in slept] == [50]


def test_a_host_that_asks_for_too_long_a_rest_holds_nobody_up(server: Server) -> None:
    server.fault(path="/document", kind="status", status=503, headers={"Retry-After": "86400"})
    web = Web(attempts=5)
    with pytest.raises(HttpTrouble):
        asked(web, f"{server.url}/document")
    asked(web, f"{server.url}/document")
    web.close()


def test_threads_share_the_rate_of_a_host(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slots: list[float] = []
    monkeypatch.setattr("d4c_platform.web.time.sleep", slots.append)
    web = Web(per_host_per_s=0.1)
    threads = [threading.Thread(target=asked, args=(web, f"{server.url}/document")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    web.close()
    assert sorted(round(s / 10) for s in slots) == [1, 2, 3]


# -- addresses ----------------------------------------------------------------------------------------------------------

WRONG = [
    "file:///etc/passwd",
    "ftp://user:pw-secret@host.example/x",
    "http://user:pw-secret@[::1",
    "http://user:pw-secret@host.example:port/x",
    "http://user:pw-secret/x@host.example/",
    "http:user:pw-secret@host.example/",
    "http:///x?token=pw-secret",
    "http://host.example:99999999/",
    "http://host\x00.example/",
    "no address",
    "",
]


@pytest.mark.parametrize("ask", [asked, opened])
@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_address_is_a_permanent_failure(ask: Callable[[Web, str], None], url: str, web: Web) -> None:
    with pytest.raises(BadAddress) as failure:
        ask(web, url)
    assert failure.value.__cause__ is failure.value.__context__ is None, "a cause would tell the whole address"
    assert "pw-secret" not in str(failure.value)


def test_a_redirect_to_another_scheme_is_a_permanent_failure(web: Web, server: Server) -> None:
    with pytest.raises(BadAddress, match="redirects"):
        asked(web, f"{server.url}/away")


def test_a_failure_names_the_address_without_its_secrets(web: Web, server: Server) -> None:
    with pytest.raises(HttpRefusal) as refusal:
        asked(web, server.url.replace("://", "://user:pw-secret@") + "/nowhere?token=t-secret#f-secret")
    assert f"{server.url}/nowhere" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_an_address_is_told_without_query_fragment_and_user() -> None:
    assert without_query("https://user:pw@host.example:81/a/b?x=1#y") == "https://host.example:81/a/b"
    assert without_query("https://host.example/a@b") == "https://host.example/a@b"


@given(st.text(max_size=40), st.sampled_from(["", "http:", "http://", "https://user:pw@", "//"]))
def test_any_text_can_be_told(text: str, start: str) -> None:
    assert "user:pw@" not in without_query(start + text)
