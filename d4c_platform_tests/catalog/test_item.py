import pytest

from d4c_platform.catalog.item import item
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Build, Changes, Copies, Item, Manifest
from d4c_platform.model.sources import ArcgisSource, OpendatasoftSource
from d4c_platform_tests.catalog.published import (
    CANADA,
    PROVINCES,
    SPATIAL,
    TABLE,
    TABULAR,
    Archive,
    provinces_version,
    table_version,
)

VERSION = table_version("2025-06-11")


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path)


def described(archive, dataset, version, **fields):
    archive.version(dataset, version, **fields)
    return archive.records.read(Item, version).item


def test_a_version_without_geometry_has_the_footprint_of_its_area(archive):
    found = described(archive, TABLE, VERSION, **TABULAR)
    assert found["geometry"] == CANADA
    assert found["bbox"] == [-141.0, 41.7, -52.6, 83.1]


def test_a_spatial_version_has_the_rectangle_of_its_data(archive):
    found = described(archive, PROVINCES, provinces_version(), bbox=(-80.0, 43.0, -79.0, 44.0), crs="EPSG:3347")
    assert found["geometry"]["coordinates"] == [[[-80.0, 43.0], [-79.0, 43.0], [-79.0, 44.0], [-80.0, 44.0], [-80.0, 43.0]]]
    assert found["assets"]["data"]["proj:code"] == "EPSG:3347"


def test_heights_do_not_show_in_the_code_of_the_projection(archive):
    found = described(archive, PROVINCES, provinces_version(), bbox=(-80.0, 43.0, -79.0, 44.0), crs="EPSG:2957+5713")
    assert found["assets"]["data"]["proj:code"] == "EPSG:2957"


def test_the_box_in_the_datas_own_crs_is_given_only_where_it_is_known(archive):
    lambert = described(archive, PROVINCES, provinces_version(), **SPATIAL)
    degrees = described(archive, PROVINCES, provinces_version("1.0.1"), **(SPATIAL | {"crs": "EPSG:4326"}))
    assert "proj:bbox" not in lambert["assets"]["data"]
    assert degrees["assets"]["data"]["proj:bbox"] == [-141.0, 41.7, -52.6, 83.1]


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (("2001", "2003"), "2001-01-01T00:00:00Z", "2003-12-31T23:59:59Z"),
        (("2001-01", "2024-02"), "2001-01-01T00:00:00Z", "2024-02-29T23:59:59Z"),
        (("2001-11", "2001-12"), "2001-11-01T00:00:00Z", "2001-12-31T23:59:59Z"),
        (("2017-01-03", "2025-06-10"), "2017-01-03T00:00:00Z", "2025-06-10T23:59:59Z"),
        (("2022/2023", "2023/2024"), "2022-01-01T00:00:00Z", "2024-12-31T23:59:59Z"),
    ],
)
def test_an_item_covers_its_reference_period_to_the_last_second(archive, period, start, end):
    times = described(archive, TABLE, VERSION, period=period)["properties"]
    assert (times["start_datetime"], times["end_datetime"], times["datetime"]) == (start, end, end)


def test_a_fixed_vintage_is_the_period_of_data_that_has_none(archive):
    times = described(archive, PROVINCES, provinces_version(), **SPATIAL)["properties"]
    assert (times["start_datetime"], times["end_datetime"]) == ("2021-01-01T00:00:00Z", "2021-12-31T23:59:59Z")


def test_a_release_without_any_period_has_its_moment(archive):
    times = described(archive, TABLE, VERSION)["properties"]
    assert times["datetime"] == "2025-06-11T12:30:00Z"
    assert "start_datetime" not in times


def test_a_layers_page_is_linked_as_a_page(archive):
    url = "https://gis.example.ca/rest/services/Provinces/FeatureServer/0"
    layer = PROVINCES.model_copy(update={"source": ArcgisSource(kind="arcgis", layer=url)})
    (via,) = (link for link in described(archive, layer, provinces_version(), **SPATIAL)["links"] if link["rel"] == "via")
    assert (via["href"], via["type"]) == (url, "text/html")


def test_a_period_that_is_no_date_is_refused_with_the_version(archive):
    with pytest.raises(PermanentFailure, match=rf"{VERSION}: the reference period 'spring' is not an ISO 8601 date"):
        archive.version(TABLE, VERSION, period=("spring", "2025"))


def test_an_artifact_that_is_not_on_the_portal_is_refused(archive):
    build = Build(version_id=VERSION, artifacts=(archive.artifact(VERSION),))
    manifest = Manifest(
        version_id=VERSION,
        dataset={},
        sources={},
        code_commit="c",
        lock_sha256="1",
        tools={},
        parameters={},
        checks=(),
        changes=Changes(least_bump="first"),
        logical_hash={},
    )
    nothing = Copies(version_id=VERSION, place="portal", copies=())
    with pytest.raises(PermanentFailure, match="the data artifact has no copy there"):
        item(TABLE, VERSION, archive.release(TABLE, VERSION, "2025-06-11"), build, manifest, portal_copies=nothing)


def test_the_checksum_is_a_sha256_multihash_and_the_size_a_number(archive):
    asset = described(archive, TABLE, VERSION)["assets"]["data"]
    digests = archive.artifact(VERSION).digests
    assert asset["file:checksum"] == "1220" + digests.sha256
    assert asset["file:size"] == digests.bytes


def test_both_languages_stand_side_by_side(archive):
    found = described(archive, TABLE, VERSION)
    assert found["properties"]["d4c:title_fr"] == "Taux de change quotidiens moyens (é)"
    assert found["assets"]["data"]["table:columns"][0]["d4c:description_fr"] == "Période de référence"
    assert [link["hreflang"] for link in found["links"] if link["rel"] == "license"] == ["en", "fr"]


def test_a_catalogues_dataset_leads_to_its_page(archive):
    source = OpendatasoftSource(kind="opendatasoft", portal="https://opendata.vancouver.ca", dataset="areas")
    found = described(archive, PROVINCES.model_copy(update={"source": source}), provinces_version(), **SPATIAL)
    (page,) = [link for link in found["links"] if link["rel"] == "via"]
    assert (page["href"], page["type"]) == ("https://opendata.vancouver.ca/explore/dataset/areas/", "text/html")
