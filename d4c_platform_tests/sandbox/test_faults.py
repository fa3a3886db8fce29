"""The fault switch: each kind once, and the log of requests."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve

BODY = "x" * 100_000


@pytest.fixture
def counted():
    return []


@pytest.fixture
def site(counted):
    async def answer(request: Request) -> Response:
        counted.append(len(await request.body()))
        return PlainTextResponse(BODY)

    app = with_faults(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "PUT", "POST"])]))
    with serve(app) as served, httpx.Client(base_url=served.url) as client:
        yield client


def set_fault(site, **fault):
    answer = site.post("/_sandbox/faults", json=fault)
    assert answer.status_code == 201, answer.text


def test_status_answers_in_the_apps_place_and_only_as_often_as_asked(site, counted):
    set_fault(site, kind="status", status=429, headers={"Retry-After": "3"}, body="slow down", times=2)
    first, second, third = (site.get("/a") for _ in range(3))
    assert (first.status_code, first.headers["Retry-After"], first.text) == (429, "3", "slow down")
    assert (second.status_code, third.status_code) == (429, 200)
    assert len(counted) == 1


def test_status_is_503_unless_said_otherwise(site):
    set_fault(site, kind="status")
    assert site.get("/a").status_code == 503


def test_html_is_an_error_page_that_calls_itself_a_success(site):
    set_fault(site, kind="html")
    answer = site.get("/a.zip")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_reset_breaks_the_connection_before_any_answer(site, counted):
    set_fault(site, kind="reset")
    with pytest.raises(httpx.ReadError):
        site.get("/a")
    assert counted == []
    assert site.get("/_sandbox/requests").json()[-1]["status"] is None


def test_reset_can_wait_for_a_part_of_the_upload(site, counted):
    set_fault(site, kind="reset", method="PUT", after_bytes=100_000)
    with pytest.raises(httpx.TransportError):
        site.put("/a", content=b"y" * 20_000_000)
    assert counted == []


@pytest.mark.parametrize("cut", [0, 10, 99_999])
def test_truncate_promises_the_whole_body_and_breaks_it_off(site, cut):
    set_fault(site, kind="truncate", after_bytes=cut)
    received = []
    with site.stream("GET", "/a") as answer:
        assert int(answer.headers["content-length"]) == len(BODY)
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(answer.iter_raw())
    assert len(b"".join(received)) <= cut


def test_slow_pauses_and_then_answers_rightly(site):
    set_fault(site, kind="slow", delay_s=0.5)
    with pytest.raises(httpx.ReadTimeout):
        site.get("/a", timeout=0.1)
    set_fault(site, kind="slow", delay_s=0.01, after_bytes=1)
    assert site.get("/a").text == BODY


def test_after_does_the_real_thing_and_hides_its_answer(site, counted):
    set_fault(site, kind="after", method="POST", path="/publish")
    assert site.post("/publish", content=b"12345").status_code == 504
    assert counted == [5]


def test_alter_gives_the_real_answer_other_headers(site):
    set_fault(site, kind="alter", headers={"X-Told": "yes", "Content-Type": ""})
    answer = site.get("/a")
    assert (answer.text, answer.headers["x-told"], answer.headers.get("content-type")) == (BODY, "yes", None)
    assert "x-told" not in site.get("/a").headers


@pytest.mark.parametrize("kind", ["alter", "truncate", "slow"])
def test_the_app_does_not_see_what_a_fault_takes_out_of_the_request(kind):
    async def told(request: Request) -> Response:
        return PlainTextResponse("", headers={"X-Range": request.headers.get("range", "none")})

    app = with_faults(Starlette(routes=[Route("/a", told)]))
    with serve(app) as served, httpx.Client(base_url=served.url, headers={"Range": "bytes=1-"}) as client:
        set_fault(client, kind=kind, without=["Range"], headers={"X-Told": "yes"})
        with client.stream("GET", "/a") as answer:
            assert (answer.headers["x-range"], answer.headers["x-told"]) == ("none", "yes")
        assert client.get("/a").headers["x-range"] == "bytes=1-"


def test_a_fault_only_hits_its_method_and_path(site):
    set_fault(site, kind="status", method="PUT", path="/files")
    assert site.get("/files/a").status_code == 200
    assert site.put("/other").status_code == 200
    assert site.put("/files/a").status_code == 503


def test_a_negative_count_stays_until_it_is_cleared(site):
    set_fault(site, kind="status", times=-1)
    assert [site.get("/a").status_code for _ in range(3)] == [503, 503, 503]
    assert [f["kind"] for f in site.get("/_sandbox/faults").json()] == ["status"]
    site.delete("/_sandbox/faults")
    assert site.get("/a").status_code == 200


def test_a_misspelt_fault_is_refused(site):
    for wrong in ({"kind": "explode"}, {"status": 503}, {"kind": "status", "tmies": 1}, ["status"]):
        assert site.post("/_sandbox/faults", json=wrong).status_code == 400


def test_the_log_shows_what_was_asked_but_no_secret(site):
    site.get("/a?b=c", headers={"Authorization": "Bearer hush", "Range": "bytes=0-1"})
    (entry,) = site.get("/_sandbox/requests").json()
    assert (entry["method"], entry["path"], entry["query"], entry["status"]) == ("GET", "/a", "b=c", 200)
    assert entry["headers"]["range"] == "bytes=0-1"
    assert entry["headers"]["authorization"] == "Bearer …"
    site.delete("/_sandbox/requests")
    assert site.get("/_sandbox/requests").json() == []


def test_a_fault_by_chance_strikes_some_requests_and_the_same_ones_again_from_the_same_seed():
    async def ok(request: Request) -> Response:
        return PlainTextResponse("ok")

    def struck(seed: int) -> list[int]:
        with (
            serve(with_faults(Starlette(routes=[Route("/", ok)]), seed)) as served,
            httpx.Client(base_url=served.url) as client,
        ):
            set_fault(client, kind="status", times=-1, chance=0.3)
            return [client.get("/").status_code for _ in range(60)]

    first = struck(1)
    assert first == struck(1) != struck(2)
    assert 5 < first.count(503) < 35
