"""What a declaration of a catalogue's dataset, or of a Statistics Canada geography file, must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from d4c_platform import datasets
from d4c_platform.cli.dataset import app
from d4c_platform.datasets import BadDeclaration
from d4c_platform.datasets.problem import Problem
from d4c_platform.datasets.rules import rule_problems
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.sources import CkanSource, OpendatasoftSource

WARDS = datasets.PACKAGED / "foundation" / "toronto_wards_2018.yaml"
BOUNDARIES = "https://www12.statcan.gc.ca/census-recensement/2021/geo/sip-pis/boundary-limites/files-fichiers/lpr_000a21a_e.zip"
CKAN = {
    "kind": "ckan",
    "portal": "https://open.canada.ca/data/en",
    "package": "306e5004-534b-4110-9feb-58e3a5c3fd97",
    "resources": ["35f67d86-cfc8-4483-8d77-50d035b010d9"],
}
GEOGRAPHY = {"kind": "statcan-geography", "url": BOUNDARIES}
CITY = {"kind": "opendatasoft", "portal": "https://opendata.vancouver.ca", "dataset": "local-area-boundary"}

Declare = Callable[[dict], Path]


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    """A good declaration with another source."""

    def declared(source: dict) -> Path:
        document = yaml.safe_load(WARDS.read_text(encoding="utf-8")) | {"source": source}
        file = tmp_path / "wards.yaml"
        file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        return file

    return declared


def problems_of(file: Path) -> list[Problem]:
    with pytest.raises(BadDeclaration) as caught:
        datasets.load_file(file)
    return list(caught.value.problems)


@pytest.mark.parametrize("source", [CKAN, GEOGRAPHY], ids=lambda s: s["kind"])
def test_a_shapefile_may_come_from_it(declare: Declare, source: dict) -> None:
    assert datasets.load_file(declare(source)).source.kind == source["kind"]


@pytest.mark.parametrize(
    ("source", "field", "why"),
    [
        (CKAN | {"resources": []}, "source.resources", ""),
        (CKAN | {"resources": ["a", "b", "a"]}, "source.resources[2]", "a is listed twice"),
        (CKAN | {"resources": ["a/b"]}, "source.resources[0]", "does not match"),
        (CKAN | {"package": "a b"}, "source.package", "does not match"),
        (CKAN | {"portal": "https://10.0.0.1/"}, "source.portal", "private network"),
        (CKAN | {"portal": "https://user:pw@open.canada.ca/data"}, "source.portal", "password"),
        (CKAN | {"portal": "https://open.canada.ca/data/en/api/3/action"}, "source.portal", "stops before /api"),
        (CKAN | {"portal": "https://open.canada.ca/data?lang=en"}, "source.portal", "no query"),
        (GEOGRAPHY | {"url": "https://www12.statcan.gc.ca.example.org/lpr_000a21a_e.zip"}, "source.url", "does not match"),
        (GEOGRAPHY | {"url": "https://example.org/www12.statcan.gc.ca/lpr_000a21a_e.zip"}, "source.url", "does not match"),
        (GEOGRAPHY | {"url": "http://www12.statcan.gc.ca/lpr_000a21a_e.zip"}, "source.url", "does not match"),
        (GEOGRAPHY | {"url": "https://www12.statcan.gc.ca/index2021-eng.cfm?year=21"}, "source.url", "does not match"),
        (CITY | {"portal": "http://opendata.vancouver.ca"}, "source.portal", "does not match"),
        (CITY | {"dataset": "../secret"}, "source.dataset", "does not match"),
        (CITY | {"format": "shp"}, "source.format", "not one of geojson, csv, parquet"),
        (CITY, "transform.kind", "shapefile does not read the source kind opendatasoft"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_field(declare: Declare, source: dict, field: str, why: str) -> None:
    (problem,) = problems_of(declare(source))
    assert (problem.field, why in problem.what) == (field, True)
    assert problem.line is not None


@pytest.mark.parametrize(("form", "refused"), [("geojson", False), ("csv", True), ("parquet", True)])
def test_an_export_has_the_format_that_its_transform_reads(declare: Declare, form: str, refused: bool) -> None:
    declared = datasets.load_file(declare(CKAN))
    transform = declared.transform.model_copy(update={"kind": "geojson"})
    source = OpendatasoftSource.model_validate(CITY | {"format": form})
    found = [p.field for p in rule_problems(declared.model_copy(update={"source": source, "transform": transform}))]
    assert found == (["source.format"] if refused else [])


def test_the_address_of_a_page_needs_no_care_about_slashes() -> None:
    for slash in ("", "/"):
        package = CkanSource.model_validate(CKAN | {"portal": f"https://open.canada.ca/data/en{slash}"})
        assert package.page == f"https://open.canada.ca/data/en/dataset/{package.package}"
        city = OpendatasoftSource.model_validate(CITY | {"portal": f"https://opendata.vancouver.ca{slash}"})
        assert city.page == "https://opendata.vancouver.ca/explore/dataset/local-area-boundary/"


@pytest.mark.parametrize(
    ("source", "told"),
    [(CKAN, "CKAN package 306e5004"), (GEOGRAPHY, "lpr_000a21a_e.zip")],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_person_is_shown_where_it_comes_from(
    declare: Declare, capsys: pytest.CaptureFixture[str], source: dict, told: str
) -> None:
    dataset: Dataset = datasets.load_file(file := declare(source))
    app(("list", "--folder", str(file.parent)), result_action="return_value")
    assert told in capsys.readouterr().out
    app(("show", dataset.id, "--folder", str(file.parent)), result_action="return_value")
    shown = "".join(capsys.readouterr().out.split())
    assert (source.get("url") or f"{CKAN['portal']}/dataset/{CKAN['package']}") in shown
