"""Which system a file means, whatever it calls it and however it spells it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.crs import CANADIAN, recognise

pytestmark = pytest.mark.filterwarnings("ignore:You will likely lose important projection information")
SPELLINGS = ("WKT2_2019", "WKT2_2015", "WKT1_GDAL", "WKT1_ESRI")


def renamed(wkt, name):
    """The same definition under a name that says nothing, without codes to look it up by."""
    crs = CRS.from_wkt(wkt)
    first, *others = wkt.replace(crs.name, name).split(",AUTHORITY[")
    return first + "".join(part.partition("]")[2] for part in others)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "code",
    [
        *("EPSG:3347", "EPSG:3348", "EPSG:3978", "EPSG:3578", "EPSG:3005", "EPSG:32198", "EPSG:3799", "ESRI:102001"),
        *("EPSG:26917", "EPSG:2957", "EPSG:3160", "EPSG:26717", "EPSG:22717", "EPSG:3857", "EPSG:4269", "EPSG:4617"),
        *("EPSG:32188", "EPSG:32187", "EPSG:2950", "EPSG:2952", "EPSG:26891", "EPSG:26898", "EPSG:32085"),
    ],
)
def test_a_system_is_recognised_in_every_spelling(code, spelling):
    found = recognise(CRS(code).to_wkt(spelling), "f")
    assert (found.code, found.vertical, found.identity) == (code, None, code)
    assert found.crs == CRS(code)


@pytest.mark.parametrize("code", ["EPSG:3347", "EPSG:26917", "EPSG:2957", "EPSG:32188", "EPSG:2950", "EPSG:32085"])
@pytest.mark.parametrize("name", ["PCS_Lambert_Conformal_Conic", "MTM_8", "Projection de la ville"])
def test_names_prove_nothing(code, name):
    wkt = renamed(CRS(code).to_wkt("WKT1_GDAL"), name)
    assert "AUTHORITY" not in wkt
    assert recognise(wkt, "f").code == code


# PROJ reads Web Mercator by its method alone and drops its parameters before anybody sees them.
SHIFTED = [c for c in CANADIAN if CRS(c).is_projected and c != "EPSG:3857"]


@settings(max_examples=30, deadline=None)
@given(code=st.sampled_from(SHIFTED), by=st.sampled_from([0.5, 1.0, 1000.0]))
def test_a_system_with_another_false_easting_is_not_recognised(code, by):
    said = CRS(code).to_json_dict()
    easting = next(p for p in said["conversion"]["parameters"] if p["name"].lower().startswith(("false east", "easting at")))
    easting["value"] += by
    said.pop("id", None)
    found = recognise(CRS.from_json_dict(said).to_wkt(), "f").code
    assert found != code
    assert found is None or CRS(found).to_dict()["x_0"] == pytest.approx(easting["value"])


@settings(max_examples=30, deadline=None)
@given(code=st.sampled_from(CANADIAN))
def test_every_canadian_system_recognises_itself_by_its_parameters(code):
    found = recognise(CRS(code).to_wkt("WKT1_ESRI"), "f").code
    assert found is not None
    assert CRS(found).to_dict() == CRS(code).to_dict()


@pytest.mark.parametrize(
    ("said", "identity"),
    [
        ("EPSG:2957+5713", "EPSG:2957+5713"),  # UTM with heights above CGVD28
        ("EPSG:3160+6647", "EPSG:3160+6647"),  # and above CGVD2013
        ("EPSG:6649", "EPSG:4617+6647"),  # which has a code as a whole, too
        ("EPSG:4326+5773", "EPSG:4326+5773"),
        ("EPSG:4955", "EPSG:4617+ellipsoidal height"),
        ("EPSG:4979", "EPSG:4326+ellipsoidal height"),
    ],
)
def test_the_horizontal_part_is_recognised_and_the_vertical_one_is_kept(said, identity):
    found = recognise(CRS(said).to_wkt(), "f")
    assert (found.identity, found.code) == (identity, identity.partition("+")[0])
    assert found.horizontal.is_geographic or found.horizontal.is_projected
    assert len(found.horizontal.axis_info) == 2
    assert len(CRS.from_json_dict(found.projjson).axis_info) == 3


def test_heights_without_a_code_keep_their_name():
    wkt = CRS("EPSG:2957+5713").to_wkt().replace("CGVD28 height", "Heights of the city").replace("EPSG", "CITY")
    assert recognise(wkt, "f").identity == "EPSG:2957+Heights of the city"


def test_longitude_comes_first_in_the_metadata_of_wgs_84_with_heights_too():
    said = recognise(CRS("EPSG:4326+5773").to_wkt(), "f").projjson
    assert said["components"][0]["coordinate_system"]["axis"][0]["abbreviation"] == "Lon"


def test_a_way_to_wgs_84_is_no_part_of_a_system():
    wkt = CRS(26917).to_wkt("WKT1_GDAL").replace('AUTHORITY["EPSG","6269"]', 'TOWGS84[0,0,0,0,0,0,0],AUTHORITY["EPSG","6269"]')
    assert CRS.from_wkt(wkt).is_bound
    assert recognise(wkt, "f").code == "EPSG:26917"


@pytest.mark.parametrize("code", ["EPSG:4978", "EPSG:5713"])
def test_what_is_no_place_on_the_earth_is_refused(code):
    with pytest.raises(PermanentFailure, match="no place on the earth"):
        recognise(CRS(code).to_wkt(), "f")


def test_a_plan_of_its_own_is_refused():
    wkt = 'LOCAL_CS["CAD plan",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    with pytest.raises(PermanentFailure, match="CAD plan, which is no place on the earth"):
        recognise(wkt, "f")
