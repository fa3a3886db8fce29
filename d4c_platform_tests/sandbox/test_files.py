"""The publishers' plain files, and which recorded file stands in for which declared dataset."""

from pathlib import Path

import httpx
import pytest

from d4c_platform import datasets
from d4c_platform.model.sources import StatCanGeographySource
from d4c_platform.sandbox import recorded, stand_ins
from d4c_platform.sandbox.files import files_app
from d4c_platform.sandbox.serving import serve
from d4c_platform.web import Web

RECORDED = Path(__file__).parents[2] / ".." / "shared" / "data"
URL = "https://example.org/geo/Ward%20map.zip?token=1"


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "a.zip"
    file.write_bytes(b"PK" * 100)
    return file


@pytest.fixture
def server(file):
    with serve(files_app(lambda: {recorded.address(URL): file})) as served:
        yield served.url


@pytest.fixture
def web(server):
    web = Web(origins={"https://example.org": f"{server}/example.org"}, first_wait_s=0.01)
    yield web
    web.close()


def test_a_declared_url_reaches_its_file_through_the_hosts_prefix(web):
    answer = web.request("GET", URL, where="test")
    assert answer.content == b"PK" * 100
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["etag"].startswith('"')


def test_head_range_and_conditions_work(web):
    known = web.request("HEAD", URL, where="test").headers
    assert int(known["content-length"]) == 200
    part = web.request("GET", URL, where="test", headers={"Range": "bytes=-2"})
    assert (part.status_code, part.content) == (206, b"PK")
    for condition in ({"If-None-Match": known["etag"]}, {"If-Modified-Since": known["last-modified"]}):
        assert web.request("GET", URL, where="test", headers=condition, ok=lambda s: s == 304).content == b""


def test_a_new_release_in_the_same_place_has_another_etag(web, file):
    before = web.request("HEAD", URL, where="test").headers["etag"]
    fresh = file.with_name("fresh")
    fresh.write_bytes(b"KP" * 100)
    fresh.replace(file)
    assert web.request("HEAD", URL, where="test").headers["etag"] != before


def test_anything_else_is_a_404_page_for_people(server):
    for path in ("/example.org/geo/Ward%20map.zip", "/other.org/geo/Ward%20map.zip?token=1", "/"):
        answer = httpx.get(server + path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")
def test_recorded_files_stand_in_for_the_datasets_they_are_named_after():
    found = {d.id: recorded.file_of(d, RECORDED) for d in datasets.load().values()}
    named = {id_.split("_")[1].split("-")[0]: file.name for id_, file in found.items() if file is not None}
    assert named == {"toronto": "toronto_wards_2018.zip", "yukon": "yukon_electoral_districts_2015.zip"}


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")
def test_a_declared_dataset_without_a_recording_is_known_to_have_none():
    here = {d.id for d in datasets.load().values() if stand_ins.is_recorded(d, RECORDED)}
    assert {id_.rsplit("_", 1)[1] for id_ in here} == {"33100036", "18100204", "2018", "2015"}
    assert len(here) == 4


def test_a_geography_file_is_offered_like_any_other_file(tmp_path):
    url = "https://www12.statcan.gc.ca/geo/lpr_000a21a_e.zip"
    source = StatCanGeographySource(kind="statcan-geography", url=url)
    dataset = next(iter(datasets.load().values())).model_copy(update={"source": source})
    file = tmp_path / "files" / "www12.statcan.gc.ca" / "geo" / "lpr_000a21a_e.zip"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PK")
    assert recorded.files_by_address([dataset], tmp_path) == {recorded.address(url): file}
    assert stand_ins.is_recorded(dataset, tmp_path)
