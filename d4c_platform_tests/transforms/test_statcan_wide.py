"""Census tables: every value of the page becomes a row, under the coordinate that names it."""

import csv

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import build
from d4c_platform_tests.transforms import releases as r

PAGE = ["REF_DATE", "DGUID", "GEO", "Type of dwelling (2)", "Coordinate"]
PAGE_FR = ["PÉRIODE DE RÉFÉRENCE", "DGUID", "GÉO", "Genre de logement (2)", "Coordonnée"]
GENDERS = {"1": ("Total - Gender", "Total - Genre"), "2": ("Men+", "Hommes+"), "3": ("Women+", "Femmes+")}
VERSION = r.TABLE_VERSION


def header(language: int = 0) -> list[str]:
    name, symbol = ("Gender (3)", "Symbols") if not language else ("Genre (3)", "Symboles")
    return (PAGE, PAGE_FR)[language] + [
        column for number, labels in GENDERS.items() for column in (f"{name}:{labels[language]}[{number}]", symbol)
    ]


def line(coordinate: str, *values: tuple[str, str], language: int = 0) -> list[str]:
    geo, dwelling = coordinate.split(".")
    said = ["2021", r.DGUIDS[geo], r.LABELS["GEO", geo][language], r.LABELS["DIM", dwelling][language], coordinate]
    return said + [cell for value in values for cell in value]


LINES = [
    line("2.1", ("7", ""), ("4", ""), ("3", "")),
    line("1.1", ("12.5", ""), ("", "x"), ("6", "E")),
]


def described(tmp_path, points: int):
    cube = [
        {
            "dimensionPositionId": position,
            "dimensionNameEn": en,
            "dimensionNameFr": fr,
            "member": [{"memberId": int(i), "memberNameEn": a, "memberNameFr": b} for i, (a, b) in members.items()],
        }
        for position, (en, fr, members) in enumerate(
            [
                ("Geography", "Géographie", {"1": ("Canada", "Canada"), "2": ("Quebec", "Québec")}),
                ("Type of dwelling", "Genre de logement", {"1": ("Total", "Total")}),
                ("Gender", "Genre", GENDERS),
            ],
            start=1,
        )
    ]
    return r.metadata_json(tmp_path, data_points=points, dimension=cube)


def table(tmp_path, *files):
    built = build(r.table_dataset(key=("coordinate", "ref_date")), VERSION, r.by_name(*files), tmp_path / "work")
    return built, pq.read_table(built.path).to_pylist()


def test_every_value_of_the_page_is_a_row_with_its_member_and_symbol(tmp_path):
    built, rows = table(tmp_path, r.english_zip(tmp_path, LINES, header()), described(tmp_path, 6))
    found = [(x["coordinate"], x["geo_fr"], x["gender_en"], x["gender_fr"], x["value"], x["symbol"]) for x in rows]
    assert found == [
        ("1.1.1", "Canada", "Total - Gender", "Total - Genre", 12.5, None),
        ("1.1.2", "Canada", "Men+", "Hommes+", None, "x"),
        ("1.1.3", "Canada", "Women+", "Femmes+", 6.0, "E"),
        ("2.1.1", "Québec", "Total - Gender", "Total - Genre", 7.0, None),
        ("2.1.2", "Québec", "Men+", "Hommes+", 4.0, None),
        ("2.1.3", "Québec", "Women+", "Femmes+", 3.0, None),
    ]
    assert built.counts["source_rows"] == built.counts["publisher_rows"] == built.rows == 6
    assert "vector" not in {c.name for c in built.columns}
    assert built.counts["labels_unlike_metadata"] == 0


def test_the_french_page_gives_the_french_labels_and_has_to_agree(tmp_path):
    french = [
        line("1.1", ("12,5", ""), ("", "x"), ("6", "E"), language=1),
        line("2.1", ("7", ""), ("4", ""), ("3", ""), language=1),
    ]
    _, rows = table(tmp_path, r.english_zip(tmp_path, LINES, header()), r.french_zip(tmp_path, french, header(1)))
    assert rows[1]["gender_fr"] == "Hommes+"
    french[1][7] = "5"
    with pytest.raises(PermanentFailure, match=r"2\.1\.2.*the value is 4 in English and 5 in French"):
        table(tmp_path, r.english_zip(tmp_path, LINES, header()), r.french_zip(tmp_path, french, header(1)))


def test_what_cannot_be_kept_is_counted_in_rows_and_named_by_the_line_of_its_page(tmp_path):
    bad = [*LINES, [*line("2.1", ("7", ""), ("4", ""), ("3", "")), "more"], line("2.1", ("7", ""), ("4", ""), ("three", ""))]
    built, _ = table(tmp_path, r.english_zip(tmp_path, bad, header()))
    with built.beside["rejects.csv"].open(encoding="utf-8") as file:
        found = [(x["place"], x["reason"]) for x in csv.DictReader(file)]
    assert found == [
        ("line 4", "it has 12 fields where the header has 11"),
        ("line 5", "VALUE is 'three', which cannot be read"),
    ]
    assert (built.counts["source_rows"], built.counts["rejected_rows"], built.rows) == (12, 4, 8)


def test_two_dimensions_side_by_side_are_not_guessed(tmp_path):
    mixed = [*header()[:-2], "Age (1):Total[1]", "Symbols"]
    with pytest.raises(PermanentFailure, match=r"the members of 2 dimensions side by side \(Gender, Age\)"):
        table(tmp_path, r.english_zip(tmp_path, LINES, mixed))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.lists(st.integers(0, 999), min_size=3, max_size=3), min_size=1, max_size=30))
def test_no_value_is_lost_or_moved(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("wide")
    said = ["2021", r.DGUIDS["1"], "Canada"]
    lines = [[*said, f"T{i}", f"1.{i}", *(c for v in row for c in (str(v), ""))] for i, row in enumerate(values)]
    _, rows = table(folder, r.english_zip(folder, lines, header()))
    expected = {f"1.{i}.{j + 1}": v for i, row in enumerate(values) for j, v in enumerate(row)}
    assert {x["coordinate"]: x["value"] for x in rows} == expected
