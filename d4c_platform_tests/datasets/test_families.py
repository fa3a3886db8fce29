"""One declaration stands for every table of a list: strictly checked, made on access, and giving way to a table's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from shapely.geometry import shape

from d4c_platform import datasets, naming
from d4c_platform.cli.dataset import app as dataset_app
from d4c_platform.datasets import BadDeclaration, Expansion
from d4c_platform.datasets.problem import Problem
from d4c_platform.datasets.rules import rule_problems
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.family import Family
from d4c_platform.model.listing import ListedTable, Listing
from d4c_platform.settings import Settings
from d4c_platform.stages.platform import Platform

[FILE] = datasets.families_in(datasets.PACKAGED)
OWN = "ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036"
ONTARIO = "2021A000235"
WORDS = {
    "frequency.6": ("Monthly", "Mensuelle"),
    "subject.14": ("Labour", "Travail"),
    "subject.1405": ("Training", "Formation"),
}


@pytest.fixture(scope="module")
def family() -> Family:
    return datasets.load_families(datasets.PACKAGED)["statcan-tables"]


def listed(product_id: str, area: str = "2021A000011124", *, archived: bool = False, subjects=("1405",)) -> ListedTable:
    titles = (f"Table {{of}} {product_id}", f"Tableau {{de}} {product_id}")
    return ListedTable(product_id, *titles, "20240417T123000Z", "2024-04-17T12:30", area, archived, "6", "2009-04-01", subjects)


def listing(*tables: ListedTable) -> Listing:
    return Listing(datetime(2025, 6, 11, 13, tzinfo=UTC), None, {t.product_id: t for t in tables}, {}, WORDS)


@pytest.fixture
def refuse(tmp_path: Path) -> Callable[..., list[Problem]]:
    def change(old: str, new: str) -> list[Problem]:
        text = FILE.read_text(encoding="utf-8")
        assert old in text
        file = tmp_path / "changed.family.yaml"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(BadDeclaration) as caught:
            datasets.load_families(tmp_path)
        return list(caught.value.problems)

    return change


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(FILE.read_text(encoding="utf-8").splitlines(), 1) if text in line)


def test_the_published_schema_of_families_is_the_one_the_model_makes():
    assert json.loads(datasets.FAMILY_SCHEMA_FILE.read_text(encoding="utf-8")) == datasets.family_schema()
    jsonschema.Draft202012Validator.check_schema(datasets.family_schema())


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ("recheck_days:", "recheck_day:", "recheck_day", "did you mean recheck_days"),
        ("  fr: Statistique Canada\n", "", "publisher.fr", "missing"),
        ("family: statcan-tables", "family: all-tables", "family", "statcan-tables"),
        ("Frequency: {frequency}", "Frequency: {frequncy}", "description.en", "{frequency}"),
        ("tableau {number}, {title}", "tableau {number}, {title!r}", "licence.attribution.fr", "{title}"),
        ("version: 1.0.0", "version: one", "version", "one"),
        ("  - dguid: 2021A000235\n", "  - dguid: 2021A000224\n", "areas[6].dguid", "2 times"),
        ("region: ca-on", "region: ca-zz", "areas[6]", "zz"),
    ],
)
def test_what_is_wrong_with_a_family_is_told_with_its_field_and_line(refuse, old, new, field, words):
    [problem] = refuse(old, new)
    assert (problem.field, words in problem.what) == (field, True), problem
    assert problem.line is not None
    assert abs(problem.line - line_of(old.strip().splitlines()[0])) <= 3  # a folded text begins a few lines before its fault


def test_an_area_of_a_family_is_checked_like_that_of_a_dataset(refuse):
    problems = refuse("[[[-95.3, 41.6], [-74.2, 41.6]", "[[[-95.3, 41.6], [-274.2, 41.6]")
    assert problems[0].field == "areas[6].geometry.coordinates[0][1]"


def test_every_dataset_of_a_family_is_one_that_a_declaration_could_have_made(family: Family):
    made = Expansion(family, listing(*(listed(f"{14100000 + n}", area.dguid) for n, area in enumerate(family.areas))))
    assert len(made) == len(family.areas)
    for dataset_id, dataset in made.items():
        document = dataset.model_dump(mode="json")
        jsonschema.validate(document, datasets.json_schema())
        assert Dataset.model_validate(document) == dataset
        assert list(rule_problems(dataset)) == []
        assert dataset.id == dataset_id == str(naming.parse(dataset_id))


def test_a_table_is_named_and_described_by_what_its_publisher_says(family: Family):
    [(dataset_id, dataset)] = Expansion(family, listing(listed("14100287", archived=True))).items()
    assert dataset_id == "ca_statcan-2021A000011124_d4c-datapkg-statistical_14100287"
    assert (dataset.title.en, dataset.title.fr) == ("Table {of} 14100287", "Tableau {de} 14100287")
    assert "table 14-10-0287: Table {of} 14100287" in dataset.description.en
    assert "Frequency: monthly; first reference period: 2009-04-01" in dataset.description.en
    assert "Fréquence : mensuelle" in dataset.description.fr
    assert "archived" in dataset.description.en
    assert "archivé" in dataset.description.fr
    assert "14-10-0287" in dataset.licence.attribution.fr
    assert [k.en for k in dataset.keywords] == ["Labour", "Training"]


def test_a_table_of_one_province_has_that_province_in_its_id(family: Family):
    [(dataset_id, dataset)] = Expansion(family, listing(listed("14100287", ONTARIO))).items()
    assert dataset_id == f"ca-on_statcan-{ONTARIO}_d4c-datapkg-statistical_14100287"
    assert dataset.area.name.en == "Ontario"
    assert shape(dataset.area.geometry).is_valid


def test_a_declaration_of_its_own_wins_over_the_family(family: Family):
    explicit = datasets.load()
    for area in ("2021A000011124", ONTARIO):  # the same id, and the same table under another
        assert list(Expansion(family, listing(listed("33100036", area)), explicit.values())) == []
    dated = explicit[OWN].model_copy(update={"id": f"{OWN[:-8]}14100287_2021", "source": explicit[OWN].source})
    assert list(Expansion(family, listing(listed("14100287")), [dated])) == []


def test_a_family_can_be_narrowed_to_subjects_and_to_what_is_current(family: Family):
    tables = listing(listed("14100287"), listed("18100004", subjects=("1802",)), listed("14100001", archived=True))
    narrow = family.model_copy(update={"subjects": ("14",), "archived": False})
    assert [d.rpartition("_")[2] for d in Expansion(narrow, tables)] == ["14100287"]


def test_a_stored_list_reads_back_as_it_was_and_a_damaged_one_names_its_file():
    tables = listing(listed("14100287"), listed("14100001", archived=True))
    assert Listing.from_json(tables.to_json(), "x") == tables
    for body in (b"{", b"[]", tables.to_json().replace(b'"format":1', b'"format":2')):
        with pytest.raises(PermanentFailure, match="families/x"):
            Listing.from_json(body, "families/x.json")


def test_making_the_ids_of_thousands_of_datasets_makes_no_dataset(family: Family, monkeypatch: pytest.MonkeyPatch):
    tables = listing(*(listed(f"{10100001 + n}") for n in range(8_000)))
    made: list[str] = []
    monkeypatch.setattr(Expansion, "_dataset", lambda self, table: made.append(table.product_id))
    expansion = Expansion(family, tables)
    assert len(expansion) == len(list(expansion)) == 8_000
    assert "ca_statcan-2021A000011124_d4c-datapkg-statistical_10100001" in expansion
    assert made == []


def test_no_family_is_followed_unless_the_settings_name_it(tmp_path: Path):
    there = {"portal_dir": tmp_path, "portal_url": "http://127.0.0.1:1"}
    with Platform(Settings(**there)) as platform:
        assert dict(platform.families) == {}
        assert list(platform.datasets) == list(datasets.load())
    with (
        Platform(Settings(**there, families=("statcan-table",))) as platform,
        pytest.raises(PermanentFailure, match=r"no family 'statcan-table' is declared.*statcan-tables"),
    ):
        _ = platform.datasets


def test_list_tells_of_a_family_and_whether_it_is_followed(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    def told() -> str:
        assert dataset_app(["list"], result_action="return_value") == 0
        return capsys.readouterr().out

    assert "not followed here" in told()
    monkeypatch.setenv("D4C_FAMILIES", '["statcan-tables"]')
    monkeypatch.setenv("D4C_PORTAL_DIR", str(tmp_path))
    monkeypatch.setenv("D4C_PORTAL_URL", "http://127.0.0.1:1")
    assert "refresh_families" in told()
    (tmp_path / "families").mkdir()
    (tmp_path / "families" / "statcan-tables.json").write_bytes(listing(listed("14100287"), listed("33100036")).to_json())
    assert "1 datasets of 2 tables" in told()
    shown = "ca_statcan-2021A000011124_d4c-datapkg-statistical_14100287"
    assert dataset_app(["show", shown, "--json"], result_action="return_value") == 0
    assert json.loads(capsys.readouterr().out)["id"] == shown


def test_validate_takes_families_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "tables.family.yaml"
    file.write_text(FILE.read_text(encoding="utf-8"), encoding="utf-8")
    assert dataset_app(["validate", str(file), "--json"], result_action="return_value") == 0
    assert json.loads(capsys.readouterr().out)["families"] == {str(file): "statcan-tables"}
    file.write_text(file.read_text(encoding="utf-8").replace("mirrors:", "mirors:"), encoding="utf-8")
    assert dataset_app(["validate", str(tmp_path)], result_action="return_value") == 1
    assert "mirors: there is no such field; did you mean mirrors?" in capsys.readouterr().out
