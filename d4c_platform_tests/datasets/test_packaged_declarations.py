"""The declarations that ship: they load, agree with the recorded releases, and cover the areas they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely
from shapely.geometry import shape

from d4c_platform import datasets, naming
from d4c_platform.datasets import shared_areas
from d4c_platform.model.dataset import Dataset, FixedVintage
from d4c_platform.model.sources import HttpFileSource, StatCanTableSource

PROJECT = Path(__file__).parents[2]
RECORDED = PROJECT.parent / "shared" / "data"
SANDBOX = PROJECT / "d4c_platform" / "sandbox" / "datasets"
STATISTICAL = "ca_statcan-2021A000011124_d4c-datapkg-statistical_"
WARDS = "ca-on_toronto-2021A00053520005_d4c-datapkg-foundation_wards_2018"
DISTRICTS = "ca-yt_yukon-2021A000260_d4c-datapkg-foundation_electoral_districts_2015"

needs_recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")

# Extreme places of each area, longitude and latitude: what the polygon must contain.
CANADA = {
    "Cape Columbia": (-70.0, 83.11),
    "Middle Island": (-82.68, 41.68),
    "Cape Spear": (-52.62, 47.52),
    "Mount Saint Elias": (-140.93, 60.29),
    "Herschel Island": (-139.05, 69.58),
    "Cape Kellett": (-125.9, 71.98),
    "Prince Patrick Island": (-124.0, 76.3),
    "Cape Sheridan": (-61.5, 82.47),
    "Cape Dyer": (-61.3, 66.6),
    "Sable Island": (-60.0, 43.93),
    "Cape Sable Island": (-65.62, 43.4),
    "Grand Manan": (-66.8, 44.65),
    "Victoria": (-123.37, 48.43),
    "Haida Gwaii": (-133.15, 54.2),
    "Triangle Island": (-129.08, 50.86),
    "Windsor": (-83.1, 42.25),
    "Fort Erie": (-78.92, 42.91),
    "Thunder Bay": (-89.25, 48.38),
    "Sault Ste. Marie": (-84.35, 46.5),
    "Rainy River": (-94.57, 48.72),
    "Edmundston": (-68.33, 47.36),
    "Black Tickle": (-55.76, 53.47),
    "Winnipeg": (-97.14, 49.9),
    "Iqaluit": (-68.5, 63.75),
}


@pytest.fixture(scope="module")
def declared() -> dict[str, Dataset]:
    return datasets.load()


def test_the_recorded_releases_and_many_more_are_declared(declared: dict[str, Dataset]):
    assert len(declared) >= 31
    assert set(declared) >= {
        STATISTICAL + "33100036",
        STATISTICAL + "18100204",
        STATISTICAL + "provinces_and_territories_digital_2021",
        STATISTICAL + "census_divisions_digital_2021",
        WARDS,
        DISTRICTS,
    }


def test_the_sandbox_declares_a_table_a_layer_and_one_of_each_kind_of_portal_of_its_own(declared: dict[str, Dataset]):
    sandbox = datasets.load(SANDBOX)
    assert set(datasets.load(SANDBOX / "census")) == {
        STATISTICAL + "98100001",
        STATISTICAL + "provinces_and_territories_generalised_2021",
    }
    assert {d.source.kind for d in datasets.load(SANDBOX / "portals").values()} == {"ckan", "opendatasoft", "arcgis"}
    assert set(sandbox).isdisjoint(declared)


PACKAGED, _ = datasets.check_files(datasets.declarations_in(datasets.PACKAGED))
ALL = [*PACKAGED.values(), *datasets.load(SANDBOX).values()]

# Without a key: areas that cross a provincial boundary are several rows, or nobody has looked yet which columns are unique.
KEYLESS = {
    STATISTICAL + "census_metropolitan_areas_and_census_agglomerations_digital_2021",
    STATISTICAL + "census_metropolitan_areas_and_census_agglomerations_cartographic_2021",
    STATISTICAL + "population_centres_digital_2021",
    STATISTICAL + "population_centres_cartographic_2021",
    STATISTICAL + "population_ecumene_2021",
    STATISTICAL + "agricultural_ecumene_2021",
    "ca-ab_statcan-2021A000248_d4c-datapkg-foundation_open_database_of_addresses_2021",
    "ca-bc_statcan-2021A000259_d4c-datapkg-foundation_open_database_of_addresses_2021",
    "ca-ab_edmonton-2021A00054811061_d4c-datapkg-foundation_corporate_boundary",
    "ca-bc_vancouver-2021A00055915022_d4c-datapkg-foundation_zoning_districts",
    "ca-bc_vancouver-2021A00055915022_d4c-datapkg-foundation_property_addresses",
    "ca-bc_vancouver-2021A00055915022_d4c-datapkg-foundation_building_footprints_2009",
    "ca-on_grey-2021A00033542_d4c-datapkg-foundation_building_footprints",
}


@pytest.mark.parametrize("file", PACKAGED, ids=lambda f: f.stem)
def test_a_declaration_lies_in_the_folder_of_its_package(file: Path):
    assert file.parent == datasets.PACKAGED / PACKAGED[file].package.removeprefix("d4c-datapkg-")


def test_a_boundary_file_of_every_level_is_declared_with_its_recorded_address():
    recorded = RECORDED / "statcan" / "boundary_files_2021.txt"
    if not recorded.is_file():
        pytest.skip(f"no recorded list at {recorded}")
    addresses = {line.split()[1] for line in recorded.read_text().splitlines() if not line.startswith("#")}
    declared = {d.source.url for d in ALL if isinstance(d.source, HttpFileSource)}
    assert len(addresses) == 32
    assert declared >= addresses


def test_no_two_declarations_say_the_same_of_different_files():
    for said in ("title", "description"):
        for language in ("en", "fr"):
            texts = [getattr(getattr(d, said), language) for d in PACKAGED.values()]
            assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("dataset", ALL, ids=lambda d: d.id)
class TestEveryDeclaration:
    def test_a_version_of_it_can_be_named(self, dataset: Dataset):
        released = not isinstance(dataset.vintage, FixedVintage)
        vintage = "2025-06-11" if released else dataset.vintage.date
        version = naming.version_id(dataset.id, vintage, naming.SemVer.parse(dataset.version))
        assert naming.dataset_id_of(version, vintage_from_release=released) == dataset.id

    def test_its_area_is_a_valid_polygon(self, dataset: Dataset):
        polygon = shape(dataset.area.geometry)
        assert polygon.is_valid
        assert polygon.exterior.is_ccw

    def test_it_has_a_key_unless_none_is_known(self, dataset: Dataset):
        assert bool(dataset.key) != (dataset.id in KEYLESS)

    def test_it_has_french_that_is_not_a_copy_of_the_english(self, dataset: Dataset):
        for text in (dataset.title, dataset.description, dataset.publisher, dataset.licence.title, dataset.licence.attribution):
            assert text.en != text.fr

    def test_a_real_address_or_table_stands_behind_it(self, dataset: Dataset):
        if isinstance(dataset.source, HttpFileSource):
            assert dataset.source.url.startswith("https://")
            assert dataset.transform.kind == "geojson" or dataset.source.url.endswith(".zip")
        elif isinstance(dataset.source, StatCanTableSource):
            assert dataset.id.endswith(dataset.source.product_id)


@pytest.mark.parametrize("place", CANADA)
def test_the_outline_of_canada_contains_its_extremes(declared: dict[str, Dataset], place: str):
    assert shape(declared[STATISTICAL + "33100036"].area.geometry).contains(shapely.Point(CANADA[place]))


# Extreme places of the other areas that declarations share.
PLACES = {
    "alberta": {
        "Waterton": (-113.9, 49.05), "Akamina Pass": (-114.05, 49.02), "Crowsnest Pass": (-114.69, 49.63),
        "Mount Assiniboine": (-115.65, 50.87), "Kicking Horse Pass": (-116.29, 51.45), "Columbia Icefield": (-117.3, 52.18),
        "Yellowhead Pass": (-118.46, 52.89), "Intersection Mountain": (-119.99, 53.8), "Bistcho Lake": (-118.8, 59.7),
        "Fort Chipewyan": (-111.15, 58.71), "Lloydminster": (-110.02, 53.28), "Empress": (-110.0, 50.96),
    },
    "british_columbia": {
        "Victoria": (-123.37, 48.41), "Race Rocks": (-123.53, 48.3), "Saturna Island": (-123.04, 48.78),
        "Delta": (-123.05, 49.02), "Akamina Pass": (-114.07, 49.01), "Fernie": (-115.06, 49.5), "Elk Lakes": (-114.95, 50.55),
        "Mount Assiniboine": (-115.66, 50.87), "Kicking Horse Pass": (-116.3, 51.45), "Yellowhead Pass": (-118.47, 52.89),
        "Intersection Mountain": (-120.01, 53.8), "Maxhamish Lake": (-123.2, 59.9), "Tatshenshini": (-138.9, 59.95),
        "Mount Fairweather": (-137.53, 58.9), "Langara Island": (-133.05, 54.25), "Cape Knox": (-133.1, 54.18),
        "Cape St. James": (-131.02, 51.9), "Triangle Island": (-129.08, 50.86), "Solander Island": (-127.94, 50.11),
        "Carmanah Point": (-124.75, 48.61),
    },
    "calgary": {"Spy Hill": (-114.25, 51.15), "Shepard": (-113.9, 50.94), "Spruce Meadows": (-114.1, 50.89)},
    "vancouver": {"Point Grey": (-123.22, 49.25), "Prospect Point": (-123.14, 49.314), "Boundary Road": (-123.024, 49.2)},
    "montreal_agglomeration": {"Senneville": (-73.97, 45.43), "Pointe-aux-Trembles": (-73.48, 45.69), "LaSalle": (-73.6, 45.4)},
    "grey_county": {"Owen Sound": (-80.94, 44.57), "Cape Commodore": (-80.9, 44.8), "Dundalk": (-80.39, 44.17)},
    "edmonton": {"Big Lake": (-113.68, 53.59), "Horse Hill": (-113.3, 53.69), "Ellerslie": (-113.5, 53.4)},
}  # fmt: skip


@pytest.mark.parametrize("area", PLACES)
def test_a_shared_outline_contains_its_extremes(area: str):
    polygon = shape(shared_areas.read(shared_areas.FOLDER / f"{area}.yaml").value["geometry"])
    assert [name for name, place in PLACES[area].items() if not polygon.contains(shapely.Point(place))] == []


@needs_recorded
@pytest.mark.parametrize("product_id", ["33100036", "18100204"])
def test_a_table_has_the_publishers_titles_in_both_languages(declared: dict[str, Dataset], product_id: str):
    cube = json.loads((RECORDED / "statcan" / f"{product_id}.json").read_text())
    dataset = declared[STATISTICAL + product_id]
    assert isinstance(dataset.source, StatCanTableSource)
    assert dataset.source.product_id == product_id
    assert dataset.title.model_dump() == {"en": cube["cubeTitleEn"], "fr": cube["cubeTitleFr"]}


@needs_recorded
@pytest.mark.parametrize(
    ("dataset_id", "file"), [(WARDS, "toronto_wards_2018.zip"), (DISTRICTS, "yukon_electoral_districts_2015.zip")]
)
def test_a_layer_promises_the_real_columns_and_lies_within_its_area(declared: dict[str, Dataset], dataset_id: str, file: str):
    import geopandas

    layer = geopandas.read_file(f"/vsizip/{RECORDED / 'shapefiles' / file}")
    dataset = declared[dataset_id]
    assert [c.name for c in dataset.columns] == [str(name).lower() for name in layer.columns]
    layer.columns = [str(name).lower() for name in layer.columns]
    assert not layer.duplicated(list(dataset.key)).any()
    assert shape(dataset.area.geometry).covers(layer.to_crs(4326).union_all())
