"""The Web Data Service: its answers' shapes, its codes, its two time zones, and the clock."""

import zipfile
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from d4c_platform.sandbox import releases
from d4c_platform.sandbox.clock import EASTERN, Clock
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import statcan_app

RECORDED = Path(__file__).parents[2] / ".." / "shared" / "data"
WDS = "/t1/wds/rest"
PID = "98100001"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases")
    releases.build(folder)
    return folder


@pytest.fixture(scope="module")
def site(folder, tmp_path_factory):
    clock = Clock(tmp_path_factory.mktemp("clock") / "clock.json")
    with serve(statcan_app(folder, clock)) as served, httpx.Client(base_url=served.url) as client:
        yield client


def at(site, eastern):
    answer = site.post("/_sandbox/clock", json={"now": eastern})
    assert answer.status_code == 200
    return answer.json()


def metadata(site, *products):
    return site.post(f"{WDS}/getCubeMetadata", json=[{"productId": p} for p in products]).json()


def test_a_release_day_lists_its_table_once_it_is_out(site):
    at(site, "2022-02-09T08:30")
    assert site.get(f"{WDS}/getChangedCubeList/2022-02-09").json() == {
        "status": "SUCCESS",
        "object": [{"responseStatusCode": 0, "productId": 98100001, "releaseTime": "2022-02-09T08:30"}],
    }
    assert site.get(f"{WDS}/getChangedCubeList/2022-02-10").json() == {"status": "SUCCESS", "object": []}


def test_before_0830_the_day_is_still_empty(site):
    at(site, "2022-02-09T08:29:59")
    assert site.get(f"{WDS}/getChangedCubeList/2022-02-09").json()["object"] == []


def test_the_day_is_the_eastern_one_whatever_zone_the_clock_is_set_in(site):
    at(site, "2022-02-09T13:30:00Z")
    assert len(site.get(f"{WDS}/getChangedCubeList/2022-02-09").json()["object"]) == 1


def test_a_date_that_is_none_fails_with_code_1(site):
    answer = site.get(f"{WDS}/getChangedCubeList/yesterday")
    assert (answer.status_code, answer.json()) == (200, {"status": "FAILED", "object": {"responseStatusCode": 1}})


def test_advancing_the_clock_brings_the_second_release(site):
    assert at(site, "2017-02-08T09:00")["next_release"].startswith("2022-02-09T08:30")
    first = metadata(site, PID)[0]["object"]
    assert (first["releaseTime"], first["nbDatapointsCube"]) == ("2017-02-08T08:30", 28)
    old = site.get(f"/n1/tbl/csv/{PID}-eng.zip")
    assert at(site, "2022-02-09T09:00")["next_release"] is None
    second = metadata(site, PID)[0]["object"]
    assert (second["releaseTime"], second["nbDatapointsCube"]) == ("2022-02-09T08:30", 56)
    new = site.get(f"/n1/tbl/csv/{PID}-eng.zip")
    assert new.content != old.content
    assert new.headers["etag"] != old.headers["etag"]
    assert new.headers["last-modified"] == "Wed, 09 Feb 2022 05:34:00 GMT"  # 00:34 Eastern


def test_items_fail_one_by_one_within_a_200(site):
    at(site, "2022-02-09T09:00")
    known, unknown, nonsense = metadata(site, int(PID), 12345678, "x")
    assert (known["status"], known["object"]["productId"]) == ("SUCCESS", PID)
    for failed in (unknown, nonsense):
        assert (failed["status"], failed["object"]["responseStatusCode"]) == ("FAILED", 5)


def test_a_table_that_comes_out_later_today_is_locked_with_code_6(site):
    at(site, "2022-02-09T03:00")
    (item,) = metadata(site, PID)
    assert (item["status"], item["object"]["responseStatusCode"]) == ("FAILED", 6)
    download = site.get(f"{WDS}/getFullTableDownloadCSV/{PID}/en").json()
    assert (download["status"], download["object"]["responseStatusCode"]) == ("FAILED", 6)
    at(site, "2022-02-08T23:59")
    assert metadata(site, PID)[0]["object"]["releaseTime"] == "2017-02-08T08:30"


def test_metadata_wants_json_and_a_list(site):
    url = f"{WDS}/getCubeMetadata"
    assert site.post(url, content=b"[]", headers={"Content-Type": "text/plain"}).status_code == 415
    assert site.post(url, json={"productId": PID}).status_code == 406
    assert site.post(url, content=b"[", headers={"Content-Type": "application/json"}).status_code == 400
    assert site.get(url).status_code == 405


def test_download_links_point_at_the_real_host_in_both_languages(site):
    at(site, "2022-02-09T09:00")
    for language, suffix in (("en", "eng"), ("fr", "fra")):
        answer = site.get(f"{WDS}/getFullTableDownloadCSV/{PID}/{language}").json()
        assert answer == {"status": "SUCCESS", "object": f"https://www150.statcan.gc.ca/n1/tbl/csv/{PID}-{suffix}.zip"}
        assert site.get(f"/n1/tbl/csv/{PID}-{suffix}.zip").status_code == 200


def test_unknown_tables_methods_and_files_are_404(site):
    at(site, "2022-02-09T09:00")
    for path in (f"{WDS}/getFullTableDownloadCSV/12345678/en", f"{WDS}/getNothing", "/n1/tbl/csv/12345678-eng.zip",
                 f"/n1/tbl/csv/{PID}-spa.zip", f"{WDS}/getChangedSeriesList/2022-02-09"):  # fmt: skip
        assert site.get(path).status_code == 404, path


def test_nothing_is_out_before_the_first_release(site):
    at(site, "2016-01-01")
    assert site.get(f"/n1/tbl/csv/{PID}-eng.zip").status_code == 404
    assert site.get(f"{WDS}/getAllCubesListLite").json() == []
    assert metadata(site, PID)[0]["object"]["responseStatusCode"] == 5


def test_changed_series_are_409_before_the_days_release(site):
    at(site, "2022-02-09T08:00")
    assert site.get(f"{WDS}/getChangedSeriesList").status_code == 409
    at(site, "2022-02-09T09:00")
    series = site.get(f"{WDS}/getChangedSeriesList").json()["object"]
    assert len(series) == 28
    assert series[0]["coordinate"] == "1.1.0.0.0.0.0.0.0.0"
    at(site, "2022-02-10T09:00")
    assert site.get(f"{WDS}/getChangedSeriesList").json()["object"] == []


def test_the_list_of_cubes_is_bare_and_in_utc(site):
    at(site, "2022-02-09T09:00")
    (cube,) = site.get(f"{WDS}/getAllCubesListLite").json()
    assert (cube["productId"], cube["releaseTime"]) == (98100001, "2022-02-09T13:30:00Z")
    assert cube["cubeTitleFr"].startswith("Chiffres")


def test_zips_answer_ranges_heads_and_conditions(site):
    at(site, "2022-02-09T09:00")
    url = f"/n1/tbl/csv/{PID}-fra.zip"
    whole = site.get(url)
    assert site.get(url, headers={"Range": "bytes=0-3"}).content == b"PK\x03\x04"
    assert int(site.head(url).headers["content-length"]) == len(whole.content)
    assert site.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_a_clock_can_be_let_go_and_refuses_nonsense(site):
    assert at(site, "2017-02-08T09:00")["fixed"]
    assert not at(site, None)["fixed"]
    for wrong in ({"now": "soon"}, {}, []):
        assert site.post("/_sandbox/clock", json=wrong).status_code == 400


def test_the_clock_outlives_its_server(tmp_path):
    Clock(tmp_path / "a" / "clock.json").set(datetime(2017, 2, 8, 9, tzinfo=EASTERN))
    assert Clock(tmp_path / "a" / "clock.json").now() == datetime(2017, 2, 8, 9, tzinfo=EASTERN)


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")
def test_recorded_tables_are_served_in_place_at_their_own_release_time(tmp_path):
    with serve(statcan_app(RECORDED, Clock(tmp_path / "c"))) as served, httpx.Client(base_url=served.url) as site:
        at(site, "2025-06-11T09:00")
        first, second = metadata(site, 33100036, 18100204)
        assert (first["object"]["nbDatapointsCube"], second["object"]["releaseTime"]) == (90086, "2018-12-11T08:30")
        for day, product in (("2025-06-11", 33100036), ("2018-12-11", 18100204)):
            assert [c["productId"] for c in site.get(f"{WDS}/getChangedCubeList/{day}").json()["object"]] == [product]
        body = site.get("/n1/tbl/csv/33100036-eng.zip").content
        assert body == (RECORDED / "statcan" / "33100036-eng.zip").read_bytes()
        assert site.get("/n1/tbl/csv/33100036-fra.zip").status_code == 404  # only English was recorded
        series = site.get(f"{WDS}/getChangedSeriesList").json()["object"]
        assert len(series) == first["object"]["nbSeriesCube"]
        assert zipfile.is_zipfile(RECORDED / "statcan" / "18100204-eng.zip")
