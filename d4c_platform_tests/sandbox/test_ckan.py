"""The sandbox's CKAN portal answers as the real ones do, quirks included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from d4c_platform.sandbox.ckan import Catalogue, ckan_app, package, recorded_packages, resource
from d4c_platform.sandbox.serving import serve
from d4c_platform_tests.places import recorded

SHOW = "/data/en/api/3/action/package_show"


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    catalogue = Catalogue()
    catalogue.add(package("wards", [resource("r1", "https://open.canada.ca/a/b.zip")]), package("secret", []))
    catalogue.private.add("secret")
    (tmp_path / "b.zip").write_bytes(b"PK" * 200_000)
    catalogue.files["a/b.zip"] = catalogue.dumps["r1"] = tmp_path / "b.zip"
    return catalogue


@pytest.fixture
def portal(catalogue: Catalogue) -> Iterator[httpx.Client]:
    with serve(ckan_app(catalogue)) as served, httpx.Client(base_url=served.url) as client:
        yield client


def test_a_package_is_shown_under_any_base_path_and_says_little_of_its_files(portal: httpx.Client) -> None:
    for path in (SHOW, "/api/3/action/package_show"):
        answer = portal.get(path, params={"id": "wards"}).json()
        (linked,) = answer["result"]["resources"]
        assert answer["success"] is True
        assert (linked["hash"], linked["last_modified"], linked["package_id"]) == ("", None, "wards")


def test_failures_have_ckans_shape_and_their_statuses(portal: httpx.Client) -> None:
    told = {}
    for asked in ({"id": "gone"}, {"id": "secret"}, {}):
        answer = portal.get(SHOW, params=asked)
        assert answer.json()["success"] is False
        told[answer.status_code] = answer.json()["error"]
    assert told == {
        404: {"__type": "Not Found Error", "message": "Not found"},
        403: {"__type": "Authorization Error", "message": "Access denied: User  not authorized to read package secret"},
        409: {"__type": "Validation Error", "name_or_id": ["Missing value"]},
    }
    assert portal.get("/api/3/action/explode").status_code == 400


def test_a_restless_portals_dates_move_at_every_look_and_nothing_else_does(portal: httpx.Client, catalogue: Catalogue) -> None:
    catalogue.restless = True
    first, second = (portal.post(SHOW, json={"id": "wards"}).json()["result"] for _ in range(2))
    assert first.pop("metadata_modified") < second.pop("metadata_modified")
    assert first == second


def test_an_uploaded_file_has_validators_and_a_dump_has_none(portal: httpx.Client) -> None:
    uploaded, dumped = portal.head("/a/b.zip"), portal.get("/datastore/dump/r1")
    assert {"etag", "last-modified", "content-length"} <= uploaded.headers.keys()
    assert not {"etag", "last-modified", "content-length"} & dumped.headers.keys()
    assert len(dumped.content) == 400_000
    assert portal.get("/nothing").status_code == portal.get("/datastore/dump/x").status_code == 404


def test_recorded_packages_are_shown_as_they_were(portal: httpx.Client, catalogue: Catalogue) -> None:
    packages = recorded_packages(recorded("ckan", "open_canada_packages.jsonl"))
    catalogue.add(*packages)
    for shown in packages:
        assert portal.get(SHOW, params={"id": shown["id"]}).json()["result"] == shown
