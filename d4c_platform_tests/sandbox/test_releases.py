"""The shipped releases: real figures, the publishers' forms, the same bytes every time."""

import csv
import hashlib
import io
import json
import zipfile
from itertools import combinations

import geopandas
import pytest
from pyproj import CRS

from d4c_platform.sandbox import outlines, releases
from d4c_platform.sandbox.census import CANADA, FIRST_VECTOR, PROVINCES, RELEASES
from d4c_platform.sandbox.recorded import table_releases


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases")
    releases.build(folder)
    return folder


def rows(release, language):
    with zipfile.ZipFile(release.zips[language]) as packed:
        text = packed.read("98100001.csv").decode("utf-8")
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:]), delimiter="," if language == "eng" else ";"))


@pytest.mark.parametrize("census", [2016, 2021])
def test_the_provinces_add_up_to_canada(census):
    assert sum(p.population[census] for p in PROVINCES) == CANADA.population[census]


def test_there_are_two_releases_at_0830_eastern(folder):
    found = table_releases(folder)
    assert [r.released_at for r in found] == [r.released_at for r in RELEASES]
    assert [r.metadata()["releaseTime"] for r in found] == ["2017-02-08T08:30", "2022-02-09T08:30"]


def test_the_rows_are_as_many_as_the_metadata_says(folder):
    for release, expected in zip(table_releases(folder), (28, 56), strict=True):
        assert len(rows(release, "eng")) == len(rows(release, "fra")) == release.metadata()["nbDatapointsCube"] == expected


def test_both_languages_say_the_same_in_their_own_words(folder):
    for release in table_releases(folder):
        english, french = rows(release, "eng"), rows(release, "fra")
        assert len(english[0]) == len(french[0]) == 15
        for a, b in zip(english, french, strict=True):
            assert a["VALUE"] == b["VALEUR"].replace(",", ".")
            assert [a[k] for k in ("REF_DATE", "DGUID", "VECTOR", "COORDINATE", "DECIMALS")] == [
                b[k] for k in ("PÉRIODE DE RÉFÉRENCE", "DGUID", "VECTEUR", "COORDONNÉES", "DÉCIMALES")
            ]
    assert {r["GÉO"] for r in french} >= {"Québec", "Île-du-Prince-Édouard", "Territoires du Nord-Ouest"}


def test_the_first_census_has_no_change_and_says_so(folder):
    for release in table_releases(folder):
        changes = [r for r in rows(release, "eng") if r["COORDINATE"].endswith(".2") and r["REF_DATE"] == "2016"]
        assert {(r["VALUE"], r["STATUS"]) for r in changes} == {("", "..")}


def test_the_published_changes_come_out(folder):
    published = {"Canada": "5.2", "Quebec": "4.1", "Ontario": "5.8", "British Columbia": "7.6", "Northwest Territories": "-1.7"}
    changes = {
        r["GEO"]: r["VALUE"] for r in rows(table_releases(folder)[1], "eng") if r["COORDINATE"].endswith(".2") and r["VALUE"]
    }
    assert {k: changes[k] for k in published} == published


def test_dguids_name_the_releases_own_census(folder):
    first, second = (rows(r, "eng") for r in table_releases(folder))
    assert {r["DGUID"] for r in first} == {"2016A000011124", *(f"2016A0002{p.code}" for p in PROVINCES)}
    assert {r["DGUID"] for r in second} == {"2021A000011124", *(f"2021A0002{p.code}" for p in PROVINCES)}


def test_a_series_keeps_its_vector(folder):
    first, second = ({r["COORDINATE"]: r["VECTOR"] for r in rows(x, "eng")} for x in table_releases(folder))
    assert first == second
    assert len(set(first.values())) == 28
    assert min(int(v[1:]) for v in first.values()) == FIRST_VECTOR


def test_the_metadata_file_stacks_its_tables_in_both_languages(folder):
    for release in table_releases(folder):
        for language, mark in (("eng", ","), ("fra", ";")):
            with zipfile.ZipFile(release.zips[language]) as packed:
                sections = packed.read("98100001_MetaData.csv").decode("utf-8-sig").split("\n\n")
            assert len(sections) == 8
            cube = list(csv.reader(io.StringIO(sections[0]), delimiter=mark))
            assert cube[1][1] == "98100001"
            assert len(cube[1]) == len(cube[0]) + 1  # as the publisher's
            members = list(csv.reader(io.StringIO(sections[2]), delimiter=mark))
            assert len(members) == 1 + 14 + 2


def test_members_are_stamped_in_the_night_before_the_release(folder):
    with zipfile.ZipFile(table_releases(folder)[1].zips["eng"]) as packed:
        assert {i.date_time for i in packed.infolist()} == {(2022, 2, 9, 0, 34, 0)}


def test_the_same_code_writes_the_same_bytes(folder, tmp_path):
    releases.build(tmp_path)
    first, second = (
        {f.relative_to(d): hashlib.sha256(f.read_bytes()).hexdigest() for d in (d,) for f in d.rglob("*") if f.is_file()}
        for d in (folder, tmp_path)
    )
    assert first == second
    assert len(first) == 12


def test_a_filled_folder_is_left_alone_and_a_half_filled_one_is_filled(tmp_path):
    releases.build(tmp_path)
    file = next(tmp_path.rglob("98100001.json"))
    file.unlink()
    releases.build(tmp_path)
    assert not file.exists()
    (tmp_path / releases.RECIPE).unlink()  # killed before the end: the recipe is written last
    releases.build(tmp_path)
    assert json.loads(file.read_text())["productId"] == "98100001"


@pytest.fixture(scope="module")
def boundaries(folder):
    (file,) = folder.rglob("lpr_000g21a_e.zip")
    return geopandas.read_file(file)


def test_the_shapefile_has_the_publishers_columns_and_both_languages(boundaries):
    assert [*boundaries.columns] == ["PRUID", "DGUID", "PRNAME", "PRENAME", "PRFNAME", "PREABBR", "geometry"]
    quebec = boundaries[boundaries.PRUID == "24"].iloc[0]
    assert (quebec.DGUID, quebec.PRNAME, quebec.PRFNAME, quebec.PREABBR) == ("2021A000224", "Quebec / Québec", "Québec", "Que.")
    assert len(boundaries) == 13


def test_the_projection_is_epsg_3347_under_the_publishers_name():
    crs = CRS.from_wkt(outlines.PRJ)
    assert crs.name == "NAD83_Statistics_Canada_Lambert"
    assert crs.equals(CRS.from_epsg(3347), ignore_axis_order=True) or _parameters(crs) == _parameters(CRS.from_epsg(3347))


def _parameters(crs):
    return {p.name: round(p.value, 6) for p in crs.coordinate_operation.params}


def test_the_outlines_are_valid_and_do_not_overlap(boundaries):
    assert boundaries.geometry.is_valid.all()
    for a, b in combinations(boundaries.geometry, 2):
        assert a.intersection(b).area < 1  # square metre


def test_the_outlines_lie_where_the_provinces_are(boundaries):
    points = boundaries.set_index("PREABBR").to_crs("EPSG:4326").representative_point()
    for west, east in (
        ("B.C.", "Alta."),
        ("Alta.", "Sask."),
        ("Sask.", "Man."),
        ("Man.", "Ont."),
        ("Ont.", "Que."),
        ("Y.T.", "N.W.T."),
    ):
        assert points[west].x < points[east].x
    areas = boundaries.set_index("PREABBR").area
    assert areas.idxmax() == "Nvt."
    assert areas.idxmin() == "P.E.I."
