"""GeoParquet 2.0 as an option: Parquet's own geometry, and the same values as 1.1 for everything of ours."""

import hashlib
import json
import subprocess
import sys

import geopandas
import pyarrow.parquet as pq
import pytest
import shapely

from d4c_platform.storage.digests import digest
from d4c_platform.transforms import artifact_of, build, changes, checks, logical_hash
from d4c_platform.transforms.preview import preview
from d4c_platform_tests.places import ROOT, recorded
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_same_bytes import elsewhere
from d4c_platform_tests.transforms.test_shapefile import validators_accept
from d4c_platform_tests.transforms.test_vector import measured


def yukon(folder, version):
    dataset = r.layer_dataset(geoparquet_version=version)
    raw = r.by_name(recorded("shapefiles", "yukon_electoral_districts_2015.zip"))
    return dataset, build(dataset, r.LAYER_VERSION, raw, folder / version)


def logical_type(path):
    schema = pq.read_metadata(path).schema
    return next(schema.column(i).logical_type for i in range(len(schema)) if schema.column(i).path == "geometry")


def test_the_geometry_is_parquets_own_with_its_crs_box_and_types(tmp_path):
    _, built = yukon(tmp_path, "2.0")
    metadata = pq.read_metadata(built.path)
    said = json.loads(logical_type(built.path).to_json())
    assert said["Type"] == "Geometry"
    geo = json.loads(metadata.metadata[b"geo"])
    assert geo["version"] == "2.0.0"
    assert json.loads(said["crs"]) == geo["columns"]["geometry"]["crs"]
    place = pq.read_schema(built.path).names.index("geometry")
    found = metadata.row_group(0).column(place).geo_statistics
    assert [found.xmin, found.ymin, found.xmax, found.ymax] == geo["columns"]["geometry"]["bbox"]
    assert validators_accept(built.path)


def test_wgs_84_is_the_default_and_is_not_said(tmp_path):
    raw = r.by_name(recorded("shapefiles", "toronto_wards_2018.zip"))
    built = build(r.layer_dataset(geoparquet_version="2.0"), r.LAYER_VERSION, raw, tmp_path / "w")
    assert json.loads(logical_type(built.path).to_json()) == {"Type": "Geometry"}
    assert validators_accept(built.path)


def test_both_versions_hold_the_same_values_under_the_same_logical_hash(tmp_path):
    dataset, old = yukon(tmp_path, "1.1")
    _, new = yukon(tmp_path, "2.0")
    assert logical_type(old.path).type == "NONE"
    assert old.logical_hash == new.logical_hash == logical_hash.of_file(new.path, tmp_path)
    assert old.columns == new.columns
    ours, theirs = geopandas.read_parquet(new.path), geopandas.read_parquet(old.path)
    assert ours.crs == theirs.crs
    assert all(shapely.equals_exact(ours.geometry.to_numpy(), theirs.geometry.to_numpy()))
    found = changes.compare(dataset, r.LAYER_VERSION, new.path, r.LAYER_VERSION, old.path)
    assert found.model_dump()["least_bump"] in (None, "none")


def test_it_is_checked_compared_and_drawn_like_1_1(tmp_path):
    dataset, old = yukon(tmp_path, "1.1")
    _, new = yukon(tmp_path, "2.0")
    moved = r.vector_file(tmp_path / "a.gpkg", [r.square(0, 0)], {"A": [1]})
    other = build(r.vector_dataset(geoparquet_version="2.0"), r.LAYER_VERSION, r.by_name(moved), tmp_path / "other")
    artifacts = [artifact_of(built, r.LAYER_VERSION, digest(built.path)[0]) for built in (old, new)]
    verdicts = [checks.check(dataset, a, built.path, None) for a, built in zip(artifacts, (old, new), strict=True)]
    assert [v.passed for v in verdicts[0]] == [v.passed for v in verdicts[1]]
    assert preview(dataset, artifacts[0], old.path) == preview(dataset, artifacts[1], new.path)
    assert changes.compare(dataset, r.LAYER_VERSION, other.path, r.LAYER_VERSION, new.path)


def test_it_is_read_alike_where_another_library_knows_the_type_by_its_name(tmp_path):
    dataset, built = yukon(tmp_path, "2.0")
    program = (
        "import geoarrow.pyarrow, json, sys; from pathlib import Path; import pyarrow as pa, pyarrow.parquet as pq\n"
        "from d4c_platform.model.dataset import Dataset; from d4c_platform.model.records import Artifact\n"
        "from d4c_platform.transforms import logical_hash; from d4c_platform.transforms.preview import preview\n"
        "path = Path(sys.argv[1]); assert isinstance(pq.read_schema(path).field('geometry').type, pa.BaseExtensionType)\n"
        "dataset, artifact = (m.model_validate_json(t) for m, t in zip((Dataset, Artifact), sys.argv[2:]))\n"
        "print(logical_hash.of_file(path, path.parent)); print(preview(dataset, artifact, path), end='')"
    )
    artifact = artifact_of(built, r.LAYER_VERSION, digest(built.path)[0])
    told = [str(built.path), dataset.model_dump_json(), artifact.model_dump_json()]
    done = subprocess.run([sys.executable, "-c", program, *told], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{built.logical_hash}\n{preview(dataset, artifact, built.path)}"


@pytest.mark.parametrize(("wkt", "z"), [("POINT M (500000 600000 7.5)", False), ("POINT ZM (500000 600000 3 7.5)", True)])
def test_measures_have_a_name(tmp_path, wkt, z):
    file = measured(tmp_path / "stops.gpkg", wkt, z=z)
    built = build(r.vector_dataset(geoparquet_version="2.0"), r.LAYER_VERSION, r.by_name(file), tmp_path / "w")
    geo = json.loads(pq.read_metadata(built.path).metadata[b"geo"])
    assert geo["columns"]["geometry"]["geometry_types"] == [wkt.partition(" (")[0].replace("POINT", "Point")]
    (row,) = pq.read_table(built.path).to_pylist()
    assert shapely.from_wkb(row["geometry"]).wkt == wkt
    assert validators_accept(built.path)


def test_the_same_file_gives_the_same_bytes_elsewhere(tmp_path):
    dataset, built = yukon(tmp_path, "2.0")
    here = [hashlib.sha256(built.path.read_bytes()).hexdigest(), built.logical_hash]
    raw = r.by_name(recorded("shapefiles", "yukon_electoral_districts_2015.zip"))
    assert elsewhere(tmp_path, dataset, r.LAYER_VERSION, raw) == here


def test_points_of_a_table_can_be_native_too(tmp_path):
    (tmp_path / "a.csv").write_text("Lon,Lat\n-73,45\n,\n")
    points = {"x": "lon", "y": "lat", "crs": "EPSG:4326", "geoparquet_version": "2.0"}
    built = build(r.csv_dataset(points=points), r.TABLE_VERSION, r.by_name(tmp_path / "a.csv"), tmp_path / "w")
    assert logical_type(built.path).type == "GEOMETRY"
    assert built.counts["null_geometries"] == 1
