"""StatCan full tables: what the artifact says, and how bad releases end."""

import csv
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Severity
from d4c_platform.transforms import build, checks
from d4c_platform_tests.transforms import releases as r

ROWS = [
    r.row("2021", "2.10", "3.5"),
    r.row("2021", "1.1", "10.5"),
    r.row("2016", "1.1", "", status="x"),
    r.row("2016/2017", "2.1", "7.0", dguid="10"),
]
FRENCH = [
    r.row("2021", "1.1", "10.5", french=True),
    r.row("2021", "2.10", "3.50", french=True),
    r.row("2016/2017", "2.1", "7", french=True, dguid="10"),
    r.row("2016", "1.1", "", french=True, status="x"),
]


def table(tmp_path, *files):
    built = build(r.table_dataset(), r.TABLE_VERSION, r.by_name(*files), tmp_path / "work")
    return built, pq.read_table(built.path).to_pylist()


def failure(tmp_path, *files, dataset=None):
    with pytest.raises(PermanentFailure) as caught:
        build(dataset or r.table_dataset(), r.TABLE_VERSION, r.by_name(*files), tmp_path / "work")
    message = str(caught.value)
    assert r.TABLE_VERSION in message
    assert caught.value.file
    assert caught.value.remedy
    assert "the previous latest stays" in message
    return message


def test_rows_are_typed_sorted_and_labelled_in_both_languages_from_the_metadata(tmp_path):
    built, rows = table(tmp_path, r.english_zip(tmp_path, ROWS), r.metadata_json(tmp_path, data_points=4))
    assert [(x["vector_id"], x["ref_date"]) for x in rows] == [(11, "2016"), (11, "2021"), (21, "2016/2017"), (210, "2021")]
    last = rows[-1]
    assert (last["geo_en"], last["geo_fr"]) == ("Quebec", "Québec")
    assert (last["type_of_dwelling_en"], last["type_of_dwelling_fr"]) == (
        "Single-detached house",
        "Maison individuelle non attenante",
    )
    assert (last["coordinate"], last["value"], last["scalar_factor_en"]) == ("2.10", 3.5, "units")
    assert built.counts["publisher_rows"] == built.rows == 4


def test_columns_stand_in_the_promised_order(tmp_path):
    built, _ = table(
        tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, FRENCH), r.metadata_json(tmp_path, data_points=4)
    )
    assert " ".join(c.name for c in built.columns) == (
        "ref_date ref_start_date ref_end_date ref_freq geo_en geo_fr dguid dguid_valid type_of_dwelling_en type_of_dwelling_fr "
        "uom_en uom_fr uom_id scalar_factor_en scalar_factor_fr scalar_id vector vector_id coordinate value status symbol "
        "terminated decimals"
    )


def test_suppressed_values_are_null_and_keep_their_status(tmp_path):
    built, rows = table(tmp_path, r.english_zip(tmp_path, ROWS))
    assert (rows[0]["value"], rows[0]["status"]) == (None, "x")
    assert built.counts["suppressed_values"] == 1


def test_an_invalid_dguid_is_kept_flagged_and_counted(tmp_path):
    built, rows = table(tmp_path, r.english_zip(tmp_path, ROWS))
    assert [(x["dguid"], x["dguid_valid"]) for x in rows][2:] == [("10", False), ("2021A000224", True)]
    assert built.counts["invalid_dguids"] == 1


def test_a_fiscal_year_has_no_bounds_and_is_counted(tmp_path):
    built, rows = table(tmp_path, r.english_zip(tmp_path, ROWS))
    assert (rows[2]["ref_date"], rows[2]["ref_start_date"], rows[2]["ref_end_date"], rows[2]["ref_freq"]) == (
        "2016/2017",
        None,
        None,
        None,
    )
    assert built.counts["unresolved_periods"] == 1
    assert built.period == ("2016-01-01", "2021-12-31")


def test_months_of_a_quarterly_table_end_with_their_quarter(tmp_path):
    rows = [r.row("2020-01"), r.row("2020-04")]
    _, told = table(tmp_path, r.english_zip(tmp_path, rows), r.metadata_json(tmp_path, data_points=2, frequency=9))
    assert [(x["ref_freq"], x["ref_end_date"].isoformat()) for x in told] == [("Q", "2020-03-31"), ("Q", "2020-06-30")]


def whole(tmp_path, *values):
    return table(tmp_path, r.english_zip(tmp_path, [r.row(f"{2021 - n}", value=v, decimals="0") for n, v in enumerate(values)]))


def test_whole_numbers_without_decimals_are_integers(tmp_path):
    built, rows = table(
        tmp_path, r.english_zip(tmp_path, [r.row(value="12", decimals="0"), r.row("2016", value="", decimals="0")])
    )
    assert {c.name: c.type for c in built.columns}["value"] == "int64"
    assert [x["value"] for x in rows] == [None, 12]


def test_one_decimal_makes_the_column_double(tmp_path):
    built, _ = table(
        tmp_path, r.english_zip(tmp_path, [r.row(value="12", decimals="0"), r.row("2016", value="1.5", decimals="0")])
    )
    assert {c.name: c.type for c in built.columns}["value"] == "double"


def test_a_declared_double_stays_double_when_a_release_has_whole_numbers_only(tmp_path):
    dataset = r.table_dataset(columns=[r.column("value", "double")])
    built = build(
        dataset, r.TABLE_VERSION, r.by_name(r.english_zip(tmp_path, [r.row(value="12", decimals="0")])), tmp_path / "w"
    )
    assert {c.name: c.type for c in built.columns}["value"] == "double"


def test_column_names_that_differ_in_case_or_dots_only_stay_apart(tmp_path):
    header = [*r.HEADER_EN[:3], "Value", "value", "U.S. Status", *r.HEADER_EN[4:]]
    row = r.row()
    built, rows = table(tmp_path, r.english_zip(tmp_path, [[*row[:3], "a", "b", "c", *row[4:]]], header))
    names = [c.name for c in built.columns]
    assert len({n.lower() for n in names}) == len(names)
    assert (rows[0]["value_en"], rows[0]["value_2_en"], rows[0]["u_s_status_en"], rows[0]["value"]) == ("a", "b", "c", 10.5)
    assert pq.read_schema(built.path).field("u_s_status_en").metadata[b"original_name"] == b"U.S. Status"


def test_french_labels_come_from_the_french_file_and_the_numbers_agree(tmp_path):
    _, rows = table(tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, FRENCH))
    assert (rows[-1]["geo_fr"], rows[-1]["uom_fr"], rows[-1]["scalar_factor_fr"], rows[-1]["value"]) == (
        "Québec",
        "Nombre",
        "unités",
        3.5,
    )


def test_one_value_that_differs_in_french_stops_the_build_and_is_shown(tmp_path):
    wrong = [*FRENCH[:1], r.row("2021", "2.10", "3.6", french=True), *FRENCH[2:]]
    said = failure(tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, wrong))
    assert "at v210, 2021 (line 2 of the English file) the value is 3.5 in English and 3,6 in French (line 3)" in said


def test_a_value_suppressed_in_one_language_only_stops_the_build(tmp_path):
    wrong = [*FRENCH[:1], r.row("2021", "2.10", "", french=True), *FRENCH[2:]]
    assert "3.5 in English and empty in French" in failure(
        tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, wrong)
    )


def test_a_row_that_is_missing_in_french_stops_the_build(tmp_path):
    wrong = [*FRENCH[:3], r.row("2011", "1.1", "", french=True)]
    assert "it has no row for v11, 2016 (line 4" in failure(
        tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, wrong)
    )


def test_a_french_file_with_other_columns_is_refused(tmp_path):
    header = [*r.HEADER_FR[:10], r.HEADER_FR[11], r.HEADER_FR[10], *r.HEADER_FR[12:]]
    said = failure(tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, FRENCH, header))
    assert "column 11 is STATUT where VALEUR is expected" in said


def rejected(built) -> list[dict[str, str]]:
    with built.beside["rejects.csv"].open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("extra", "fields"), [(["", "more"], 17), ([""], 16)])
def test_a_ragged_row_goes_to_the_rejects_with_its_line(tmp_path, extra, fields):
    rows = [r.row(f"{1900 + i}") for i in range(100)]
    rows[60] += extra
    built, kept = table(tmp_path, r.english_zip(tmp_path, rows))
    (one,) = rejected(built)
    assert (one["file"], one["place"]) == ("98100001-eng.zip/98100001.csv", "line 62")
    assert one["reason"] == f"it has {fields} fields where the header has 15"
    assert one["row"].startswith('"1960","Canada"')
    assert "1960" not in {row["ref_date"] for row in kept}
    assert (built.counts["source_rows"], built.counts["rejected_rows"], built.rows) == (100, 1, 99)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"value": "1 234"}, "VALUE is '1 234'"),
        ({"value": "1_000"}, "VALUE is '1_000'"),
        ({"value": "inf"}, "VALUE is 'inf'"),
        ({"vector": "12"}, "VECTOR is '12'"),
        ({"date": ""}, "REF_DATE is empty"),
        ({"decimals": "one"}, "DECIMALS is 'one'"),
    ],
)
def test_a_text_that_is_no_number_goes_to_the_rejects_with_its_line(tmp_path, change, told):
    ragged = [*r.row("1999"), "more"]
    built, kept = table(tmp_path, r.english_zip(tmp_path, [r.row("2016"), ragged, r.row(**change), r.row("2020")]))
    found = [(x["place"], x["reason"]) for x in rejected(built)]
    assert found == [("line 3", "it has 16 fields where the header has 15"), ("line 4", f"{told}, which cannot be read")]
    assert [row["ref_date"] for row in kept] == ["2016", "2020"]
    assert (built.counts["source_rows"], built.counts["rejected_rows"]) == (4, 2)


def test_rejected_rows_block_until_somebody_waives_them(tmp_path):
    built, _ = table(tmp_path, r.english_zip(tmp_path, [r.row("2016"), [*r.row("1999"), "more"]]))
    verdicts = {v.check: v for v in checks.check(r.table_dataset(key=()), built, built.path, None)}
    assert not verdicts["rejected_rows"].passed
    assert verdicts["rejected_rows"].severity is Severity.BLOCKING
    assert verdicts["no_row_lost"].passed
    lost = replace(built, counts={**built.counts, "rejected_rows": 0})
    assert not {v.check: v for v in checks.check(r.table_dataset(key=()), lost, built.path, None)}["no_row_lost"].passed


def test_a_row_that_is_broken_in_both_languages_is_rejected_and_the_rest_agrees(tmp_path):
    english = [*ROWS, [*r.row("1999"), "more"]]
    french = [*FRENCH, [*r.row("1999", french=True), "more"]]
    built, kept = table(tmp_path, r.english_zip(tmp_path, english), r.french_zip(tmp_path, french))
    assert (len(kept), built.counts["rejected_rows"], len(rejected(built))) == (4, 1, 2)


def test_a_row_that_is_broken_in_one_language_stops_the_build(tmp_path):
    french = [*FRENCH[:3], [*FRENCH[3], "more"]]
    assert "it has no row for v11, 2016" in failure(tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, french))


def test_text_that_is_not_utf8_is_refused(tmp_path):
    csv = r.csv_bytes(r.HEADER_EN, [r.row(), r.row("2016", uom="Nombre à")]).replace("à".encode(), b"\xe0")
    assert "Line: 3" in failure(tmp_path, r.table_zip(tmp_path / "98100001-eng.zip", csv))


def test_metadata_of_another_table_is_refused(tmp_path):
    other = r.metadata_json(tmp_path, data_points=4, dimension=[])
    assert "the CSV has the dimensions GEO, Type of dwelling" in failure(tmp_path, r.english_zip(tmp_path, ROWS), other)


def test_metadata_that_says_failed_is_refused(tmp_path):
    path = tmp_path / "98100001.json"
    path.write_text('[{"status": "FAILED", "object": "Product not found"}]')
    assert "Product not found" in failure(tmp_path, r.english_zip(tmp_path, ROWS), path)


def test_an_html_page_served_as_zip_is_called_that(tmp_path):
    path = tmp_path / "98100001-eng.zip"
    path.write_text("<!DOCTYPE html><title>503</title>")
    assert "HTML page" in failure(tmp_path, path)


def test_a_zip_with_a_flipped_byte_is_refused(tmp_path):
    path = r.english_zip(tmp_path, [r.row(f"{1000 + i}") for i in range(3000)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    assert "not a sound zip" in failure(tmp_path, path)


def test_a_zip_without_a_table_is_refused(tmp_path):
    path = tmp_path / "98100001-eng.zip"
    r.shapefile_zip(path, [r.square(0, 0)], {"A": [1]})
    assert "holds one data CSV, not 0" in failure(tmp_path, path)


def test_the_working_directory_keeps_nothing_but_the_table(tmp_path):
    built, _ = table(tmp_path, r.english_zip(tmp_path, ROWS), r.french_zip(tmp_path, FRENCH))
    assert list((tmp_path / "work").iterdir()) == [built.path]
    shutil.rmtree(tmp_path / "work")


def test_the_members_of_dimensions_lie_beside_the_table_with_their_hierarchy(tmp_path):
    def member(number: int, parent: int | None, en: str, fr: str, **more: object) -> dict[str, object]:
        return {"memberId": number, "parentMemberId": parent, "memberNameEn": en, "memberNameFr": fr, **more}

    cube = [
        {
            "dimensionPositionId": 1,
            "dimensionNameEn": "Geography",
            "dimensionNameFr": "Géographie",
            "member": [
                member(2, 1, "Quebec", "Québec", classificationCode="24", geoLevel=2, vintage=2021, terminated=0),
                member(1, None, "Canada", "Canada", classificationCode="11124", geoLevel=0, terminated=1),
            ],
        },
        {
            "dimensionPositionId": 2,
            "dimensionNameEn": "Type of dwelling",
            "dimensionNameFr": "Genre de logement",
            "member": [
                member(1, None, "Total", "Total"),
                member(10, 1, "Single-detached house", "Maison individuelle non attenante"),
                member(11, 12, "In a circle", "En cercle"),
                member(12, 11, "In a circle", "En cercle"),
                member(13, 99, "Without its parent", "Sans parent"),
            ],
        },
    ]
    built, _ = table(tmp_path, r.english_zip(tmp_path, ROWS), r.metadata_json(tmp_path, data_points=4, dimension=cube))
    rows = pq.read_table(built.beside["members.parquet"]).to_pylist()
    found = [(x["dimension"], x["member"], x["parent"], x["depth"], x["member_fr"]) for x in rows]
    assert found == [
        (1, 1, None, 0, "Canada"),
        (1, 2, 1, 1, "Québec"),
        (2, 1, None, 0, "Total"),
        (2, 10, 1, 1, "Maison individuelle non attenante"),
        (2, 11, 12, None, "En cercle"),
        (2, 12, 11, None, "En cercle"),
        (2, 13, None, None, "Sans parent"),
    ]
    assert [(x["code"], x["geo_level"], x["vintage"], x["terminated"]) for x in rows[:2]] == [
        ("11124", 0, None, True),
        ("24", 2, 2021, False),
    ]
