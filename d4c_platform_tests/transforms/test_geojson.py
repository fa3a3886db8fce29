"""GeoJSON: GeoParquet that two validators accept, the same from every layout, and files that end in a sentence."""

import gzip
import json
import subprocess
import sys
import zipfile

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import mapping

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import build, geojson, geojson_text
from d4c_platform_tests.places import ROOT, recorded
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_shapefile import validators_accept

LAYER_BOUND = 500 << 20  # measured: 360; 700 when all features are held
PROGRAM = """
import json, pathlib, sys
from d4c_platform.transforms import build, parquet
from d4c_platform_tests.transforms import releases as r
parquet.COMPRESSION_LEVEL = 1  # the time it saves is not what is measured
built = build(r.geojson_dataset(), r.LAYER_VERSION, r.by_name(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))
# Not ru_maxrss: it survives fork and exec, and would tell the peak of the process that started this one.
peak_kib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"rows": built.rows, "rss": peak_kib * 1024}))
"""


def feature(geometry, /, **properties):
    shape = None if geometry is None else geometry if isinstance(geometry, dict) else mapping(geometry)
    return {"type": "Feature", "geometry": shape, "properties": properties}


def point(x=-123.1, y=49.25):
    return {"type": "Point", "coordinates": [x, y]}


def collection(*features, **members):
    return {"type": "FeatureCollection", **members, "features": list(features)}


def line_each(document):
    """One feature a line, as our sources write it."""
    features = ",\n".join(json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in document["features"])
    rest = "".join(f'"{k}":{json.dumps(v)},' for k, v in document.items() if k != "features")
    return f'{{{rest}"features":[\n{features}\n]}}\n'


def layer(tmp_path, document, name="layer.geojson", **declared):
    path = tmp_path / name
    data = document if isinstance(document, str | bytes) else json.dumps(document)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return build(r.geojson_dataset(**declared), r.LAYER_VERSION, r.by_name(path), tmp_path / "work")


def rows_of(built):
    return pq.read_table(built.path).drop_columns(["geometry", "bbox"]).to_pylist()


def types_of(built):
    return {c.name: c.type for c in built.columns if c.name not in ("geometry", "bbox")}


def refused(tmp_path, document, **declared):
    with pytest.raises(PermanentFailure) as caught:
        layer(tmp_path, document, **declared)
    assert r.LAYER_VERSION in str(caught.value)
    assert caught.value.file == "layer.geojson"
    assert caught.value.remedy
    return str(caught.value)


# -- shapes -------------------------------------------------------------------------------------------------------------


def test_a_real_layer_passes_both_validators_and_has_the_shapes_of_its_shapefile(tmp_path):
    zipped = recorded("shapefiles", "toronto_wards_2018.zip")
    wards = geopandas.read_file(zipped)
    built = layer(tmp_path, wards.to_json(), key=("area_id",))
    assert (built.rows, built.crs, built.geometry_types) == (25, "EPSG:4326", ("Polygon",))
    assert validators_accept(built.path)
    ours = geopandas.read_parquet(built.path).sort_values("area_id")
    theirs = wards.sort_values("AREA_ID")
    assert all(shapely.equals_exact(ours.geometry.to_numpy(), theirs.geometry.to_numpy()))
    assert ours["area_name"].tolist() == theirs["AREA_NAME"].tolist()
    shapefile = build(r.layer_dataset(), r.LAYER_VERSION, r.by_name(zipped), tmp_path / "shapefile")
    assert built.bbox == shapefile.bbox


@pytest.mark.parametrize(
    "shape",
    [
        shapely.Point(-79, 43),
        shapely.MultiPoint([(-79, 43), (-80, 44)]),
        shapely.LineString([(-79, 43), (-80, 44)]),
        shapely.MultiLineString([[(-79, 43), (-80, 44)], [(-70, 43), (-71, 44)]]),
        shapely.Polygon([(-80, 43), (-79, 43), (-79, 44), (-80, 43)], [[(-79.2, 43.1), (-79.1, 43.2), (-79.1, 43.1)]]),
        shapely.MultiPolygon([shapely.box(-80, 43, -79, 44), shapely.box(-70, 43, -69, 44)]),
        shapely.GeometryCollection([shapely.Point(-79, 43), shapely.LineString([(-79, 43), (-80, 44)])]),
        shapely.Point(-79, 43, 7.5),
    ],
    ids=lambda s: s.geom_type + (" Z" if s.has_z else ""),
)
def test_every_kind_of_geometry_comes_back_as_it_was(tmp_path, shape):
    built = layer(tmp_path, collection(feature(shape, n=1)))
    [wkb] = pq.read_table(built.path)["geometry"].to_pylist()
    assert shapely.equals_exact(shapely.from_wkb(wkb), shape)
    assert built.geometry_types == (shape.geom_type + (" Z" if shape.has_z else ""),)


def test_points_pass_both_validators(tmp_path):
    places = np.random.default_rng(3).uniform((-124, 49), (-122, 50), (500, 2))
    assert validators_accept(layer(tmp_path, collection(*(feature(point(x, y)) for x, y in places.tolist()))).path)


def test_null_empty_and_invalid_geometries_are_kept_and_counted(tmp_path):
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    without = {"type": "Feature", "properties": {"n": 4}}
    empty = {"type": "Polygon", "coordinates": []}
    built = layer(tmp_path, collection(feature(bow_tie, n=1), feature(None, n=2), feature(empty, n=3), without))
    assert sorted(row["n"] for row in rows_of(built)) == [1, 2, 3, 4]
    counted = {k: v for k, v in built.counts.items() if v}
    assert counted == {"source_rows": 4, "null_geometries": 2, "empty_geometries": 1, "invalid_geometries": 1}


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "4 coordinates"),
        ({"type": "Polygon"}, "coordinates"),
        ({"type": "Point", "coordinates": ["a", 1]}, "could not convert"),
        ({"type": "LineString", "coordinates": [[0, 0], [1, 1, 2]]}, "inhomogeneous"),
        ({"type": "Circle", "coordinates": [0, 0]}, "Circle is no type of geometry"),
        ({"type": "GeometryCollection", "geometries": [{"type": "point"}]}, "point is no type of geometry"),
        ([1, 2], "list"),
    ],
)
def test_a_geometry_that_cannot_be_read_is_named_with_its_line(tmp_path, geometry, reason):
    damaged = {"type": "Feature", "geometry": geometry, "properties": {}}
    said = refused(tmp_path, line_each(collection(feature(point()), damaged)))
    assert "the feature on line 3 has a geometry that cannot be read" in said
    assert reason in said


# -- where it is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"),
        ("urn:ogc:def:crs:OGC::CRS84", "EPSG:4326"),
        ("EPSG:4326", "EPSG:4326"),
        ("urn:ogc:def:crs:EPSG::3347", "EPSG:3347"),
        ("http://www.opengis.net/def/crs/EPSG/0/26910", "EPSG:26910"),
    ],
)
def test_the_crs_member_of_an_older_file_is_honoured_wherever_it_stands(tmp_path, name, code):
    crs = {"type": "name", "properties": {"name": name}}
    x, y = (-123.1, 49.2) if code == "EPSG:4326" else (491_000, 5_456_000)
    built = layer(tmp_path, collection(feature(point(x, y)), crs=crs))
    assert built.crs == code
    behind = collection(feature(point(x, y))) | {"crs": crs}
    assert layer(tmp_path, behind).path.read_bytes() == built.path.read_bytes()


NAMES = ["NAD83", "EPSG:999999", 4326]


@pytest.mark.parametrize("crs", [None, "x", {"type": "link"}, *({"type": "name", "properties": {"name": n}} for n in NAMES)])
def test_a_crs_member_that_names_no_system_is_refused(tmp_path, crs):
    assert "crs member is not understood" in refused(tmp_path, collection(feature(point()), crs=crs))


def test_coordinates_that_are_no_degrees_are_refused_and_no_crs_is_guessed(tmp_path):
    said = refused(tmp_path, line_each(collection(feature(point()), feature(point(491_000, 5_456_000)))))
    assert "the feature on line 3 lies at 491000, 5.456e+06, which is no longitude and latitude" in said


# -- properties ---------------------------------------------------------------------------------------------------------


def test_a_property_has_the_type_that_all_its_values_have(tmp_path):
    built = layer(
        tmp_path,
        collection(
            feature(point(), whole=1, fraction=1, flag=True, text="a", nothing=None, large=2**60, late=None),
            feature(point(), whole=-2, fraction=0.5, flag=None, text="", nothing=None, large=1),
            feature(point(), late=7),
        ),
    )
    assert types_of(built) == {
        "whole": "int64", "fraction": "double", "flag": "bool", "text": "string", "nothing": "string", "large": "int64",
        "late": "int64",
    }  # fmt: skip
    assert [row["late"] for row in rows_of(built)].count(None) == 2


def test_values_of_several_kinds_are_kept_as_text_and_nested_ones_as_json(tmp_path):
    values = [1, 1.5, True, "é", None, {"b": [1, None], "a": "ü"}, 2**70, [1]]
    built = layer(tmp_path, collection(*(feature(point(), n=i, mixed=v) for i, v in enumerate(values))))
    said = {row["n"]: row["mixed"] for row in rows_of(built)}
    assert list(dict(sorted(said.items())).values()) == [
        "1", "1.5", "true", "é", None, '{"a":"ü","b":[1,null]}', "1180591620717411303424", "[1]",
    ]  # fmt: skip
    assert types_of(layer(tmp_path, collection(feature(point(), a=2**53 + 1), feature(point(), a=0.5)))) == {"a": "string"}


def test_a_declared_type_is_taken_where_every_value_has_it(tmp_path):
    declared = [r.column("a", "double"), r.column("b", "string"), r.column("c", "int64"), r.column("d", "int64")]
    built = layer(tmp_path, collection(feature(point(), A=1, b=7, c=None, d="x")), columns=declared)
    assert types_of(built) == {"a": "double", "b": "string", "c": "int64", "d": "string"}
    assert rows_of(built) == [{"a": 1.0, "b": "7", "c": None, "d": "x"}]


def test_ids_of_features_are_kept_beside_their_properties(tmp_path):
    one, other = feature(point(), id=3, geometry="g", rowid=1), feature(point())
    built = layer(tmp_path, collection(one | {"id": 7}, other | {"id": "b", "title": "x"}))
    assert list(types_of(built)) == ["id", "geometry_2", "rowid", "feature_id"]
    assert {row["feature_id"] for row in rows_of(built)} == {"7", "b"}
    assert built.counts["foreign_members"] == 1


def test_the_declared_rule_makes_the_dguid_column(tmp_path):
    built = layer(tmp_path, collection(feature(point(), PRUID=59), feature(point(), PRUID=None)), dguid="2021A0002{PRUID}")
    assert {row["dguid"] for row in rows_of(built)} == {"2021A000259", None}
    assert "there is no column CDUID (there are PRUID)" in refused(
        tmp_path, collection(feature(point(), PRUID=59)), dguid="2021A0003{CDUID}"
    )


def test_a_key_that_is_no_column_is_refused_with_the_columns_there_are(tmp_path):
    assert "there is no column id (there are a, geometry)" in refused(tmp_path, collection(feature(point(), a=1)), key=("id",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "B", "é", "", "ID"]), json_values), min_size=1, max_size=5))
def test_every_value_of_every_feature_is_found_again(tmp_path, properties):
    built = layer(tmp_path, collection(*(feature(point(i), at=i, **p) for i, p in enumerate(properties))))
    names = {c.metadata[b"original_name"].decode() if c.metadata and b"original_name" in c.metadata else "": c.name
             for c in pq.read_schema(built.path) if c.name not in ("geometry", "bbox")}  # fmt: skip
    for row in rows_of(built):
        for original, name in names.items():
            said, found = properties[row["at"]].get(original, row["at"] if original == "at" else None), row[name]
            if isinstance(found, str) and not isinstance(said, str):
                assert json.loads(found) == said
            else:
                assert found == said


# -- layouts ------------------------------------------------------------------------------------------------------------

DOCUMENT = collection(
    *(feature(point(-120 - i / 7, 49 + i / 9), name=f'"{i}"\\ é {{[', n=i, f=i / 3) for i in range(40)),
    total=-12.5e17,
    size=12,
)
LAYOUTS = {
    "one line": json.dumps(DOCUMENT),
    "one feature a line": line_each(DOCUMENT),
    "many lines": json.dumps(DOCUMENT, indent=4, ensure_ascii=False).replace("\n", "\r\n"),
    "features first": json.dumps({"features": DOCUMENT["features"], "type": "FeatureCollection"}),
    "byte order mark": "\ufeff" + json.dumps(DOCUMENT),
}


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_order_and_chunks_do_not_show_in_the_bytes(tmp_path, monkeypatch, layout, chunk):
    wanted = layer(tmp_path, LAYOUTS["one line"]).path.read_bytes()
    monkeypatch.setattr(geojson_text, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(geojson, "BATCH_BYTES", 100)
    assert layer(tmp_path, LAYOUTS[layout]).path.read_bytes() == wanted
    turned = DOCUMENT | {"features": DOCUMENT["features"][::-1]}
    assert layer(tmp_path, json.dumps(turned)).path.read_bytes() == wanted


@pytest.mark.parametrize("kind", ["geojson.gz", "zip", "exported"])
def test_a_file_may_be_packed_and_may_have_any_name(tmp_path, kind):
    data = line_each(DOCUMENT).encode()
    plain = layer(tmp_path, data).path.read_bytes()
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            archive.writestr("readme.txt", "see below")
            archive.writestr("a/layer.GeoJSON", data)
        data = (tmp_path / "z.zip").read_bytes()
    assert layer(tmp_path, gzip.compress(data) if kind.endswith("gz") else data, name=f"l.{kind}").path.read_bytes() == plain


def test_what_a_source_archived_beside_the_layer_is_not_read(tmp_path):
    alone = layer(tmp_path, DOCUMENT).path.read_bytes()
    (tmp_path / "layer.json").write_text('{"fields": []}')
    raw = r.by_name(tmp_path / "layer.json", tmp_path / "layer.geojson")
    assert build(r.geojson_dataset(), r.LAYER_VERSION, raw, tmp_path / "work").path.read_bytes() == alone
    (tmp_path / "other.geojson").write_text("{}")
    with pytest.raises(PermanentFailure, match=r"the release is one file .*'other\.geojson'"):
        build(r.geojson_dataset(), r.LAYER_VERSION, raw | r.by_name(tmp_path / "other.geojson"), tmp_path / "work")


def test_a_zip_of_two_layers_is_refused(tmp_path):
    path = tmp_path / "layer.geojson"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.geojson", "{}")
        archive.writestr("b.json", "{}")
    assert "holds 2 GeoJSON files (a.geojson, b.json)" in refused(tmp_path, path.read_bytes())


def test_the_working_directory_keeps_nothing_but_the_layer(tmp_path):
    built = layer(tmp_path, DOCUMENT)
    assert list((tmp_path / "work").iterdir()) == [built.path]


# -- what is refused ----------------------------------------------------------------------------------------------------

GOOD = line_each(collection(feature(point(), a=1), feature(point(), a=2), feature(point(), a=3)))
BROKEN = {
    "<!DOCTYPE html><html>": "HTML or XML page",
    "": "the file is empty",
    "[1, 2]": "[ stands where { is due",
    '{"error": {"code": 400, "message": "Invalid URL"}}': "no FeatureCollection ({\"code\": 400",
    json.dumps(feature(point())): "a Feature and no FeatureCollection",
    '{"type": "FeatureCollection"}': "no FeatureCollection",
    '{"type": "FeatureCollection", "features": {}}': "no FeatureCollection",
    GOOD.replace('"a":2', '"a":2,'): "line 3: this is not JSON",
    GOOD.replace('"a":2', '"a":NaN'): "line 3: NaN is not a JSON number",
    GOOD.replace('"a":2', '"a":1e999'): "line 3 has a number that is too large",
    GOOD.replace('"a":2', '"a":"\\ud800"'): "line 3 has half a character in a",
    GOOD.replace('{"a":2}', "[2]"): "line 3 has properties that are no object",
    GOOD.replace('"type":"Feature","geometry":', '"kind":"x","geometry":', 2): "line 2: ",
    GOOD.replace('"a":2', '"a":' + "[" * 100_000): "line 3: the brackets are nested too deep",
    GOOD.rstrip()[:-1]: "the text ends on line 5, where , is due",
    GOOD[:-40]: "the text ends within what begins on line 4",
    GOOD[: GOOD.index('"a":2') + 3]: "the text ends within what begins on line 3",
    GOOD + "{}": "line 6: more text follows",
    GOOD.replace("\n]", ',\n"x"]'): "line 5: x stands where a feature is expected",
    GOOD.replace("\n]", '\n],"features":[]'): "two members features",
}  # fmt: skip


@pytest.mark.parametrize("text", BROKEN, ids=BROKEN.values())
@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_a_text_that_is_no_collection_is_refused_and_the_line_is_named(tmp_path, monkeypatch, text, chunk):
    monkeypatch.setattr(geojson_text, "CHUNK_BYTES", chunk)
    assert BROKEN[text] in refused(tmp_path, text)


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path):
    said = refused(tmp_path, GOOD.encode().replace(b'"a":2', b'"a":"\xe9"'))
    assert "line 3: byte 0xe9 is not UTF-8" in said


def test_a_feature_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(geojson_text, "CHUNK_BYTES", 100)
    monkeypatch.setattr(geojson_text, "MOST_CHARACTERS", 1000)
    said = refused(tmp_path, GOOD.replace('"a":2', '"a":"' + "x" * 5000 + '"'))
    assert "line 3: what begins here has more than 1,000 characters" in said


# -- memory -------------------------------------------------------------------------------------------------------------


def test_a_large_layer_on_a_single_line_stays_in_bounds(tmp_path):
    path = tmp_path / "layer.geojson"
    turn = np.linspace(0, 2 * np.pi, 300)
    ring = json.dumps(np.round(np.stack([np.cos(turn), np.sin(turn)], axis=1), 9).tolist())
    with path.open("w") as out:
        out.write('{"type":"FeatureCollection","features":[')
        for i in range(6_000):
            said = f'{{"type":"Feature","properties":{{"n":{i}}},"geometry":{{"type":"Polygon","coordinates":[{ring}]}}}}'
            out.write(("," if i else "") + said)
        out.write("]}")
    assert path.stat().st_size > 48 << 20
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, tmp_path / "w"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == 6_000
    assert found["rss"] < LAYER_BOUND, found
