"""The sandbox's Opendatasoft portal answers as the real ones do, quirks included."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime

import httpx
import pyarrow.parquet as pq
import pytest

from d4c_platform.sandbox.opendatasoft import OdsDataset, OdsPortal, opendatasoft_app
from d4c_platform.sandbox.serving import serve

TREES = "/api/explore/v2.1/catalog/datasets/street-trees"
POINT = {"type": "Point", "coordinates": [-123.1, 49.2]}


@pytest.fixture
def portal() -> OdsPortal:
    portal = OdsPortal()
    portal.add(OdsDataset("street-trees", [{"id": n, "name": f"ÉRABLE {n}", "geo_shape": POINT} for n in range(150)]))
    return portal


@pytest.fixture
def api(portal: OdsPortal) -> Iterator[httpx.Client]:
    with serve(opendatasoft_app(portal)) as served, httpx.Client(base_url=served.url) as client:
        yield client


def test_a_dataset_says_when_it_was_processed_and_how_many_records_it_has(api: httpx.Client) -> None:
    default = api.get(TREES).json()["metas"]["default"]
    assert default["records_count"] == 150
    assert datetime.fromisoformat(default["data_processed"]).tzinfo is not None


def test_every_export_has_the_same_records_in_another_order(api: httpx.Client) -> None:
    first, second = (api.get(f"{TREES}/exports/geojson").json()["features"] for _ in range(2))
    assert first != second
    assert sorted(f["properties"]["id"] for f in first) == sorted(f["properties"]["id"] for f in second)
    table = pq.read_table(io.BytesIO(api.get(f"{TREES}/exports/parquet").content))
    assert sorted(table["id"].to_pylist()) == list(range(150))


def test_a_csv_has_semicolons_and_a_byte_order_mark_unless_asked_otherwise(api: httpx.Client) -> None:
    assert api.get(f"{TREES}/exports/csv").content.startswith(b"\xef\xbb\xbfid;name;geo_shape\r\n")
    assert api.get(f"{TREES}/exports/csv", params={"delimiter": ","}).content.startswith(b"\xef\xbb\xbfid,name,geo_shape\r\n")


def test_an_export_that_ends_early_looks_like_a_success(api: httpx.Client, portal: OdsPortal) -> None:
    whole = len(api.get(f"{TREES}/exports/csv").content)
    portal.datasets["street-trees"].cut_after = 10
    answer = api.get(f"{TREES}/exports/csv")
    assert answer.status_code == 200
    assert 0 < len(answer.content) < whole
    assert not answer.content.endswith(b"\n")


def test_records_that_are_not_public_are_counted_and_not_exported(api: httpx.Client, portal: OdsPortal) -> None:
    portal.datasets["street-trees"].public = False
    assert api.get(TREES).json()["metas"]["default"]["records_count"] == 150
    assert api.get(f"{TREES}/exports/geojson").json()["features"] == []
    assert api.get(f"{TREES}/records").status_code == 403


def test_pages_stop_at_a_hundred_records_and_ten_thousand_in_all(api: httpx.Client) -> None:
    assert len(api.get(f"{TREES}/records", params={"limit": 100, "offset": 50}).json()["results"]) == 100
    for asked in ({"limit": 101}, {"limit": 100, "offset": 9_901}):
        answer = api.get(f"{TREES}/records", params=asked)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidRESTParameterError")


def test_what_is_not_there_has_its_status(api: httpx.Client) -> None:
    asked = (f"{TREES}/exports/shapes", "/api/explore/v2.1/catalog/datasets/x", f"{TREES}/aggregates")
    assert [api.get(path).status_code for path in asked] == [400, 404, 410]


def test_calls_are_counted_and_end_in_a_429_that_says_when_the_quota_is_reset(api: httpx.Client, portal: OdsPortal) -> None:
    portal.calls_left = 1
    last, refused = api.get(TREES), api.get(TREES)
    assert (last.status_code, last.headers["X-RateLimit-Remaining"]) == (200, "0")
    assert (refused.status_code, refused.json()["errorcode"]) == (429, 10002)
    reset = datetime.fromisoformat(refused.headers["X-RateLimit-Reset"])
    assert reset == datetime.fromisoformat(refused.json()["reset_time"])
    assert reset.tzinfo is not None
