"""What a declaration must be, and how clearly the loader says what it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from d4c_platform import datasets
from d4c_platform.datasets import BadDeclaration, shared_areas
from d4c_platform.datasets.addresses import address_problems
from d4c_platform.datasets.problem import Problem
from d4c_platform.model.errors import PermanentFailure

WARDS = Path(__file__).parent / "wards_written_out.yaml"  # with its area in it, as an operator may write one
TABLE = datasets.PACKAGED / "statistical" / "33100036.yaml"

Refuse = Callable[..., list[Problem]]


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """Change a good declaration's text and return the problems it is refused with."""

    def change(*changes: tuple[str, str], base: Path = WARDS) -> list[Problem]:
        text = base.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        file = tmp_path / "changed.yaml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(BadDeclaration) as caught:
            datasets.load_file(file)
        problems = list(caught.value.problems)
        assert all(problem.file == file for problem in problems)
        assert str(file) in str(caught.value)
        return problems

    return change


def line_of(text: str, file: Path = WARDS) -> int:
    return next(i for i, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if text in line)


# -- the schema ---------------------------------------------------------------------------------------------------------


def test_the_published_schema_is_the_one_the_model_makes():
    assert json.loads(datasets.SCHEMA_FILE.read_text(encoding="utf-8")) == datasets.json_schema()


def test_the_schema_is_valid_and_has_its_public_address():
    schema = datasets.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == "https://dataforcanada.org/schemas/dataset/v1.json"


def test_every_declaration_names_the_schema_that_its_editor_can_find():
    for file in datasets.declarations_in(datasets.PACKAGED):
        first = file.read_text(encoding="utf-8").splitlines()[0]
        assert (file.parent / first.partition("$schema=")[2]).resolve() == datasets.SCHEMA_FILE


# -- what the schema refuses --------------------------------------------------------------------------------------------


def test_a_missing_field_is_named_with_the_line_of_what_lacks_it(refuse: Refuse):
    (problem,) = refuse(("  fr: Ville de Toronto\n", ""))
    assert (problem.field, problem.what, problem.line) == ("publisher.fr", "it is missing", line_of("publisher:"))


def test_a_misspelt_field_is_named_with_its_line_and_what_was_meant(refuse: Refuse):
    problems = refuse(("mirrors:", "miror:"))
    assert [(p.field, p.line) for p in problems] == [("miror", line_of("mirrors:"))]
    assert "mirrors" in problems[0].what


def test_a_number_where_text_belongs_is_told_to_be_quoted(refuse: Refuse):
    (problem,) = refuse(('date: "2018"', "date: 2018"))
    assert (problem.field, problem.line) == ("vintage.date", line_of('date: "2018"'))
    assert "quotes" in problem.what


def test_an_unknown_kind_of_source_is_told_which_there_are(refuse: Refuse):
    (problem,) = refuse(("kind: http-file", "kind: ftp"))
    assert problem.field == "source.kind"
    assert "http-file" in problem.what


def test_a_field_of_the_chosen_kind_is_explained_not_the_choice(refuse: Refuse):
    (problem,) = refuse(("url: https://ckan0", "url: ftp://ckan0"))
    assert problem.field == "source.url"
    assert problem.line == line_of("url: https://ckan0")


def test_an_unknown_mirror_is_named(refuse: Refuse):
    (problem,) = refuse(("[source-coop, zenodo]", "[source-coop, zenado]"))
    assert problem.field == "mirrors[1]"


def test_all_problems_are_told_at_once(refuse: Refuse):
    problems = refuse(("  fr: Ville de Toronto\n", ""), ("mirrors:", "miror:"), ('date: "2018"', "date: 2018"))
    assert {p.field for p in problems} == {"publisher.fr", "miror", "vintage.date"}


# -- what YAML itself refuses -------------------------------------------------------------------------------------------


def test_a_key_written_twice_is_refused_on_its_second_line(refuse: Refuse):
    (problem,) = refuse(("mirrors: [source-coop, zenodo]", "mirrors: [zenodo]\nmirrors: [source-coop]"))
    assert problem.line == line_of("mirrors:") + 1
    assert "twice" in problem.what


def test_an_alias_is_refused(refuse: Refuse):
    (problem,) = refuse(("{en: Toronto, fr: Toronto}", "{en: &name Toronto, fr: *name}"))
    assert "alias" in problem.what
    assert problem.line == line_of("{en: Toronto, fr: Toronto}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "- a list\n",
        "just text",
        "id: [unclosed\n",
        "a: b\n---\nc: d\n",
        "!!python/object/apply:os.system [id]",
        "\tid: tab",
        "? [a]\n: b\n",
        "d: 2021-02-30\n",
        "[" * 5000,
    ],
)
def test_what_is_no_declaration_is_refused_by_name(tmp_path: Path, text: str):
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    with pytest.raises(BadDeclaration, match=r"odd\.yaml"):
        datasets.load_file(file)


def test_bytes_that_are_no_text_are_refused_by_name(tmp_path: Path):
    file = tmp_path / "latin.yaml"
    file.write_bytes("titre: Données".encode("latin-1"))
    with pytest.raises(BadDeclaration, match="UTF-8"):
        datasets.load_file(file)


def test_a_missing_file_is_a_sentence_too(tmp_path: Path):
    with pytest.raises(BadDeclaration, match=r"gone\.yaml"):
        datasets.load_file(tmp_path / "gone.yaml")


# -- what the rules refuse ----------------------------------------------------------------------------------------------

RULES = [
    ("id", ("id: ca-on_toronto-", "id: ca-on_toronto_"), "canonical"),
    ("id", ("wards_2018\nversion", "wards_2018_v1.0.0\nversion"), "no version"),
    ("id", ("id: ca-on", "id: ca-xx"), "xx"),
    ("package", ("package: d4c-datapkg-foundation", "package: d4c-datapkg-statistical"), "id"),
    ("version", ("version: 1.0.0", "version: 1.0.0+a"), "build metadata"),
    ("vintage.date", ('date: "2018"', 'date: "2019"'), "2018"),
    ("vintage.date", ('date: "2018"', 'date: "2018-13"'), "ISO 8601"),
    ("id", ('rule: fixed\n  date: "2018"', "rule: release"), "must not hold the date"),
    ("area.dguid", ("dguid: 2021A00053520005", "dguid: 2021A00053520006"), "id"),
    ("area.geometry.type", ("type: Polygon", "type: Point"), "Polygon"),
    ("area.geometry.coordinates[0][6]", ("[-79.55, 43.57]\n", "[-79.55, 43.58]\n"), "closed"),
    ("area.geometry.coordinates[0][1]", ("[-79.32, 43.61]", "[43.61, -179.32]"), "degrees"),
    ("area.geometry.coordinates[0][1]", ("[-79.32, 43.61]", "[.nan, 43.61]"), "degrees"),
    ("area.geometry.coordinates[0][1]", ("[-79.32, 43.61]", "[-79.32, 43.61, 0]"), "degrees"),
    ("area.geometry.crs", ("type: Polygon\n", "type: Polygon\n    crs: EPSG:4326\n"), "only"),
    ("key[0]", ("key: [area_id]", "key: [area]"), "declared column"),
    ("key[0]", (", nullable: false}", "}"), "nullable"),
    ("columns[4].name", ("name: area_name", "name: area_type"), "2 times"),
    ("transform.kind", ("kind: shapefile", "kind: statcan-csv"), "http-file"),
    ("transform.dguid", ("kind: shapefile", "kind: shapefile\n  dguid: 2021A0002"), "braces"),
    ("transform.dguid", ("kind: shapefile", "kind: shapefile\n  dguid: '2021A0002{PRUID'"), "template"),
    ("transform.dguid", ("kind: shapefile", "kind: vector\n  layer: wards\n  dguid: 2021A0002"), "braces"),
    ("transform.layer", ("kind: shapefile", "kind: shapefile\n  layer: wards"), "no such field"),
    ("licence.url.en", ("en: https://www.toronto.ca", "en: www.toronto.ca"), "address"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "change", "word"), RULES, ids=[f"{f}: {w}" for f, _, w in RULES])
def test_a_declaration_that_contradicts_itself_is_refused(refuse: Refuse, field: str, change: tuple[str, str], word: str):
    (problem,) = refuse(change)
    assert problem.field == field
    assert word in problem.what
    assert problem.line is not None


# -- shared areas -------------------------------------------------------------------------------------------------------


def test_a_named_area_is_loaded_as_if_it_were_written_out():
    named = datasets.load_file(datasets.PACKAGED / "foundation" / "toronto_wards_2018.yaml")
    assert named == datasets.load_file(WARDS)


def test_a_schema_of_the_declarations_as_they_are_written_takes_both_ways():
    for file in (WARDS, TABLE):
        jsonschema.validate(yaml.safe_load(file.read_text(encoding="utf-8")), datasets.json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(TABLE.read_text(encoding="utf-8")) | {"area": "no area"}, datasets.json_schema())


def test_an_area_that_nobody_shares_is_refused_with_its_line_and_what_was_meant(refuse: Refuse):
    (problem,) = refuse(("area: canada", "area: canda"), base=TABLE)
    assert (problem.field, problem.line) == ("area", line_of("area: canada", TABLE))
    assert "did you mean canada?" in problem.what
    (problem,) = refuse(("area: canada", "area: 2021A000011124"), base=TABLE)
    assert "known are alberta, " in problem.what


def test_a_named_area_that_is_not_the_one_in_the_id_is_refused_in_the_declaration(refuse: Refuse):
    (problem,) = refuse(("area: canada", "area: yukon"), base=TABLE)
    assert (problem.field, problem.line) == ("area.dguid", line_of("area: canada", TABLE))


@pytest.mark.parametrize(
    ("change", "field", "word"),
    [
        (("dguid: 2021A000260", "dguid: yukon"), "dguid", "not a DGUID"),
        (("[-124.5, 61.0]", "[61.0, -124.5]"), "geometry.coordinates[0][1]", "degrees"),
        (("name: {en: Yukon, fr: Yukon}", "name: {en: Yukon}"), "name.fr", "missing"),
        (("geometry:", "geometri:"), "geometri", "did you mean geometry?"),
        (("geometry:", "geometry: ["), "", "not YAML"),
    ],
)
def test_a_mistake_in_a_shared_area_is_told_once_with_its_own_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], field: str, word: str
):
    text = (shared_areas.FOLDER / "yukon.yaml").read_text(encoding="utf-8")
    assert change[0] in text
    area = tmp_path / "areas" / "yukon.yaml"
    area.parent.mkdir()
    area.write_text(text.replace(*change), encoding="utf-8")
    monkeypatch.setattr(shared_areas, "FOLDER", area.parent)
    base = (datasets.PACKAGED / "foundation" / "yukon_electoral_districts_2015.yaml").read_text(encoding="utf-8")
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        file.write_text(base, encoding="utf-8")
    _, problems = datasets.check_files(files)
    assert word in problems[0].what
    assert {(p.file, p.line is not None) for p in problems} == {(area, True)}
    assert field in {p.field for p in problems}
    assert len(set(problems)) == len(problems)


def test_every_shared_area_is_sound_and_used(tmp_path: Path):
    used = set()
    for file in datasets.declarations_in(datasets.PACKAGED):
        used.add(yaml.safe_load(file.read_text(encoding="utf-8"))["area"])
    assert used == set(shared_areas.names())
    assert [p for name in used for p in shared_areas.read(shared_areas.FOLDER / f"{name}.yaml").problems] == []


# -- what transforms ask ------------------------------------------------------------------------------------------------

ADDRESSES = datasets.PACKAGED / "foundation" / "national_address_register_2026-06.yaml"
DISTRICTS = datasets.PACKAGED / "foundation" / "calgary_community_districts.yaml"


@pytest.mark.parametrize(
    ("base", "change", "field", "word"),
    [
        (ADDRESSES, ("kind: csv", "kind: csv\n  encoding: latin-99"), "transform.encoding", "cp1252"),
        (ADDRESSES, ("kind: csv", "kind: csv\n  delimiter: tab"), "transform.delimiter", "not one of"),
        (ADDRESSES, ("type: double", 'type: "decimal128(9, 2)"'), "columns[14].type", "timestamp[us]"),
        (ADDRESSES, ("kind: csv", "kind: csv\n  points: {x: lon, y: lon, crs: EPSG:4326}"), "transform.points.y", "other"),
        (ADDRESSES, ("kind: csv", "kind: csv\n  points: {x: lon, y: lat, crs: WGS 84}"), "transform.points.crs", "match"),
        (ADDRESSES, ("kind: csv", "kind: csv\n  points: {x: lon, y: lat}"), "transform.points.crs", "missing"),
        (ADDRESSES, ("kind: csv", "kind: geojson"), "transform.members", "no such field"),
        (DISTRICTS, ("kind: geojson", "kind: geojson\n  dguid: 2021A0005"), "transform.dguid", "braces"),
    ],
)
def test_what_a_csv_or_a_geojson_cannot_be_read_with_is_refused(
    refuse: Refuse, base: Path, change: tuple[str, str], field: str, word: str
):
    (problem,) = refuse(change, base=base)
    assert (problem.field, word in problem.what) == (field, True)
    assert problem.line is not None


def test_a_ring_that_runs_clockwise_is_refused(tmp_path: Path):
    document = yaml.safe_load(WARDS.read_text(encoding="utf-8"))
    document["area"]["geometry"]["coordinates"][0].reverse()
    file = tmp_path / "clockwise.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(BadDeclaration, match="counterclockwise"):
        datasets.load_file(file)


def test_a_date_in_the_id_of_a_table_with_release_vintage_is_refused(refuse: Refuse):
    (problem,) = refuse(("statistical_33100036", "statistical_33100036_2025"), base=TABLE)
    assert problem.field == "id"
    assert "2025" in problem.what


SOURCE = "https://ckan0.cf.opendata.inter.prod-toronto.ca/"
UNSAFE = [
    ("https://user:pw-secret@data.example/", "password"),
    ("https://user@data.example/", "password"),
    *((f"https://data.example/?a=1&{key}=pw-secret&p=/", repr(key)) for key in
      ("token", "key", "sig", "Signature", "password", "secret", "access_token", "accessToken", "api_key", "apikey",
       "X-Amz-Signature", "X-Amz-Expires")),
    *((f"http://{host}/", "private network") for host in
      ("localhost", "localhost.", "127.0.0.1", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:10.0.0.1]", "10.1.2.3",
       "192.168.1.1", "169.254.169.254", "[fe80::1]", "0.0.0.0", "metadata.google.internal", "printer.local", "intranet")),
    ("https:///", "http(s) address"),
    ("https://data.example:port/", "can be read"),
    ("https://data.exa mple\\@10.0.0.1/", ""),
]  # fmt: skip


@pytest.mark.parametrize(("url", "word"), UNSAFE, ids=[u for u, _ in UNSAFE])
def test_an_address_that_is_private_or_holds_a_secret_is_refused_without_telling_it(refuse: Refuse, url: str, word: str):
    problems = refuse((SOURCE, url))
    assert {p.field for p in problems} == {"source.url"}
    assert {p.line for p in problems} == {line_of(SOURCE)}
    told = "; ".join(p.what for p in problems)
    assert word in told
    assert "pw-secret" not in told


@pytest.mark.parametrize(
    "url",
    ["https://data.example/?keyword=a&monkey=1", "http://8.8.8.8/", "https://donn\u00e9es.example/a@b.zip?format=shp"],
)
def test_an_ordinary_address_is_none_of_these(url: str):
    assert [p.what for p in address_problems(url, ("source", "url"))] == []


# -- folders ------------------------------------------------------------------------------------------------------------


def test_the_same_id_in_two_files_is_refused_naming_both(tmp_path: Path):
    for name in ("first.yaml", "second.yaml"):
        (tmp_path / name).write_bytes(WARDS.read_bytes())
    with pytest.raises(BadDeclaration, match=r"second\.yaml.*first\.yaml"):
        datasets.load(tmp_path)


@pytest.mark.parametrize("fixed_first", [True, False])
def test_a_fixed_vintage_where_another_dataset_puts_its_release_is_refused(tmp_path: Path, fixed_first: bool):
    fixed = WARDS.read_text(encoding="utf-8")
    release = fixed.replace("wards_2018\nversion", "wards\nversion").replace(
        'rule: fixed\n  date: "2018"', "rule: release\n  precision: year"
    )
    for name, text in zip(("first.yaml", "second.yaml"), (fixed, release) if fixed_first else (release, fixed), strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadDeclaration, match=r"second\.yaml.*foundation_wards.*first\.yaml") as caught:
        datasets.load(tmp_path)
    assert [p.field for p in caught.value.problems] == ["id"]


def test_two_fixed_editions_of_a_dataset_are_two_datasets(tmp_path: Path):
    text = WARDS.read_text(encoding="utf-8")
    (tmp_path / "2018.yaml").write_text(text, encoding="utf-8")
    later = text.replace("wards_2018\nversion", "wards_2022\nversion").replace('date: "2018"', 'date: "2022"')
    (tmp_path / "2022.yaml").write_text(later, encoding="utf-8")
    assert len(datasets.load(tmp_path)) == 2


def test_one_bad_declaration_does_not_hide_another(tmp_path: Path):
    for name in ("one.yaml", "two.yml"):
        (tmp_path / name).write_text("id: x\n")
    with pytest.raises(BadDeclaration) as caught:
        datasets.load(tmp_path)
    assert {p.file.name for p in caught.value.problems if p.file} == {"one.yaml", "two.yml"}


@pytest.mark.parametrize("folder", ["", "gone"])
def test_a_folder_without_declarations_is_an_error_not_an_empty_catalog(tmp_path: Path, folder: str):
    with pytest.raises(PermanentFailure, match="D4C_DATASETS"):
        datasets.load(tmp_path / folder)


def test_declarations_in_sub_folders_are_found(tmp_path: Path):
    (tmp_path / "foundation").mkdir()
    (tmp_path / "foundation" / "wards.yaml").write_bytes(WARDS.read_bytes())
    assert list(datasets.load(tmp_path)) == ["ca-on_toronto-2021A00053520005_d4c-datapkg-foundation_wards_2018"]
