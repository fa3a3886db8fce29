"""The declarations that ship: they load, agree with the recorded releases, and cover the areas they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely
from shapely.geometry import shape

from d4c_platform import datasets, naming
from d4c_platform.model.dataset import Dataset, FixedVintage, HttpFileSource, StatCanTableSource

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


def test_the_first_six_datasets_are_declared(declared: dict[str, Dataset]):
    assert set(declared) == {
        STATISTICAL + "33100036",
        STATISTICAL + "18100204",
        STATISTICAL + "provinces_and_territories_digital_2021",
        STATISTICAL + "census_divisions_digital_2021",
        WARDS,
        DISTRICTS,
    }


def test_the_sandbox_declares_a_table_and_a_layer_of_its_own(declared: dict[str, Dataset]):
    sandbox = datasets.load(SANDBOX)
    assert set(sandbox) == {STATISTICAL + "98100001", STATISTICAL + "provinces_and_territories_generalised_2021"}
    assert set(sandbox).isdisjoint(declared)


@pytest.mark.parametrize("dataset", [*datasets.load().values(), *datasets.load(SANDBOX).values()], ids=lambda d: d.id)
class TestEveryDeclaration:
    def test_its_file_lies_in_the_folder_of_its_package(self, dataset: Dataset):
        if dataset.id not in datasets.load(SANDBOX):
            folder = datasets.PACKAGED / dataset.package.removeprefix("d4c-datapkg-")
            assert any(datasets.load_file(file).id == dataset.id for file in datasets.declarations_in(folder))

    def test_a_version_of_it_can_be_named(self, dataset: Dataset):
        released = not isinstance(dataset.vintage, FixedVintage)
        vintage = "2025-06-11" if released else dataset.vintage.date
        version = naming.version_id(dataset.id, vintage, naming.SemVer.parse(dataset.version))
        assert naming.dataset_id_of(version, vintage_from_release=released) == dataset.id

    def test_its_area_is_a_valid_polygon(self, dataset: Dataset):
        polygon = shape(dataset.area.geometry)
        assert polygon.is_valid
        assert polygon.exterior.is_ccw

    def test_it_has_a_key_and_french_that_is_not_a_copy_of_the_english(self, dataset: Dataset):
        assert dataset.key
        for text in (dataset.title, dataset.description, dataset.publisher, dataset.licence.title, dataset.licence.attribution):
            assert text.en != text.fr

    def test_a_real_address_or_table_stands_behind_it(self, dataset: Dataset):
        if isinstance(dataset.source, HttpFileSource):
            assert dataset.source.url.startswith("https://")
            assert dataset.source.url.endswith(".zip")
        else:
            assert dataset.id.endswith(dataset.source.product_id)


@pytest.mark.parametrize("place", CANADA)
def test_the_outline_of_canada_contains_its_extremes(declared: dict[str, Dataset], place: str):
    assert shape(declared[STATISTICAL + "33100036"].area.geometry).contains(shapely.Point(CANADA[place]))


@needs_recorded
@pytest.mark.parametrize("product_id", ["33100036", "18100204"])
def test_a_table_has_the_publishers_titles_in_both_languages(declared: dict[str, Dataset], product_id: str):
    cube = json.loads((RECORDED / "statcan" / f"{product_id}.json").read_text())
    dataset = declared[STATISTICAL + product_id]
    assert isinstance(dataset.source, StatCanTableSource)
    assert dataset.source.product_id == product_id
    assert dataset.title.model_dump() == {"en": cube["cubeTitleEn"], "fr": cube["cubeTitleFr"]}


@needs_recorded
def test_the_boundary_files_have_the_recorded_addresses(declared: dict[str, Dataset]):
    recorded = (RECORDED / "statcan" / "boundary_files_2021.txt").read_text().split()
    for name in ("provinces_and_territories_digital_2021", "census_divisions_digital_2021"):
        source = declared[STATISTICAL + name].source
        assert isinstance(source, HttpFileSource)
        assert source.url in recorded


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
