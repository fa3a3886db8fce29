import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.catalog.fold import fold, lineages
from d4c_platform.catalog.publish import read_facts
from d4c_platform.catalog.table import SCHEMA, to_batch, to_items
from d4c_platform.catalog.wkb import bounds, from_wkb, rectangle, to_wkb
from d4c_platform.catalog.write import write_catalog
from d4c_platform.model.errors import PermanentFailure
from d4c_platform_tests.catalog.published import CANADA, PROVINCES, TABLE, filled, provinces_version, table_version

degrees = st.floats(-180, 180).map(lambda x: x + 0.0)


@pytest.fixture
def items(tmp_path):
    archive = filled(tmp_path)
    pairs = [(TABLE.id, table_version("2025-06-11")), (PROVINCES.id, provinces_version("1.10.0"))]
    order = lineages(pairs)
    return [fold(read_facts(archive.records, archive.store, version), place) for version, place in order.items()]


def test_items_come_back_from_their_rows_as_they_were(items):
    assert list(to_items(to_batch(items))) == items


def test_the_schema_is_the_same_whatever_the_items(items, tmp_path):
    schemas = []
    for name, some in (("none", []), ("one", items[:1]), ("two", items)):
        write_catalog(tmp_path / name, some)
        schemas.append(pq.read_schema(tmp_path / name))
    assert schemas[0].equals(schemas[1])
    assert schemas[1].equals(schemas[2])
    assert schemas[0].names == SCHEMA.names


def test_rows_written_again_are_the_same_bytes(items, tmp_path):
    write_catalog(tmp_path / "a", items)
    write_catalog(tmp_path / "b", items)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("path", "name"),
    [((), "surprise"), (("properties",), "new:field"), (("assets", "data"), "gsd"), (("links", 0), "method")],
)
def test_a_field_without_a_column_is_refused_not_dropped(items, path, name):
    place = items[0]
    for step in path:
        place = place[step]
    place[name] = "something"
    with pytest.raises(PermanentFailure, match=rf"the catalog has no column for .*{name}"):
        to_batch(items)


def test_an_item_without_a_moment_is_refused(items):
    del items[0]["properties"]["datetime"]
    with pytest.raises(PermanentFailure, match="it has no datetime"):
        to_batch(items)


def test_no_column_holds_json_and_none_is_named_after_a_file():
    assert not [field.name for field in SCHEMA if "json" in str(field.type).lower()]
    assert [field.name for field in SCHEMA.field("assets").type] == [
        "data",
        "pmtiles",
        "cog",
        "source",
        "thumbnail",
        "torrent",
        "metadata",
    ]


@given(degrees, degrees, degrees, degrees)
def test_a_footprints_wkb_is_what_a_geometry_library_reads(a, b, c, d):
    box = (min(a, b), min(c, d), max(a, b), max(c, d))
    geometry = rectangle(*box)
    assert shapely.from_wkb(to_wkb(geometry)).equals_exact(shapely.geometry.shape(geometry))
    assert from_wkb(to_wkb(geometry)) == geometry
    assert bounds(geometry) == box


@pytest.mark.parametrize("byte_order", [0, 1])
def test_wkb_of_either_byte_order_is_read(byte_order):
    assert from_wkb(shapely.to_wkb(shapely.geometry.shape(CANADA), byte_order=byte_order)) == CANADA


def test_heights_are_left_out_of_a_footprint():
    flat = {"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]}
    high = {"type": "Polygon", "coordinates": [[[*point, 7.0] for point in flat["coordinates"][0]]]}
    assert from_wkb(to_wkb(high)) == flat


def test_a_geometry_that_is_no_footprint_is_refused():
    with pytest.raises(PermanentFailure, match="a footprint cannot be a GeometryCollection"):
        to_wkb({"type": "GeometryCollection", "geometries": []})
