"""A declared layer is the address of one layer, public and without a query."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from d4c_platform.datasets.rules import rule_problems
from d4c_platform.model.sources import ArcgisSource
from d4c_platform_tests.sources.arcgis_server import arcgis

SERVICES = "https://gis.example.ca/arcgis/rest/services"


def problems_of(layer: str) -> dict[tuple[str | int, ...], str]:
    return {problem.path: problem.what for problem in rule_problems(arcgis(layer))}


@pytest.mark.parametrize("layer", [f"{SERVICES}/Wards/FeatureServer/0", f"{SERVICES}/Base/Roads/MapServer/12"])
def test_the_address_of_a_layer_is_declared(layer: str) -> None:
    source = arcgis(layer).source
    assert isinstance(source, ArcgisSource)
    assert (source.layer, source.where) == (layer, "1=1")
    assert ("source", "layer") not in problems_of(layer)


@pytest.mark.parametrize(
    "layer",
    [
        f"{SERVICES}/Wards/FeatureServer",
        f"{SERVICES}/Wards/FeatureServer/0/",
        f"{SERVICES}/Wards/FeatureServer/0/query",
        f"{SERVICES}/Wards/FeatureServer/0?token=a",
        f"{SERVICES}/Wards/ImageServer/0",
        f"{SERVICES}/Wards/FeatureServer/0".replace("https", "http"),
        "gis.example.ca/FeatureServer/0",
    ],
)
def test_an_address_that_is_no_layers_is_refused(layer: str) -> None:
    with pytest.raises(ValidationError):
        arcgis(layer)


def test_an_empty_condition_is_refused() -> None:
    with pytest.raises(ValidationError):
        ArcgisSource(kind="arcgis", layer=f"{SERVICES}/Wards/FeatureServer/0", where="")


@pytest.mark.parametrize("host", ["localhost", "10.1.2.3", "user:pw@gis.example.ca", "gis.internal"])
def test_an_address_that_is_private_or_holds_a_secret_is_refused(host: str) -> None:
    found = problems_of(f"https://{host}/rest/services/Wards/FeatureServer/0")
    assert ("source", "layer") in found
    assert "pw" not in found["source", "layer"].replace("password", "")


def test_only_a_transform_that_reads_geojson_reads_a_layer() -> None:
    found = problems_of(f"{SERVICES}/Wards/FeatureServer/0")
    assert found["transform", "kind"] == "statcan-csv does not read the source kind arcgis; geojson does"
