"""Zipped shapefiles: GeoParquet that two validators accept, and shapefiles that end in a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import build
from d4c_platform_tests.places import recorded
from d4c_platform_tests.transforms import releases as r

BIN = Path(sys.executable).parent


def layer(tmp_path, zipped, **declared):
    return build(r.layer_dataset(**declared), r.LAYER_VERSION, r.by_name(zipped), tmp_path / "work")


def geo_of(path):
    return json.loads(pq.read_metadata(path).metadata[b"geo"])


def districts(tmp_path, count=4, **options):
    places = [(500_000.1 + 7000.3 * (i * 7 % count), 600_000.7 + 5000.9 * (i * 3 % count)) for i in range(count)]
    geometries = [r.square(x, y) for x, y in places]
    fields = {"ELECT_NUM": list(range(count)), "Name": [f"District {i}" for i in range(count)]}
    return r.shapefile_zip(tmp_path / "districts.zip", geometries, fields, **options)


def named(tmp_path, name, **options):
    return r.shapefile_zip(tmp_path / "z.zip", [r.square(0, 0)], {"NOM": [name]}, **options)


def validators_accept(path):
    """Both opinions. gpio exits 0 even when it could not run its specification checks: look for what it says."""
    prepare = "from duckdb_extensions import import_extension; import_extension('spatial')"
    subprocess.run([sys.executable, "-c", prepare], check=True, capture_output=True)
    gpio = subprocess.run([BIN / "gpio", "check", "all", path], capture_output=True, text=True, check=False)
    said = gpio.stdout + gpio.stderr
    assert gpio.returncode == 0, said
    after = said.partition("Spec Validation:")[2]
    assert "checks passed" in after, said
    assert "✗" not in said, said
    assert "⚠" not in said, said
    other = subprocess.run([BIN / "geoparquet-validator", "check", path], capture_output=True, text=True, check=False)
    assert other.returncode == 0, other.stdout + other.stderr
    assert "core: " in other.stdout
    assert "FAIL" not in other.stdout, other.stdout
    return True


@pytest.mark.parametrize(
    ("name", "rows", "crs", "bbox"),
    [
        ("toronto_wards_2018", 25, "EPSG:4326", (-79.639265, 43.580996, -79.115243, 43.855457)),
        ("yukon_electoral_districts_2015", 19, "EPSG:3578", (-141.000860, 59.998583, -123.829232, 69.689513)),
    ],
)
def test_a_real_layer_passes_both_validators_and_geopandas_reads_the_same_shapes(tmp_path, name, rows, crs, bbox):
    zipped = recorded("shapefiles", f"{name}.zip")
    built = layer(tmp_path, zipped)
    assert (built.rows, built.crs, built.geometry_types) == (rows, crs, ("Polygon",))
    assert built.bbox == pytest.approx(bbox, abs=1e-5)
    assert validators_accept(built.path)
    ours, theirs = geopandas.read_parquet(built.path), geopandas.read_file(zipped)
    assert ours.crs.equals(theirs.crs, ignore_axis_order=True)
    key = ours.columns[0]
    theirs.columns = [c.lower() for c in theirs.columns]
    ours, theirs = ours.sort_values(key), theirs.sort_values(key)
    assert all(shapely.equals_exact(ours.geometry.to_numpy(), theirs.geometry.to_numpy()))


def test_many_row_groups_are_in_spatial_order_for_both_validators(tmp_path):
    side = 260
    places = np.random.default_rng(7).permutation(side * side)
    x, y = 200_000 + 3000 * (places % side), 700_000 + 3000 * (places // side)
    zipped = r.shapefile_zip(tmp_path / "grid.zip", shapely.box(x, y, x + 2900, y + 2900), {"N": list(range(side * side))})
    built = layer(tmp_path, zipped, key=("n",))
    assert pq.read_metadata(built.path).num_row_groups == 4
    assert validators_accept(built.path)


def test_statcan_lambert_is_recognised_under_any_name(tmp_path):
    prj = (
        recorded("shapefiles", "lcd_000b16a_e.prj")
        .read_text()
        .replace("PCS_Lambert_Conformal_Conic", "My_Favourite_Projection")
    )
    built = layer(tmp_path, r.shapefile_zip(tmp_path / "z.zip", [r.square(7_500_000, 1_200_000)], {"A": [1]}, prj=prj))
    assert built.crs == "EPSG:3347"
    assert geo_of(built.path)["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 3347}


def test_a_crs_that_differs_in_one_parameter_is_not_recognised(tmp_path):
    prj = recorded("shapefiles", "lcd_000b16a_e.prj").read_text().replace("6200000.0", "6200001.0")
    assert (
        layer(tmp_path, r.shapefile_zip(tmp_path / "z.zip", [r.square(7_500_000, 1_200_000)], {"A": [1]}, prj=prj)).crs is None
    )


def test_wgs84_is_written_longitude_first(tmp_path):
    zipped = r.shapefile_zip(tmp_path / "z.zip", [shapely.box(-80, 43, -79, 44)], {"A": [1]}, crs="EPSG:4326")
    built = layer(tmp_path, zipped)
    assert built.crs == "EPSG:4326"
    assert geo_of(built.path)["columns"]["geometry"]["crs"]["id"] == {"authority": "OGC", "code": "CRS84"}


def test_the_covering_holds_every_box_in_half_the_bits(tmp_path):
    built = layer(tmp_path, districts(tmp_path, 50))
    table = pq.read_table(built.path)
    bounds = shapely.bounds(shapely.from_wkb(table["geometry"].to_pylist()))
    for box, (xmin, ymin, xmax, ymax) in zip(table["bbox"].to_pylist(), bounds, strict=True):
        assert box["xmin"] <= xmin
        assert box["ymin"] <= ymin
        assert box["xmax"] >= xmax
        assert box["ymax"] >= ymax
        assert box["xmax"] - xmax < 0.2
    assert str(table.schema.field("bbox").type) == "struct<xmin: float, ymin: float, xmax: float, ymax: float>"


def test_null_and_invalid_geometries_are_kept_and_counted(tmp_path):
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    built = layer(tmp_path, r.shapefile_zip(tmp_path / "z.zip", [r.square(0, 0), None, bow_tie], {"A": [1, 2, 3]}))
    assert (built.rows, built.counts["null_geometries"], built.counts["invalid_geometries"]) == (3, 1, 1)
    rows = pq.read_table(built.path).to_pylist()
    assert [(x["a"], x["bbox"]) for x in rows if x["geometry"] is None] == [(2, None)]
    assert validators_accept(built.path)


def test_mixed_single_and_multiple_shapes_all_become_multiple(tmp_path):
    two = shapely.MultiPolygon([r.square(0, 0), r.square(5000, 0)])
    built = layer(tmp_path, r.shapefile_zip(tmp_path / "z.zip", [r.square(9000, 0), two], {"A": [1, 2]}))
    assert built.geometry_types == ("MultiPolygon",)
    assert geo_of(built.path)["columns"]["geometry"]["geometry_types"] == ["MultiPolygon"]
    assert validators_accept(built.path)


def test_the_declared_rule_makes_the_dguid_column(tmp_path):
    built = layer(tmp_path, districts(tmp_path), dguid="2015A0002{ELECT_NUM}")
    assert sorted(x["dguid"] for x in pq.read_table(built.path).to_pylist()) == [f"2015A0002{i}" for i in range(4)]
    assert built.counts["invalid_dguids"] == 0


@pytest.mark.parametrize(("encoding", "declared"), [("UTF-8", None), ("ISO-8859-1", None), ("CP850", "CP850")])
def test_french_names_survive_the_encoding(tmp_path, encoding, declared):
    without = () if declared is None else (".cpg",)
    zipped = r.shapefile_zip(
        tmp_path / "z.zip", [r.square(0, 0)], {"NOM": ["Île-à-la-Crosse"]}, encoding=encoding, without=without
    )
    more = {"encoding": declared} if declared else {}
    assert pq.read_table(layer(tmp_path, zipped, **more).path)["nom"].to_pylist() == ["Île-à-la-Crosse"]


def test_without_a_code_page_text_is_windows_text(tmp_path):
    zipped = r.shapefile_zip(
        tmp_path / "z.zip", [r.square(0, 0)], {"NOM": ["Œuvre à l’Île"]}, encoding="CP1252", without=(".cpg",)
    )
    assert pq.read_table(layer(tmp_path, zipped).path)["nom"].to_pylist() == ["Œuvre à l’Île"]


def refused(tmp_path, zipped, **declared):
    with pytest.raises(PermanentFailure) as caught:
        layer(tmp_path, zipped, **declared)
    assert r.LAYER_VERSION in str(caught.value)
    assert caught.value.file
    assert caught.value.remedy
    return str(caught.value)


def test_a_missing_prj_is_refused_and_no_crs_is_guessed(tmp_path):
    said = refused(tmp_path, districts(tmp_path, without=(".prj",)))
    assert "districts.zip: the shapefile has no data/Districts.prj" in said
    assert "no CRS is guessed" in said


@pytest.mark.parametrize("part", [".shx", ".dbf"])
def test_a_shapefile_that_is_not_whole_is_refused(tmp_path, part):
    assert f"has no data/Districts{part}" in refused(tmp_path, districts(tmp_path, without=(part,)))


def test_a_prj_that_is_no_crs_is_refused(tmp_path):
    assert "not a coordinate reference system" in refused(tmp_path, districts(tmp_path, prj="see readme"))


def test_an_archive_without_a_shapefile_is_refused(tmp_path):
    assert "holds 0 shapefiles" in refused(tmp_path, r.english_zip(tmp_path, [r.row()]))


def test_a_dguid_rule_that_names_no_column_is_refused_with_the_columns_there_are(tmp_path):
    said = refused(tmp_path, districts(tmp_path), dguid="2021A0002{PRUID}")
    assert "there is no column PRUID (there are ELECT_NUM, Name)" in said


def test_text_in_another_encoding_than_declared_is_refused(tmp_path):
    zipped = r.shapefile_zip(
        tmp_path / "z.zip", [r.square(0, 0)], {"NOM": ["Québec"]}, encoding="ISO-8859-1", without=(".cpg",)
    )
    assert "declare the right `encoding`" in refused(tmp_path, zipped, encoding="UTF-8")


def test_the_working_directory_keeps_nothing_but_the_layer(tmp_path):
    built = layer(tmp_path, districts(tmp_path))
    assert list((tmp_path / "work").iterdir()) == [built.path]


def test_columns_may_be_called_as_the_database_calls_its_own(tmp_path):
    fields = {"ID": [3, 1, 2], "ROWID": [30, 10, 20]}
    zipped = r.shapefile_zip(tmp_path / "z.zip", [r.square(9000 * i, 0) for i in (3, 1, 2)], fields)
    rows = pq.read_table(layer(tmp_path, zipped).path).to_pylist()
    assert sorted((x["id"], x["rowid"]) for x in rows) == [(1, 10), (2, 20), (3, 30)]
    assert all(x["bbox"]["xmin"] == 9000 * x["id"] for x in rows)
