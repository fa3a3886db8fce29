"""The preview: small, repeatable, and never the reason that a version cannot be published."""

import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from d4c_platform.storage.digests import digest
from d4c_platform.transforms import artifact_of, build
from d4c_platform.transforms.preview import MOST_SHAPES, preview
from d4c_platform_tests.transforms import releases as r

SVG = "{http://www.w3.org/2000/svg}"
AREA = {"type": "Polygon", "coordinates": [[[-80, 43], [-79, 43], [-79, 44], [-80, 43]]]}


def drawn(tmp_path, shapes, name="a", **declared):
    (tmp_path / name).mkdir()
    zipped = r.shapefile_zip(tmp_path / name / "z.zip", shapes, {"A": list(range(len(shapes)))})
    dataset = r.layer_dataset(**declared)
    built = build(dataset, r.LAYER_VERSION, r.by_name(zipped), tmp_path / name / "w")
    return preview(dataset, artifact_of(built, r.LAYER_VERSION, digest(built.path)[0]), built.path)


def of_wkb(tmp_path, shapes):
    """A preview of shapes that a shapefile cannot hold."""
    path = tmp_path / "shapes.parquet"
    wkb = shapely.to_wkb(np.array(shapes, dtype=object))
    pq.write_table(pa.table({"geometry": pa.array(list(wkb), pa.binary())}), path)
    return preview(r.layer_dataset(), SimpleNamespace(role="data", crs="EPSG:4326", rows=len(shapes)), path)


def count(svg, tag):
    return len(ET.fromstring(svg).findall(f"{SVG}{tag}"))


def test_few_shapes_are_all_drawn_and_the_same_each_time(tmp_path):
    shapes = [r.square(5000 * i, 0) for i in range(7)]
    svg = drawn(tmp_path, shapes)
    assert count(svg, "path") == 7
    assert drawn(tmp_path, shapes, "b") == svg


def test_north_is_up(tmp_path):
    svg = of_wkb(tmp_path, [shapely.Point(0, 0), shapely.Point(0, 10)])
    south, north = (float(c.get("cy")) for c in ET.fromstring(svg).findall(f"{SVG}circle"))
    assert north < south


def test_a_table_is_drawn_as_its_area(tmp_path):
    text = {"en": "A", "fr": "A"}
    dataset = r.table_dataset(area={"dguid": "2021A000011124", "name": text, "geometry": AREA})
    svg = preview(dataset, SimpleNamespace(role="data", crs=None, rows=5), tmp_path / "is not read")
    assert count(svg, "path") == 1


def test_a_table_whose_area_is_empty_has_an_empty_preview(tmp_path):
    assert count(preview(r.table_dataset(), SimpleNamespace(role="data", crs=None, rows=5), tmp_path / "x"), "path") == 0


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [None, None],
        [shapely.Polygon(), None],
        [shapely.Point(1, 1), None],
        [shapely.Point(1, 1)],
        [shapely.GeometryCollection([shapely.Point(0, 0), shapely.GeometryCollection([shapely.LineString([(0, 0), (1, 1)])])])],
        [shapely.MultiPoint([(0, 0), (1, 1)]), shapely.MultiPolygon([shapely.box(0, 0, 1, 1)])],
        [shapely.Point(1, 2, 3)],
    ],
)
def test_missing_empty_and_odd_shapes_do_not_break_it(tmp_path, shapes):
    svg = of_wkb(tmp_path, shapes)
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_missing_shape_in_a_layer_is_left_out(tmp_path):
    assert count(drawn(tmp_path, [r.square(0, 0), None, r.square(5000, 0)]), "path") == 2


def test_the_title_is_text_not_markup(tmp_path):
    title = {"en": "Fish & <b>chips</b>", "fr": "x"}
    svg = drawn(tmp_path, [r.square(0, 0)], title=title)
    assert ET.fromstring(svg).find(f"{SVG}title").text == title["en"]


def test_a_hundred_thousand_points_are_a_small_picture(tmp_path):
    svg = of_wkb(tmp_path, list(shapely.points(np.random.default_rng(1).random((100_000, 2)))))
    assert MOST_SHAPES / 2 < count(svg, "circle") <= MOST_SHAPES
    assert len(svg) < 300_000


def test_a_coast_of_many_vertices_is_a_small_picture(tmp_path):
    assert len(drawn(tmp_path, [shapely.Point(0, 0).buffer(1000, quad_segs=20_000)])) < 10_000
