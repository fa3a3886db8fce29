"""A redirect may not lead from HTTPS to HTTP, nor from a public host into a private network."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.responses import RedirectResponse, Response

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.sources import CkanSource, OpendatasoftSource
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources.hops import is_private, refuse_astray
from d4c_platform.sources.receipt import receive
from d4c_platform.sources.registry import open_source
from d4c_platform.sources.source import SourceUrl
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import http_file, utc

ASKED = "https://files.example.ca/wards.zip"


def by_way_of(*urls: str) -> httpx.Response:
    """An answer that came over these URLs."""
    *passed, last = (httpx.Response(302, request=httpx.Request("GET", url)) for url in urls)
    last.history = passed
    return last


def judge(*urls: str, web: Web | None = None) -> None:
    refuse_astray(web or Web(), urls[0], by_way_of(*urls), where="receipt", kept="The previous latest stays")


@pytest.mark.parametrize(
    ("hops", "why"),
    [
        (["http://files.example.ca/a.zip"], "redirects from HTTPS to http://files.example.ca/a.zip"),
        (["http://files.example.ca/a.zip", "https://files.example.ca/a.zip"], "redirects from HTTPS"),
        (["https://10.0.0.7/a.zip?token=secret"], r"redirects into a private network \(https://10.0.0.7/a.zip\)"),
        (["https://cdn.example.ca/a", "https://169.254.169.254/latest", "https://cdn.example.ca/b"], "169.254.169.254"),
        (["https://localhost/a.zip"], "private network"),
        (["https://[::1]/a.zip"], "private network"),
    ],
)
def test_a_hop_astray_is_refused_and_named(hops: list[str], why: str) -> None:
    with pytest.raises(PermanentFailure, match=why) as failure:
        judge(ASKED, *hops)
    assert "secret" not in str(failure.value)
    assert ASKED in str(failure.value)


@pytest.mark.parametrize(
    "way",
    [
        [ASKED],
        [ASKED, "https://cdn.example.ca/2025/wards.zip"],
        ["http://files.example.ca/a.zip", "https://files.example.ca/a.zip"],
        ["http://files.example.ca/a.zip", "http://cdn.example.ca/a.zip"],
        ["https://localhost:8443/a.zip", "http://127.0.0.1:8080/a.zip"],
    ],
)
def test_other_ways_are_taken(way: list[str]) -> None:
    judge(*way)


def test_a_stand_in_may_lead_anywhere() -> None:
    judge(ASKED, "http://127.0.0.1:8104/a.zip", web=Web(origins={"https://files.example.ca": "http://127.0.0.1:8104"}))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "localhost.",
        "a.internal",
        "::1",
        "[fe80::1]",
        "::ffff:10.0.0.1",
        "0.0.0.0",
    ],
)
def test_a_private_host_is_known_in_every_spelling(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["files.example.ca", "8.8.8.8", "2606:4700::1111", "local.example.ca", ""])
def test_a_public_host_is_not_private(host: str) -> None:
    assert not is_private(host)


CATALOGUES = [
    {"kind": "ckan", "portal": "http://data.example.ca", "package": "wards", "resources": ["r1"]},
    {"kind": "opendatasoft", "portal": "http://data.example.ca", "dataset": "wards", "format": "geojson"},
]


@pytest.mark.parametrize("source", CATALOGUES, ids=lambda source: source["kind"])
def test_no_catalogue_is_read_in_a_private_network(monkeypatch: pytest.MonkeyPatch, source: dict) -> None:
    async def proxy(scope, receive, send) -> None:
        if scope["type"] == "http":
            inside = "inside" in scope["path"]
            await (Response("{}") if inside else RedirectResponse("http://10.0.0.7/inside"))(scope, receive, send)

    declared = {"ckan": CkanSource, "opendatasoft": OpendatasoftSource}[source["kind"]].model_construct(**source)
    dataset = http_file().model_copy(update={"source": declared})
    with serve(proxy) as served:
        monkeypatch.setenv("http_proxy", served.url)
        web = Web(attempts=1)
        with pytest.raises(PermanentFailure, match="redirects into a private network"):
            open_source(dataset, web).detect(dataset, None, [], utc("2025-07-01T12:00"))
        web.close()


def test_nothing_that_came_from_a_private_network_is_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(scope, receive, send) -> None:  # it stands for every host, the public ones too
        if scope["type"] == "http":
            inside = "inside" in scope["path"]
            await (Response(b"secret") if inside else RedirectResponse("http://10.0.0.7/inside"))(scope, receive, send)

    with serve(proxy) as served:
        monkeypatch.setenv("http_proxy", served.url)
        web = Web(attempts=1)
        with pytest.raises(PermanentFailure, match="redirects into a private network"):
            receive(web, SourceUrl("wards.zip", "http://files.example.ca/wards.zip"), tmp_path / "wards.zip")
        assert receive(web, SourceUrl("a", "http://10.0.0.7/inside"), tmp_path / "a").bytes == 6
        web.close()
    assert not (tmp_path / "wards.zip").exists()
