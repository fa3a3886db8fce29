"""Made-up tables live as real ones do: releases, revisions that nobody announces, zips packed anew."""

from __future__ import annotations

import zipfile
from datetime import timedelta
from io import BytesIO

import httpx
import pytest

from d4c_platform.sandbox.clock import Clock, instant
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import statcan_app
from d4c_platform.sandbox.tables import Tables

RELEASED = instant("2025-06-11T08:30")
ZIP = "/n1/tbl/csv/14100001-eng.zip"


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "clock.json")


@pytest.fixture
def tables(tmp_path, clock):
    tables = Tables(clock.now, tmp_path / "zips")
    tables.add("14100001").release(RELEASED, "first")
    return tables


@pytest.fixture
def at(tables, clock):
    with serve(statcan_app(tables, clock)) as served, httpx.Client(base_url=served.url) as client:

        def at(hours):
            clock.set(RELEASED + timedelta(hours=hours))
            return client

        yield at


def value(answer: httpx.Response) -> str:
    with zipfile.ZipFile(BytesIO(answer.content)) as packed:
        return packed.read("14100001.csv").decode("utf-8-sig").splitlines()[-1].rpartition(",")[2].strip('"')


def release_time(client: httpx.Client) -> str:
    return client.post("/t1/wds/rest/getCubeMetadata", json=[{"productId": 14100001}]).json()[0]["object"]["releaseTime"]


def test_a_revision_changes_the_content_and_not_the_release_time(tables, at):
    tables["14100001"].revise(RELEASED + timedelta(hours=5), "corrected")
    before, after = at(4).get(ZIP), at(6).get(ZIP)
    assert (value(before), value(after)) == ("first", "corrected")
    assert release_time(at(4)) == release_time(at(6)) == "2025-06-11T08:30"


def test_a_restamp_changes_every_byte_that_tells_and_not_the_content(tables, at):
    tables["14100001"].restamp(RELEASED + timedelta(hours=5))
    before, after = at(4).get(ZIP), at(6).get(ZIP)
    assert before.content != after.content
    assert value(before) == value(after)
    assert all(before.headers[name] != after.headers[name] for name in ("etag", "last-modified"))


def test_what_happens_later_is_not_there_yet(tables, at):
    tables["14100001"].release(RELEASED + timedelta(days=1), "second")
    assert value(at(23).get(ZIP)) == "first"
    assert value(at(25).get(ZIP)) == "second"
    assert tables["14100001"].content(RELEASED + timedelta(hours=25)) == "second"


def test_tables_without_files_are_listed_all_the_same(clock):
    tables = Tables(clock.now)
    tables.add("14100001", archived=True).release(RELEASED, "1")
    clock.set(RELEASED)
    with serve(statcan_app(tables, clock)) as served:
        [cube] = httpx.get(f"{served.url}/t1/wds/rest/getAllCubesListLite").json()
        assert httpx.get(served.url + ZIP).status_code == 404
    assert (cube["productId"], cube["releaseTime"], cube["archived"]) == (14100001, "2025-06-11T12:30:00Z", "1")
