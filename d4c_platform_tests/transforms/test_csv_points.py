"""Tables with coordinates: every row is in the layer, with a point where there is one, and counted where there is none."""

import hashlib
import math

import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import build
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_same_bytes import elsewhere
from d4c_platform_tests.transforms.test_shapefile import validators_accept

DEGREES = {"x": "lon", "y": "lat", "crs": "EPSG:4326"}


def stations(tmp_path, text, name="stations.csv"):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return r.by_name(tmp_path / name)


def points(tmp_path, text, points=DEGREES, **declared):
    return build(r.csv_dataset(points=points, **declared), r.TABLE_VERSION, stations(tmp_path, text), tmp_path / "work")


def rows_of(built):
    return pq.read_table(built.path).to_pylist()


def refused(tmp_path, text, **declared):
    with pytest.raises(PermanentFailure) as caught:
        points(tmp_path, text, **declared)
    assert caught.value.file
    assert caught.value.remedy
    return str(caught.value)


def test_two_columns_become_points_and_stay_columns(tmp_path):
    text = "Station Name,Lon,Lat\nMontréal,-73.5,45.25\nIqaluit,-68.5,63.75\n"
    built = points(tmp_path, text, columns=[r.column("lon", "double"), r.column("lat", "double")])
    found = {row["station_name"]: (row["lon"], row["lat"], shapely.from_wkb(row["geometry"])) for row in rows_of(built)}
    assert found["Montréal"] == (-73.5, 45.25, shapely.Point(-73.5, 45.25))
    assert (built.rows, built.crs, built.geometry_types) == (2, "EPSG:4326", ("Point",))
    assert built.bbox == (-73.5, 45.25, -68.5, 63.75)
    assert pq.read_schema(built.path).field("station_name").metadata[b"original_name"] == b"Station Name"
    assert validators_accept(built.path)


def test_rows_without_a_readable_coordinate_are_kept_without_a_point_and_counted(tmp_path):
    text = "ID,Lon,Lat\n1,-73.5,45.25\n2,,45\n3,,\n4,west,45\n5,-73.5,95\n6,-1e400,45\n7,7_3,45\n8, -74 ,45\n9,nan,45\n"
    built = points(tmp_path, text)
    assert (built.rows, built.counts["source_rows"]) == (9, 9)
    assert (built.counts["absent_coordinates"], built.counts["bad_coordinates"]) == (2, 5)
    assert built.counts["null_geometries"] == 7
    assert {row["id"] for row in rows_of(built) if row["geometry"] is not None} == {"1", "8"}
    assert {row["id"]: row["lon"] for row in rows_of(built)}["4"] == "west"


def test_projected_coordinates_have_no_limits_of_degrees(tmp_path):
    built = points(tmp_path, "E,N\n500000,5500000\n", points={"x": "e", "y": "n", "crs": "EPSG:2957"})
    assert (built.crs, built.counts["bad_coordinates"]) == ("EPSG:2957", 0)
    assert built.bbox == pytest.approx((-105.0, 49.65, -105.0, 49.65), abs=0.01)


def test_a_column_that_is_declared_a_number_has_to_be_one(tmp_path):
    said = refused(tmp_path, "ID,Lon,Lat\n1,-73.5,45\n2,west,45\n", columns=[r.column("lon", "double")])
    assert "line 3: Lon is 'west', which is no double" in said


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    said = refused(tmp_path, "ID,Longitude,Lat\n1,-73.5,45\n")
    assert "there is no column lon (there are id, longitude, lat)" in said


@pytest.mark.parametrize("code", ["EPSG:99999", "EPSG:5713"])
def test_a_system_that_nobody_knows_is_refused(tmp_path, code):
    assert f"the declared system {code} is none" in refused(tmp_path, "Lon,Lat\n1,2\n", points=DEGREES | {"crs": code})


def test_moments_and_days_stay_what_they_are_in_every_time_zone(tmp_path):
    columns = [r.column("at", "timestamp[us, tz=UTC]"), r.column("day", "date32[day]")]
    text = "At,Day,Lon,Lat\n2024-03-10T12:00:00-05:00,2024-03-10,-73,45\n2024-07-01T00:00:00Z,2024-07-01,-74,46\n"
    built = points(tmp_path, text, columns=columns)
    assert sorted(row["at"].isoformat() for row in rows_of(built)) == ["2024-03-10T17:00:00+00:00", "2024-07-01T00:00:00+00:00"]
    here = [hashlib.sha256(built.path.read_bytes()).hexdigest(), built.logical_hash]
    dataset = r.csv_dataset(points=DEGREES, columns=columns)
    assert elsewhere(tmp_path, dataset, r.TABLE_VERSION, stations(tmp_path, text)) == here


def test_the_order_of_rows_does_not_show(tmp_path):
    rows = [f"{i},{-70 - i % 7},{45 + i % 5}" for i in range(50)]
    hashes = set()
    for name, order in (("one", rows), ("two", rows[::-1])):
        built = points(tmp_path / name, "\n".join(["ID,Lon,Lat", *order]))
        hashes.add(hashlib.sha256(built.path.read_bytes()).hexdigest())
    assert len(hashes) == 1


fields = st.one_of(st.floats(-200, 200).map(repr), st.sampled_from(["", " ", "x", "1e999", "-73.5", "1,5", "inf", "0x10"]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.tuples(fields, fields), min_size=1, max_size=12))
def test_every_row_is_a_point_or_counted(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    text = "\n".join(["ID,Lon,Lat", *(f'{i},"{x}","{y}"' for i, (x, y) in enumerate(rows))])
    built = points(folder, text)
    counts = built.counts
    found = {int(row["id"]): row for row in rows_of(built)}
    assert sorted(found) == list(range(len(rows)))
    assert counts["null_geometries"] == counts["absent_coordinates"] + counts["bad_coordinates"]
    assert counts["absent_coordinates"] == sum(not x.strip() or not y.strip() for x, y in rows)
    for i, (x, y) in enumerate(rows):
        if found[i]["geometry"] is not None:
            assert shapely.from_wkb(found[i]["geometry"]) == shapely.Point(float(x), float(y))
            assert math.isfinite(float(x))
            assert abs(float(y)) <= 90
