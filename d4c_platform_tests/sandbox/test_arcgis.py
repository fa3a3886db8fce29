"""The local ArcGIS server: what real ones answer, and where they trip a client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from d4c_platform.sandbox.arcgis import AsLayer, Recorded, Served, arcgis_app
from d4c_platform.sandbox.arcgis_layers import Abilities, SandboxLayer, layers_in
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform_tests.places import recorded

ADDRESS = "gis.example.ca/rest/services/Wards/FeatureServer/0"
RING = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
HOLE = [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]
ISLAND = [[6, 0], [7, 0], [7, 1], [6, 1], [6, 0]]

LAYERS: dict[str, AsLayer] = {}


@pytest.fixture(scope="module")
def site() -> Iterator[httpx.Client]:
    with serve(with_faults(arcgis_app(lambda: LAYERS))) as served, httpx.Client(base_url=served.url) as client:
        yield client


@pytest.fixture(autouse=True)
def empty() -> None:
    LAYERS.clear()


def point(oid: int, **properties: Any) -> dict[str, Any]:
    return {"id": oid, "geometry": {"type": "Point", "coordinates": [oid, 0, 7]}, "properties": {"n": oid} | properties}


def holds(rows: int | list[dict[str, Any]], geometry_type: str = "esriGeometryPoint", **can: Any) -> SandboxLayer:
    features = [point(n) for n in range(1, rows + 1)] if isinstance(rows, int) else rows
    layer = SandboxLayer(features, geometry_type=geometry_type, abilities=Abilities(**can))
    LAYERS[ADDRESS] = Served(layer)
    return layer


def ask(site: httpx.Client, method: str = "GET", **asked: Any) -> dict[str, Any]:
    parameters = {"f": "json", "where": "1=1", "outFields": "*"} | asked
    how = {"params": parameters} if method == "GET" else {"data": parameters}
    answer = site.request(method, f"/{ADDRESS}/query", **how)
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def oids(answer: dict[str, Any]) -> list[int]:
    return [f["attributes"]["OBJECTID"] if "attributes" in f else f["id"] for f in answer["features"]]


def test_a_layer_says_what_it_is_and_can(site: httpx.Client) -> None:
    holds(3, max_record_count=2, geojson=False)
    said = site.get(f"/{ADDRESS}", params={"f": "json"}).json()
    assert (said["maxRecordCount"], said["objectIdField"], said["supportedQueryFormats"]) == (2, "OBJECTID", "JSON")
    assert said["editingInfo"]["dataLastEditDate"] == 1_749_645_000_000
    assert [f["name"] for f in said["fields"]] == ["OBJECTID", "n"]
    holds(3, edit_date=False, tells_limit=False, pagination=False)
    said = site.get(f"/{ADDRESS}", params={"f": "json"}).json()
    assert not {"editingInfo", "maxRecordCount"} & said.keys()
    assert said["advancedQueryCapabilities"]["supportsPagination"] is False


def test_without_a_format_it_is_a_page_for_people(site: httpx.Client) -> None:
    holds(3)
    assert "<html>" in site.get(f"/{ADDRESS}").text


@pytest.mark.parametrize(
    ("can", "asked", "code", "words"),
    [
        ({}, {"where": ""}, 400, "'where' clause"),
        ({}, {"where": "other = 1"}, 400, "no such column"),
        ({"pagination": False}, {"resultRecordCount": 1}, 400, "Pagination is not supported"),
        ({"geojson": False}, {"f": "geojson"}, 400, "geojson"),
        ({"unbounded_fails": True}, {}, 500, "Error performing query operation"),
        ({"statistics": False}, {"outStatistics": "[{}]"}, 400, "Statistics"),
    ],
)
def test_errors_come_with_200(site: httpx.Client, can: dict[str, Any], asked: dict[str, Any], code: int, words: str) -> None:
    holds(5, max_record_count=3, **can)
    error = ask(site, **asked)["error"]
    assert error["code"] == code
    assert words in " ".join([error["message"], *error["details"]])


def test_what_is_not_there_is_an_error_with_200(site: httpx.Client) -> None:
    assert ask(site)["error"]["code"] == 404


def test_counts_ids_and_the_greatest_id_are_those_of_the_condition(site: httpx.Client) -> None:
    holds(9, max_record_count=2)
    assert ask(site, where="n > 4", returnCountOnly="true") == {"count": 5}
    assert ask(site, where="n > 4", returnIdsOnly="true")["objectIds"] == [5, 6, 7, 8, 9]  # not cut as rows are
    assert ask(site, where="n > 40", returnIdsOnly="true")["objectIds"] is None
    asked = json.dumps([{"statisticType": "max", "onStatisticField": "OBJECTID", "outStatisticFieldName": "top"}])
    assert ask(site, where="n < 4", outStatistics=asked)["features"] == [{"attributes": {"TOP": 3}}]


def test_more_than_the_limit_is_never_given_whatever_is_asked(site: httpx.Client) -> None:
    holds(9, max_record_count=4)
    page = ask(site, orderByFields="OBJECTID", resultRecordCount=1000)
    assert (oids(page), page["exceededTransferLimit"]) == ([1, 2, 3, 4], True)
    last = ask(site, orderByFields="OBJECTID", resultOffset=6, resultRecordCount=4)
    assert oids(last) == [7, 8, 9]
    assert "exceededTransferLimit" not in last


def test_a_layer_without_pagination_answers_in_its_own_order(site: httpx.Client) -> None:
    holds(4, pagination=False)
    assert oids(ask(site, orderByFields="OBJECTID")) == [4, 3, 2, 1]


@pytest.mark.parametrize("place", ["top", "properties"])
def test_the_flag_of_more_rows_stands_in_either_place(site: httpx.Client, place: str) -> None:
    holds(4, max_record_count=2, flag=place)
    page = ask(site, f="geojson")
    assert (page.get("exceededTransferLimit"), page.get("properties")) == (
        (True, None) if place == "top" else (None, {"exceededTransferLimit": True})
    )


def test_pages_may_be_short_or_empty_although_there_is_more(site: httpx.Client) -> None:
    holds(4, short_pages=(1, 0))
    pages = [ask(site, orderByFields="OBJECTID") for _ in range(3)]
    assert [oids(page) for page in pages] == [[1], [], [1]]
    assert all(page["exceededTransferLimit"] for page in pages)
    holds(4, page_bytes=150)
    assert oids(ask(site, orderByFields="OBJECTID")) == [1]


def test_a_long_query_has_to_be_posted(site: httpx.Client) -> None:
    holds(4)
    where = "n IN (" + ",".join(str(n) for n in range(3, 900)) + ")"
    assert site.get(f"/{ADDRESS}/query", params={"where": where, "f": "json"}).status_code == 404
    assert oids(ask(site, "POST", where=where, orderByFields="OBJECTID")) == [3, 4]


def test_shapes_are_written_as_each_format_writes_them(site: httpx.Client) -> None:
    shape = {"type": "MultiPolygon", "coordinates": [[RING, HOLE], [ISLAND]]}
    holds([{"id": 1, "geometry": shape, "properties": {}}], "esriGeometryPolygon")
    (feature,) = ask(site, outSR=4326)["features"]
    assert feature["geometry"] == {"rings": [RING[::-1], ISLAND[::-1], HOLE[::-1]]}
    (feature,) = ask(site, f="geojson")["features"]
    assert feature["geometry"]["coordinates"][1] == [ISLAND[::-1]]
    holds(1, has_z=True)
    assert ask(site)["features"][0]["geometry"] == {"x": 1, "y": 0}
    assert ask(site, returnZ="true")["features"][0]["geometry"] == {"x": 1, "y": 0, "z": 7}


def test_a_layer_changes_at_once_or_before_a_later_query(site: httpx.Client) -> None:
    layer = holds(3)
    site.post("/_sandbox/edits", json={"layer": ADDRESS, "delete": [1]}).raise_for_status()
    site.post("/_sandbox/edits", json={"layer": ADDRESS, "put": [point(7)], "after_queries": 1}).raise_for_status()
    assert ask(site, returnCountOnly="true") == {"count": 2}
    assert ask(site, returnCountOnly="true") == {"count": 3}
    assert layer.moments == [{1, 2, 3}, {2, 3}, {2, 3, 7}]
    assert layer.edited_at > datetime(2025, 6, 11, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize("document", [{}, {"layer": "nowhere"}, {"layer": ADDRESS, "put": 5}, []])
def test_an_edit_that_is_none_is_refused(site: httpx.Client, document: Any) -> None:
    holds(3)
    assert site.post("/_sandbox/edits", json=document).status_code == 400


def test_a_folder_of_geojson_is_served_by_its_addresses(site: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "gis.example.ca/rest/services/Wards/MapServer/2.geojson"
    file.parent.mkdir(parents=True)
    ring = {"type": "Polygon", "coordinates": [RING]}
    features = [{"type": "Feature", "geometry": ring, "properties": {"name": name}} for name in ("a", "b")]
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    layers = layers_in(tmp_path)
    assert list(layers) == ["gis.example.ca/rest/services/Wards/MapServer/2"]
    LAYERS[ADDRESS] = Served(next(iter(layers.values())))
    assert oids(ask(site, where="name = 'b'")) == [2]
    assert site.get(f"/{ADDRESS}", params={"f": "json"}).json()["geometryType"] == "esriGeometryPolygon"


def test_recorded_answers_are_given_as_they_are(site: httpx.Client) -> None:
    folder = recorded("arcgis")
    LAYERS[ADDRESS] = Recorded(folder, "us-ca-carson")
    read = {part: json.loads((folder / f"us-ca-carson-{part}.json").read_text()) for part in ("metadata", "0", "ids-only")}
    assert site.get(f"/{ADDRESS}", params={"f": "json"}).json() == read["metadata"]
    assert ask(site) == read["0"]
    assert ask(site, returnIdsOnly="true") == read["ids-only"]
    assert ask(site, returnCountOnly="true") == {"count": 30551}
    assert site.post("/_sandbox/edits", json={"layer": ADDRESS}).status_code == 400
