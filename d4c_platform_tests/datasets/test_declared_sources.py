"""Who lists, checks, links or stands in for a source knows no kind: a kind that is new to all of them works in all of them."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import Field, create_model

from d4c_platform import datasets
from d4c_platform.cli.dataset import app
from d4c_platform.datasets.rules import rule_problems
from d4c_platform.model.dataset import Dataset, Transform
from d4c_platform.model.records import Item
from d4c_platform.model.sources import DeclaredSource, FileListSource, Source, StatCanGeographySource
from d4c_platform.sandbox.place import SERVICES, Place
from d4c_platform.sources.registry import KINDS
from d4c_platform_tests.catalog.published import SPATIAL, Archive

WARDS = datasets.PACKAGED / "foundation" / "toronto_wards_2018.yaml"
FOLDER = "https://files.example.ca/wards"
KNOW_NO_KIND = (
    "d4c_platform.cli.dataset",
    "d4c_platform.datasets.rules",
    "d4c_platform.catalog.item",
    "d4c_platform.sandbox.place",
    "d4c_platform.sandbox.recorded",
)
DECLARED: tuple[type[DeclaredSource], ...] = get_args(get_args(Source)[0])
ONE_OF_EACH: dict[str, DeclaredSource] = {dataset.source.kind: dataset.source for dataset in datasets.load().values()} | {
    "file-list": FileListSource(kind="file-list", url=f"{FOLDER}/list.txt", base=FOLDER),  # none of these is packaged
    "statcan-geography": StatCanGeographySource(kind="statcan-geography", url="https://www12.statcan.gc.ca/geo/lpr.zip"),
}


class NewSource(DeclaredSource):
    """A kind that only this test knows, with no more than a kind has to say."""

    read_by = frozenset({"shapefile"})

    kind: Literal["new"]
    folder: str = Field(pattern=r"^https://")

    @property
    def addresses(self) -> Mapping[str, str]:
        return {"folder": self.folder}


def declaring(source: type[DeclaredSource]) -> type[Dataset]:
    """What `Dataset` is once a kind stands in the union of sources."""
    return create_model("Dataset", __base__=Dataset, source=(Annotated[Source | source, Field(discriminator="kind")], ...))


def declared(folder: str = FOLDER, **more: Any) -> Dataset:
    document = datasets.load_file(WARDS).model_dump(mode="json") | {"source": {"kind": "new", "folder": folder}} | more
    return declaring(NewSource).model_validate(document)


def test_a_new_kind_is_listed_and_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = declared()
    monkeypatch.setattr(datasets, "load", lambda folder=None: {dataset.id: dataset})
    app(["list"], result_action="return_value")
    assert "  wards, vintage: 2018, version" in capsys.readouterr().out
    app(["show", dataset.id], result_action="return_value")
    assert FOLDER in capsys.readouterr().out


def test_the_rules_look_at_the_addresses_of_a_new_kind_and_at_what_reads_it() -> None:
    assert list(rule_problems(declared())) == []
    (address,) = rule_problems(declared("https://10.0.0.1/wards"))
    assert (address.field, "private network" in address.what) == ("source.folder", True)
    (transform,) = rule_problems(declared(transform={"kind": "geojson"}))
    assert transform.what == "geojson does not read the source kind new; shapefile does"


def test_the_catalog_links_a_new_kind(tmp_path: Path) -> None:
    archive, dataset = Archive(tmp_path), declared()
    version = f"{dataset.id}_v1.0.0"
    archive.version(dataset, version, **SPATIAL)
    (via,) = (link for link in archive.records.read(Item, version).item["links"] if link["rel"] == "via")
    assert (via["href"], via["title"]) == (FOLDER, "The publisher's file")


def test_the_sandboxs_file_server_stands_in_for_a_new_kind(tmp_path: Path) -> None:
    place = Place(tmp_path, None, dict.fromkeys(SERVICES, 12_000))
    place.__dict__["declared"] = {(dataset := declared()).id: dataset}
    assert place.origins()["https://files.example.ca"] == f"{place.urls['files']}/files.example.ca"
    assert not place.recorded(dataset.id)


def test_every_kind_that_can_be_declared_is_spoken_and_the_other_way_round() -> None:
    assert set(ONE_OF_EACH) == set(KINDS)
    assert {type(source) for source in ONE_OF_EACH.values()} == set(DECLARED)


@pytest.mark.parametrize("source", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_every_kind_answers_what_is_asked_of_all(source: DeclaredSource) -> None:
    transforms = {t.model_fields["kind"].annotation.__args__[0] for t in get_args(get_args(Transform)[0])}
    assert source.read_by
    assert source.read_by <= transforms
    assert source.address.startswith("https://")
    assert source.label
    assert source.details
    for transform in source.read_by:
        assert [p for p, _ in source.disagreements(transform) if p != ("format",)] == []


@pytest.mark.parametrize("source", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_no_address_that_a_person_writes_escapes_the_rules(source: DeclaredSource) -> None:
    written = {name for name in type(source).model_fields if str(getattr(source, name)).startswith("https://")}
    assert set(source.addresses) == written


@pytest.mark.parametrize("module", KNOW_NO_KIND)
def test_no_kind_is_named_where_all_are_asked_the_same(module: str) -> None:
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert names.isdisjoint(kind.__name__ for kind in DECLARED)
    assert texts.isdisjoint(KINDS)
