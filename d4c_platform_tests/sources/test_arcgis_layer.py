"""What a layer says is believed when it can be, and its features become GeoJSON without a loss, or are refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse, RedirectResponse

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources.arcgis_features import from_esri, from_geojson
from d4c_platform.sources.arcgis_layer import Busy, LayerClient
from d4c_platform.web import HttpTrouble, Web
from d4c_platform_tests.sources.arcgis_server import ADDRESS, LAYER, Gis, feature, harvest, serving


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Gis, Web]]:
    with serving() as served:
        yield served


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayerClient, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def gis(server: tuple[Gis, Web]) -> Iterator[Gis]:
    server[0].layers.clear()
    yield server[0]
    httpx.delete(f"{server[0].url}/_sandbox/faults")


@pytest.fixture
def client(server: tuple[Gis, Web]) -> LayerClient:
    return LayerClient(server[1], LAYER, "1=1", attempts=2)


# -- errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "failure", "sentence"),
    [
        ({"code": 500, "message": "Error performing query operation"}, Busy, "error 500: Error performing query operation"),
        ({"code": 503, "message": "Service  not\nstarted", "details": None}, Busy, "error 503: Service not started"),
        ({"code": 429, "message": "Too many requests", "details": ["Wait"]}, Busy, "Too many requests; Wait"),
        ({"code": 499, "message": "Token Required", "details": []}, Busy, "it asks for a token"),
        ({"code": 498, "message": "Invalid Token"}, Busy, "it asks for a token"),
        ({"code": 400, "message": "Cannot perform query", "details": ["no such field"]}, PermanentFailure, "no such field"),
        ({"code": 403, "message": "You do not have permissions"}, PermanentFailure, "error 403"),
        ("what", PermanentFailure, "error None"),
    ],
)
def test_an_error_inside_a_200_is_a_failure_of_its_kind(
    gis: Gis, client: LayerClient, error: Any, failure: type[D4CError], sentence: str
) -> None:
    gis.holds(3)
    gis.fault(kind="status", path=f"/{ADDRESS}", status=200, body=json.dumps({"error": error}), times=2)
    with pytest.raises(failure, match=sentence) as caught:
        client.count()
    assert LAYER in str(caught.value)


def test_the_older_form_of_an_error_is_understood_too(gis: Gis, client: LayerClient) -> None:
    gis.fault(kind="status", path="/", status=200, body='{"status": "error", "messages": ["Stopped"], "code": 500}', times=2)
    with pytest.raises(Busy, match="error 500: Stopped"):
        client.layer()


def test_a_page_for_people_is_no_answer_but_may_pass(gis: Gis, client: LayerClient) -> None:
    gis.holds(3)
    gis.fault(kind="html", path="/", times=2)
    with pytest.raises(TransientFailure, match="text/html; charset=utf-8 instead of JSON"):
        client.count()


def test_an_answer_of_the_gateway_keeps_its_status(gis: Gis, client: LayerClient) -> None:
    gis.fault(kind="status", path="/", status=502, times=2)
    with pytest.raises(HttpTrouble, match="502"):
        client.count()


def test_a_layer_that_is_not_there_is_an_error(gis: Gis, client: LayerClient) -> None:
    with pytest.raises(PermanentFailure, match="error 404: Service not found"):
        client.layer()


def test_a_condition_that_the_server_does_not_understand_is_told_with_its_words(gis: Gis, server: tuple[Gis, Web]) -> None:
    gis.holds(3)
    with pytest.raises(PermanentFailure, match="no such column: KND"):
        LayerClient(server[1], LAYER, "KND = 'a'").count()


def test_an_answer_that_came_from_a_private_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(scope, receive, send) -> None:  # it stands for every host, the public ones too
        if scope["type"] == "http":
            inside = JSONResponse({"count": 5}) if "inside" in scope["path"] else RedirectResponse("http://10.0.0.7/inside")
            await inside(scope, receive, send)

    with serve(proxy) as served:
        monkeypatch.setenv("http_proxy", served.url)
        web = Web(attempts=1)
        with pytest.raises(PermanentFailure, match="redirects into a private network"):
            LayerClient(web, f"http://{ADDRESS}", "1=1").count()
        web.close()


# -- what it says of itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"type": "Group Layer"}, "it is a Group Layer"),
        ({"type": "Raster Layer"}, "it is a Raster Layer"),
        ({"capabilities": "Map,Data"}, "does not let it be queried"),
        ({"objectIdField": None, "fields": []}, "it has no object id"),
        ({"objectIdField": "", "fields": None}, "it has no object id"),
        ({"geometryType": "esriGeometryMultiPatch"}, "multipatches"),
    ],
)
def test_a_layer_whose_rows_cannot_be_read_completely_is_refused(
    gis: Gis, client: LayerClient, metadata: dict[str, Any], sentence: str
) -> None:
    gis.holds(3, metadata=metadata)
    with pytest.raises(PermanentFailure, match=sentence):
        client.layer()


@pytest.mark.parametrize("said", [None, 0, -5, "1000", True])
def test_a_limit_that_is_none_is_taken_as_the_smallest_default(gis: Gis, client: LayerClient, said: object) -> None:
    gis.holds(3, metadata={"maxRecordCount": said})
    assert client.layer().most_rows == LayerClient.DEFAULT_ROWS


def test_a_table_without_geometry_is_read(gis: Gis, server: tuple[Gis, Web]) -> None:
    rows = [{**feature(n), "geometry": None} for n in (1, 2)]
    for geojson in (True, False):
        gis.holds(rows, geometry_type=None, geojson=geojson)
        assert [f["geometry"] for f in json.loads(harvest(server[1]))["features"]] == [None, None]


def test_coordinates_of_another_system_are_refused(gis: Gis, server: tuple[Gis, Web], client: LayerClient) -> None:
    gis.holds(3, geojson=False)
    layer, real = client.layer(), gis.layers[ADDRESS]

    class Deaf:
        """A server that does not hear `outSR`."""

        def described(self):
            return real.described()

        def answered(self, asked):
            answer = real.answered(asked)
            if "spatialReference" in answer:
                answer["spatialReference"] = {"wkid": 102100, "latestWkid": 3857}
            if "crs" in answer:
                answer["crs"]["properties"]["name"] = "EPSG:3857"
            return answer

    gis.layers[ADDRESS] = Deaf()
    with pytest.raises(PermanentFailure, match="the coordinates came in 102100"):
        client.page(layer, rows=3)
    real.layer.abilities = type(real.layer.abilities)()
    with pytest.raises(PermanentFailure, match="the coordinates came in EPSG:3857"):
        client.page(client.layer(), rows=3)


def test_heights_are_asked_for_where_a_layer_has_them(gis: Gis, server: tuple[Gis, Web]) -> None:
    rows = [
        feature(1, geometry={"type": "Point", "coordinates": [-79.5, 43.5, 120.25]}),
        feature(2, geometry={"type": "LineString", "coordinates": [[-79.5, 43.5, 1.5], [-79.4, 43.5, 2]]}),
    ]
    for geojson in (True, False):
        gis.holds(rows, geojson=geojson, has_z=True)
        read = json.loads(harvest(server[1]))["features"]
        assert [f["geometry"] for f in read] == [f["geometry"] for f in rows]


# -- shapes -------------------------------------------------------------------------------------------------------------


def esri(geometry: Any, oid: Any = 1) -> Any:
    return json.loads(from_esri({"attributes": {"OBJECTID": oid}, "geometry": geometry}, "OBJECTID").line)["geometry"]


def square(x: float, y: float, size: float, *, clockwise: bool) -> list[list[float]]:
    ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
    return ring[::-1] if clockwise else ring


def test_each_kind_of_esri_geometry_has_its_geojson() -> None:
    a, b = [[0, 0], [1, 1]], [[2, 2], [3, 4]]
    assert esri({"x": 1, "y": 2}) == {"type": "Point", "coordinates": [1, 2]}
    assert esri({"x": 1, "y": 2, "z": 3, "m": 4}) == {"type": "Point", "coordinates": [1, 2, 3]}
    assert esri({"points": a}) == {"type": "MultiPoint", "coordinates": a}
    assert esri({"paths": [a]}) == {"type": "LineString", "coordinates": a}
    assert esri({"paths": [a, b]}) == {"type": "MultiLineString", "coordinates": [a, b]}
    outer = square(0, 0, 4, clockwise=False)
    assert esri({"rings": [outer[::-1]]}) == {"type": "Polygon", "coordinates": [outer]}


@pytest.mark.parametrize(
    "empty", [None, {}, {"x": "NaN", "y": "NaN"}, {"x": None, "y": None}, {"points": []}, {"paths": []}, {"rings": []}]
)
def test_an_empty_geometry_is_none(empty: Any) -> None:
    assert esri(empty) is None


def test_measures_are_left_out_and_heights_that_are_none() -> None:
    assert esri({"hasM": True, "paths": [[[0, 0, 9], [1, 1, 9]]]})["coordinates"] == [[0, 0], [1, 1]]
    mixed = {"hasZ": True, "hasM": True, "paths": [[[0, 0, 5, 9], [1, 1, None, 9], [2, 2, "NaN"]]]}
    assert esri(mixed)["coordinates"] == [[0, 0, 5], [1, 1], [2, 2]]


def test_a_hole_belongs_to_the_smallest_ring_around_it() -> None:
    lake = square(1, 1, 8, clockwise=False)
    island, pond = square(2, 2, 4, clockwise=True), square(3, 3, 1, clockwise=False)
    mainland = square(0, 0, 10, clockwise=True)
    elsewhere = square(20, 0, 3, clockwise=True)
    got = esri({"rings": [pond, elsewhere, lake, island, mainland]})
    shape = shapely.from_geojson(json.dumps(got))
    assert shape.is_valid
    assert shape.area == 9 + (16 - 1) + (100 - 64)
    assert got["type"] == "MultiPolygon"


def test_a_hole_that_touches_its_ring_is_still_its_hole() -> None:
    outer = square(0, 0, 4, clockwise=True)
    hole = [[0, 0], [2, 1], [1, 2], [0, 0]]  # counterclockwise, from the corner
    got = esri({"rings": [outer, hole]})
    assert (got["type"], len(got["coordinates"])) == ("Polygon", 2)
    assert shapely.from_geojson(json.dumps(got)).area == 16 - 1.5


def test_a_hole_in_nothing_is_a_polygon_as_arcgis_draws_it() -> None:
    ring = square(0, 0, 4, clockwise=False)
    assert esri({"rings": [ring]}) == {"type": "Polygon", "coordinates": [ring]}


def test_a_ring_that_is_not_closed_is_closed() -> None:
    assert esri({"rings": [[[0, 0], [0, 1], [1, 0]]]})["coordinates"] == [[[0, 0], [1, 0], [0, 1], [0, 0]]]


@pytest.mark.parametrize(
    ("geometry", "word"),
    [
        ({"curveRings": [[[0, 0], {"c": [[1, 1], [2, 0]]}]]}, "true curves"),
        ({"curvePaths": []}, "true curves"),
        ({"paths": [[[0, 0], {"c": [[1, 1], [2, 0]]}]]}, "cannot be read"),
        ({"rings": [[[0, 0], [1], [2, 2]]]}, "cannot be read"),
        ({"rings": 5}, "cannot be read"),
        ({"points": [["a", "b"]]}, "cannot be read"),
        ({"x": "1", "y": 2}, "cannot be read"),
        ({"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}, "no word for"),
        ([], None),
        ([1], "cannot be read"),
    ],
)
def test_what_is_no_shape_of_geojson_is_refused_with_its_object_id(geometry: Any, word: str | None) -> None:
    if word is None:
        assert esri(geometry) is None
        return
    with pytest.raises(PermanentFailure, match=f"object id 17 .*{word}"):
        esri(geometry, 17)


@pytest.mark.parametrize("oid", [None, "1", 1.5, True])
def test_an_object_id_that_is_none_is_refused(oid: Any) -> None:
    with pytest.raises(PermanentFailure, match="no whole number"):
        esri(None, oid)
    with pytest.raises(PermanentFailure, match="no whole number"):
        from_geojson({"type": "Feature", "properties": {"OBJECTID": oid}, "geometry": None}, "OBJECTID")


def test_a_value_that_no_file_can_hold_is_refused_with_its_object_id() -> None:
    with pytest.raises(PermanentFailure, match="object id 3 cannot be written"):
        from_esri({"attributes": {"OBJECTID": 3, "name": "\ud800"}}, "OBJECTID")


@pytest.mark.parametrize("geometry", [{"type": "GeometryCollection", "geometries": []}, {"type": "Point"}, "POINT (1 1)"])
def test_geojson_that_no_layer_has_is_refused(geometry: Any) -> None:
    with pytest.raises(PermanentFailure, match="no GeoJSON that a layer has"):
        from_geojson({"type": "Feature", "id": 1, "properties": {}, "geometry": geometry}, "OBJECTID")


def polygons() -> st.SearchStrategy[dict[str, Any]]:
    """Squares in a row, each with up to two square holes: valid, and apart from each other."""
    holes = st.lists(st.sampled_from([(1, 1), (5, 5), (1, 5)]), max_size=2, unique=True)

    def build(parts: list[list[tuple[int, int]]]) -> dict[str, Any]:
        shapes = [
            [
                square(20 * n, 0, 10, clockwise=False),
                *(square(20 * n + x, y, 2, clockwise=True) for x, y in sorted(inner)),
            ]
            for n, inner in enumerate(parts)
        ]
        if len(shapes) == 1:
            return {"type": "Polygon", "coordinates": shapes[0]}
        return {"type": "MultiPolygon", "coordinates": shapes}

    return st.lists(holes, min_size=1, max_size=4).map(build)


@settings(max_examples=25, deadline=None)
@given(shapes=st.lists(polygons(), min_size=1, max_size=3))
def test_both_formats_give_the_same_canonical_shapes(server, shapes: list[dict[str, Any]]) -> None:
    gis, web = server
    rows = [feature(n, geometry=shape) for n, shape in enumerate(shapes, 1)]
    read = []
    for geojson in (True, False):
        gis.holds(rows, geojson=geojson, geometry_type="esriGeometryPolygon")
        read.append(harvest(web))
    assert read[0] == read[1]
    assert [f["geometry"] for f in json.loads(read[0])["features"]] == shapes


def test_the_document_is_read_by_gdal(gis: Gis, server: tuple[Gis, Web], tmp_path: Path) -> None:
    gis.holds([feature(1, "é"), {**feature(2), "geometry": None}, feature(3, None)])
    file = tmp_path / "layer.geojson"
    file.write_bytes(harvest(server[1]))
    meta, fids, shapes, (kinds, *_) = pyogrio.raw.read(file, return_fids=True)
    assert (meta["crs"], list(fids), list(kinds)) == ("EPSG:4326", [1, 2, 3], ["é", "a", None])
    assert shapes[1] is None
    assert shapely.from_wkb(shapes[0]).x == -79.499
