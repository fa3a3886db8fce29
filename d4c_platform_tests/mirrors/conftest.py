"""A Zenodo with a fault switch on a real socket, records in a real folder, and a client that does not dawdle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from d4c_platform.mirrors.zenodo import Zenodo
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.zenodo import zenodo_app
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.records import Records
from d4c_platform.web import Web

TOKEN = "secret-token-of-the-tests"


class Site:
    """The sandbox's Zenodo as a test sees it: its faults, its request log, and what the public can read."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fault(self, **fault: Any) -> None:
        httpx.post(f"{self.url}/_sandbox/faults", json=fault).raise_for_status()

    def requests(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        log = httpx.get(f"{self.url}/_sandbox/requests").json()
        return [r for r in log if method in {"", r["method"]} and path in r["path"]]

    def forget(self) -> None:
        httpx.delete(f"{self.url}/_sandbox/requests")

    def published(self) -> list[dict[str, Any]]:
        return self.get("records?size=100")["hits"]["hits"]

    def drafts(self) -> list[dict[str, Any]]:
        return [d for d in self.get("user/records?size=100")["hits"]["hits"] if not d["is_published"]]

    def get(self, path: str) -> Any:
        return self.call("GET", path).raise_for_status().json()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/vnd.inveniordm.v1+json"}
        return httpx.request(method, f"{self.url}/api/{path}", headers={**headers, **options.pop("headers", {})}, **options)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serve(with_faults(zenodo_app(tmp_path / "zenodo", token=TOKEN))) as served:
        yield Site(served.url)


@pytest.fixture
def portal(tmp_path: Path) -> Path:
    folder = tmp_path / "portal"
    folder.mkdir()
    return folder


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(LocalStore(tmp_path / "records", "http://portal.example"))


@pytest.fixture
def web() -> Iterator[Web]:
    client = Web(per_host_per_s=10_000, first_wait_s=0.01, timeout_s=10)
    yield client
    client.close()


@pytest.fixture
def zenodo_at(site: Site, records: Records, web: Web) -> Callable[..., Zenodo]:
    """A Zenodo for the site; another token or a closed gate when asked for."""

    def make(*, token: str = TOKEN, publish_allowed: bool = True) -> Zenodo:
        return Zenodo(web, records, site.url, token, publish_allowed=publish_allowed, first_wait_s=0.01)

    return make


@pytest.fixture
def zenodo(zenodo_at: Callable[..., Zenodo]) -> Zenodo:
    return zenodo_at()
