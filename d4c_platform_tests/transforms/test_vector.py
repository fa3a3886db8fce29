"""Layers of every format that GDAL reads: every feature is in the output, as it was; what is missing is told."""

import gzip
import hashlib
import json
import sqlite3
import struct
from datetime import UTC, datetime

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import build, gdal_layer, logical_hash
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_same_bytes import elsewhere
from d4c_platform_tests.transforms.test_shapefile import validators_accept

FORMATS = ("gpkg", "fgb", "gdb", "shp")
NAMES = ["Île-à-la-Crosse", "Œuvre", "Kangiqsualujjuaq", "ᐃᖃᓗᐃᑦ"]


def layer(tmp_path, file, **declared):
    return build(r.vector_dataset(**declared), r.LAYER_VERSION, r.by_name(file), tmp_path / "work")


def released(folder, kind, geometries, fields, **options):
    """A release in a format: what is a folder or several files comes in a zip."""
    folder.mkdir(exist_ok=True)
    path = r.vector_file(folder / f"wards.{kind}", geometries, fields, **options)
    if kind == "shp":
        path.with_suffix(".cpg").write_text("UTF-8")
        return r.zipped(folder / "wards.zip", *sorted(p for p in folder.iterdir() if p.stem == "wards"))
    return r.zipped(folder / "wards.gdb.zip", path) if kind == "gdb" else path


def wards(tmp_path, kind, count=40):
    shapes = [r.square(500_000.1 + 7000.3 * (i * 7 % count), 600_000.7 + 5000.9 * (i * 3 % count)) for i in range(count)]
    fields = {"N": list(range(count)), "Name": [NAMES[i % 4] for i in range(count)]}
    options = {"encoding": "UTF-8"} if kind == "shp" else {}
    return released(tmp_path / kind, kind, shapes, fields, **options), shapes


def refused(tmp_path, file, **declared):
    with pytest.raises(PermanentFailure) as caught:
        layer(tmp_path, file, **declared)
    assert r.LAYER_VERSION in str(caught.value)
    assert caught.value.file
    assert caught.value.remedy
    return str(caught.value)


def rows_of(built):
    return pq.read_table(built.path).to_pylist()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_feature_of_every_format_is_in_a_file_that_both_validators_accept(tmp_path, kind):
    file, shapes = wards(tmp_path, kind)
    built = layer(tmp_path, file)
    assert (built.rows, built.counts["source_rows"], built.crs) == (40, 40, "EPSG:3578")
    found = {row["n"]: (row["name"], shapely.from_wkb(row["geometry"])) for row in rows_of(built)}
    assert sorted(found) == list(range(40))
    for i, shape in enumerate(shapes):
        name, kept = found[i]
        assert name == NAMES[i % 4]
        # A geodatabase keeps coordinates on a grid, and every format may begin a ring anywhere.
        assert shapely.hausdorff_distance(kept, shape) < 1e-3
    assert -141 < built.bbox[0] < built.bbox[2] < -110
    assert validators_accept(built.path)
    assert list((tmp_path / "work").iterdir()) == [built.path]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_file_gives_the_same_bytes_elsewhere(tmp_path, kind):
    file, _ = wards(tmp_path, kind)
    built = layer(tmp_path, file)
    here = [hashlib.sha256(built.path.read_bytes()).hexdigest(), built.logical_hash]
    assert elsewhere(tmp_path, r.vector_dataset(), r.LAYER_VERSION, r.by_name(file)) == here


def test_the_same_features_have_the_same_logical_hash_in_every_format_and_order(tmp_path):
    hashes = {layer(tmp_path / kind, wards(tmp_path, kind)[0]).logical_hash for kind in ("gpkg", "fgb")}
    shapes = [r.square(9000 * i, 0) for i in range(30)]
    for name, order in (("one", range(30)), ("two", reversed(range(30)))):
        order = list(order)
        file = released(tmp_path / name, "gpkg", [shapes[i] for i in order], {"N": order})
        hashes.add(hashlib.sha256(layer(tmp_path / name / "built", file).path.read_bytes()).hexdigest())
    assert len(hashes) == 2


@pytest.mark.parametrize("pack", ["plain", "gzip", "zip"])
def test_a_file_is_known_by_its_first_bytes_however_it_is_packed_and_called(tmp_path, pack):
    file, _ = wards(tmp_path, "gpkg")
    if pack == "gzip":
        packed = tmp_path / "download"
        packed.write_bytes(gzip.compress(file.read_bytes()))
    elif pack == "zip":
        packed = r.zipped(tmp_path / "download", file)
    else:
        packed = file.rename(tmp_path / "download")
    before = packed.read_bytes()
    assert layer(tmp_path, packed).rows == 40
    assert packed.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"gpkg", "download", "work"}


def test_another_format_is_refused_by_name_with_those_that_are_read(tmp_path):
    (tmp_path / "wards.gpkg").write_bytes(b"<!doctype html>")
    said = refused(tmp_path, tmp_path / "wards.gpkg")
    assert "none of the formats that are read" in said
    assert "FlatGeobuf" in said


def several(tmp_path):
    path = r.vector_file(tmp_path / "city.gpkg", [r.square(0, 0)], {"A": [1]}, layer="wards")
    r.vector_file(path, [r.square(0, 0), r.square(9000, 0)], {"B": [1, 2]}, layer="parks", append=True)
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE notes (fid INTEGER PRIMARY KEY, said TEXT)")
        base.execute("INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('notes', 'attributes', 'notes')")
    base.close()
    return path


def test_several_layers_are_refused_with_their_names_until_one_is_declared(tmp_path):
    said = refused(tmp_path, several(tmp_path))
    assert "2 layers with geometry (wards, parks)" in said
    assert "`layer`" in said
    assert layer(tmp_path / "chosen", tmp_path / "city.gpkg", layer="parks").rows == 2


def test_a_layer_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    said = refused(tmp_path, several(tmp_path), layer="notes")
    assert "there is no layer notes with geometry (there are wards, parks)" in said


def test_two_files_of_layers_in_one_archive_are_refused(tmp_path):
    one = r.vector_file(tmp_path / "a.gpkg", [r.square(0, 0)], {"A": [1]})
    two = r.vector_file(tmp_path / "b.fgb", [r.square(0, 0)], {"A": [1]})
    assert "2 files of layers (a.gpkg, b.fgb)" in refused(tmp_path, r.zipped(tmp_path / "z.zip", one, two))


@pytest.mark.parametrize("kind", ["gpkg", "fgb"])
def test_a_layer_that_says_no_crs_is_refused_and_none_is_guessed(tmp_path, kind):
    said = refused(tmp_path, r.vector_file(tmp_path / f"a.{kind}", [r.square(0, 0)], {"A": [1]}, crs=None))
    assert "coordinate reference system" in said or "no place on the earth" in said
    assert "guessed" in said


def test_utm_with_heights_keeps_them_and_has_a_box_in_wgs_84(tmp_path):
    high = shapely.force_3d(shapely.box(500_000, 5_500_000, 501_000, 5_501_000), 300.0)
    file = r.vector_file(tmp_path / "a.gpkg", [high], {"A": [1]}, crs="EPSG:2957+5713", geometry_type="Polygon Z")
    built = layer(tmp_path, file)
    assert built.crs == "EPSG:2957+5713"
    assert built.bbox == pytest.approx((-105.0, 49.6525, -104.986, 49.6615), abs=1e-3)
    said = json.loads(pq.read_metadata(built.path).metadata[b"geo"])["columns"]["geometry"]["crs"]
    assert [part["id"]["code"] for part in said["components"]] == [2957, 5713]
    assert validators_accept(built.path)


@pytest.mark.parametrize("kind", ["gpkg", "fgb", "gdb"])
def test_null_and_invalid_shapes_are_kept_and_counted(tmp_path, kind):
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    options = {"SPATIAL_INDEX": "NO"} if kind == "fgb" else {}
    built = layer(tmp_path, released(tmp_path / "r", kind, [r.square(0, 0), None, bow_tie], {"A": [1, 2, 3]}, **options))
    assert (built.rows, built.counts["null_geometries"], built.counts["invalid_geometries"]) == (3, 1, 1)
    assert [row["a"] for row in rows_of(built) if row["geometry"] is None] == [2]
    assert validators_accept(built.path)


@pytest.mark.parametrize("kind", FORMATS)
def test_heights_survive(tmp_path, kind):
    high = shapely.force_3d(r.square(0, 0), 12.5)
    built = layer(tmp_path, released(tmp_path / "r", kind, [high], {"A": [1]}, geometry_type="Polygon Z"))
    (row,) = rows_of(built)
    assert shapely.get_coordinates(shapely.from_wkb(row["geometry"]), include_z=True)[:, 2].tolist() == [12.5] * 5
    assert built.geometry_types[0].endswith(" Z")
    assert validators_accept(built.path)


def measured(path, wkt, *, z):
    """A GeoPackage with measures, which pyogrio reads but does not write: the bytes go in by SQL."""
    r.vector_file(path, [shapely.Point(1, 2)], {"A": [1]}, geometry_type="Point", layer="stops", SPATIAL_INDEX="NO")
    wkb = shapely.to_wkb(shapely.from_wkt(wkt), flavor="iso")
    with sqlite3.connect(path) as base:
        (blob,) = base.execute("SELECT geom FROM stops").fetchone()
        base.execute("UPDATE stops SET geom = ?", [blob[:8] + wkb])
        base.execute("UPDATE gpkg_geometry_columns SET m = 1, z = ?", [int(z)])
    base.close()
    return path


@pytest.mark.parametrize(("wkt", "z"), [("POINT M (500000 600000 7.5)", False), ("POINT ZM (500000 600000 3 7.5)", True)])
def test_measures_survive_and_are_counted(tmp_path, wkt, z, recwarn):
    built = layer(tmp_path, measured(tmp_path / "stops.gpkg", wkt, z=z))
    (row,) = rows_of(built)
    assert shapely.from_wkb(row["geometry"]).wkt == wkt
    assert built.counts["measured_geometries"] == 1
    assert built.geometry_types == (("Point ZM",) if z else ("Point M",))
    assert validators_accept(built.path)
    assert not recwarn.list


def test_single_and_multiple_shapes_all_become_multiple(tmp_path):
    two = shapely.MultiPolygon([r.square(0, 0), r.square(5000, 0)])
    file = r.vector_file(tmp_path / "a.gpkg", [r.square(9000, 0), two], {"A": [1, 2]}, geometry_type="Unknown")
    assert layer(tmp_path, file).geometry_types == ("MultiPolygon",)


def curve(kind):
    points = ((0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (1.0, -1.0), (0.0, 0.0))
    arc = struct.pack("<BII", 1, 8, 5) + b"".join(struct.pack("<dd", *p) for p in points)
    return struct.pack("<BII", 1, 10, 1) + arc if kind == "CurvePolygon" else arc


@pytest.mark.parametrize("kind", ["CurvePolygon", "CircularString"])
@pytest.mark.parametrize("ending", ["gpkg", "fgb"])
def test_a_curve_is_refused_with_its_feature_and_a_way_out(tmp_path, kind, ending):
    options = {"SPATIAL_INDEX": "NO"} if ending == "fgb" else {}
    shapes = [shapely.Point(0, 0), curve(kind)]
    file = r.vector_file(tmp_path / f"a.{ending}", shapes, {"A": [1, 2]}, geometry_type="Unknown", **options)
    said = refused(tmp_path, file)
    assert f"feature 2 is a {kind}, which GeoParquet has no place for" in said
    assert "CONVERT_TO_LINEAR" in said


def test_the_formats_own_number_is_kept_only_when_it_is_declared(tmp_path):
    file, _ = wards(tmp_path, "gdb")
    assert [c.name for c in layer(tmp_path, file).columns][:2] == ["n", "name"]
    declared = layer(tmp_path / "declared", file, columns=[r.column("objectid", "int64")], key=("objectid",))
    assert sorted(row["objectid"] for row in rows_of(declared)) == list(range(1, 41))


def test_a_damaged_geopackage_is_refused(tmp_path):
    file, _ = wards(tmp_path, "gpkg", 400)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "cannot be" in refused(tmp_path, file)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_shape_that_is_larger_than_the_limit_is_read_alone_and_none_is_lost(tmp_path, monkeypatch, kind):
    turn = np.linspace(0, 2 * np.pi, 5_000, endpoint=False)
    circle = shapely.Polygon(np.stack([np.cos(turn), np.sin(turn)], axis=1)[::-1] * 1000)
    shapes = [circle if i % 7 == 3 else r.square(3000 * i, 0) for i in range(30)]
    file = released(tmp_path / "r", kind, shapes, {"A": list(range(30))})
    whole = layer(tmp_path / "whole", file)
    monkeypatch.setattr(gdal_layer, "BATCH_BYTES", 20_000)
    seen = []
    monkeypatch.setattr(gdal_layer._Read, "next", noted(gdal_layer._Read.next, seen))
    parts = layer(tmp_path / "parts", file)
    assert parts.path.read_bytes() == whole.path.read_bytes()
    assert sum(rows for rows, _ in seen) == 30
    assert all(size < 40_000 for rows, size in seen if rows > 1)


def noted(step, seen):
    def wrapped(self, batch, *args):
        seen.append((batch.num_rows, batch.nbytes))
        return step(self, batch, *args)

    return wrapped


places = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(shapely.Point)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(points=st.lists(st.one_of(st.none(), places), min_size=1, max_size=12), kind=st.sampled_from(["gpkg", "fgb"]))
def test_any_features_come_out_as_they_went_in(tmp_path_factory, points, kind):
    folder = tmp_path_factory.mktemp("any")
    options = {"SPATIAL_INDEX": "NO"} if kind == "fgb" else {}
    file = r.vector_file(folder / f"a.{kind}", points, {"A": list(range(len(points)))}, geometry_type="Point", **options)
    built = layer(folder, file)
    found = {row["a"]: row["geometry"] for row in rows_of(built)}
    assert built.counts["null_geometries"] == sum(p is None for p in points)
    assert [found[i] and shapely.from_wkb(found[i]) for i in range(len(points))] == points


@pytest.mark.parametrize(
    ("kind", "driver", "zone"), [("gpkg", "GPKG", ", tz=UTC"), ("fgb", "FlatGeobuf", ""), ("gdb", "OpenFileGDB", "")]
)
def test_values_keep_the_types_of_the_format_and_the_hash_is_that_of_the_file(tmp_path, kind, driver, zone):
    at = datetime(2024, 3, 10, 7, 30, 5, tzinfo=UTC)
    table = pa.table(
        {
            "n": pa.array([1, 2, None], pa.int32()),
            "share": pa.array([0.5, None, 2.0]),
            "at": pa.array([at, None, at], pa.timestamp("ms", "UTC")),
            "code": pa.array([b"\x00\xff", None, b"a"], pa.binary()),
            "shape": pa.array([shapely.to_wkb(r.square(9000 * i, 0)) for i in range(3)], pa.binary()),
        }
    )
    path = tmp_path / f"a.{kind}"
    pyogrio.write_arrow(table, path, driver=driver, geometry_name="shape", geometry_type="Polygon", crs="EPSG:3578")
    built = layer(tmp_path, r.zipped(tmp_path / "a.zip", path) if kind == "gdb" else path)
    types = {c.name: c.type for c in built.columns}
    assert [types[n] for n in ("n", "share", "at", "code")] == ["int32", "double", f"timestamp[ms{zone}]", "binary"]
    row = next(row for row in rows_of(built) if row["n"] == 1)
    assert (row["share"], row["at"].replace(tzinfo=UTC), row["code"]) == (0.5, at, b"\x00\xff")
    assert logical_hash.of_file(built.path, tmp_path) == built.logical_hash


def test_geopandas_reads_the_same_table(tmp_path):
    file, _ = wards(tmp_path, "gpkg")
    ours, theirs = geopandas.read_parquet(layer(tmp_path, file).path), geopandas.read_file(file)
    ours = ours.sort_values("n", ignore_index=True)
    assert ours["name"].tolist() == theirs["Name"].tolist()
    assert all(shapely.equals_exact(ours.geometry.to_numpy(), theirs.geometry.to_numpy()))
    assert json.loads(pq.read_metadata(tmp_path / "work" / f"{r.LAYER_VERSION}.parquet").metadata[b"geo"])["version"] == "1.1.0"
