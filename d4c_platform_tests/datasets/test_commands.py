"""`d4c name` and `d4c dataset`, as a person or a script calls them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cyclopts import App

from d4c_platform import datasets
from d4c_platform.cli.dataset import app as dataset_app
from d4c_platform.cli.name import app as name_app
from d4c_platform.model.errors import PermanentFailure

GOOD = "ca_statcan_2021A000011124_d4c-datapkg-statistical_census_divisions_digital_2021_v0.1.0-beta"
BAD = "ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036_2025-06-11_v1.0"
TABLE = "ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036"


def run(app: App, *words: str) -> Any:
    return app(words, result_action="return_value")


def test_parse_prints_the_parts_as_json(capsys: pytest.CaptureFixture[str]):
    assert run(name_app, "parse", GOOD, "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer == {
        "input": GOOD,
        "ok": True,
        "canonical": GOOD.replace("statcan_", "statcan-"),
        "region": "ca",
        "source": "statcan",
        "dguid": "2021A000011124",
        "package": "d4c-datapkg-statistical",
        "name": ["census", "divisions", "digital"],
        "date": "2021",
        "variant": [],
        "version": "0.1.0-beta",
        "ext": None,
    }


def test_one_bad_name_among_good_ones_exits_1_and_all_are_answered_in_order(capsys: pytest.CaptureFixture[str]):
    assert run(name_app, "parse", GOOD, BAD, GOOD, "--json") == 1
    answers = json.loads(capsys.readouterr().out)
    assert [a["ok"] for a in answers] == [True, False, True]
    error = answers[1]["error"]
    assert (error["segment"], error["suggestion"]) == ("version", "v1.0.0")
    assert BAD[error["start"] : error["end"]] == "v1.0"


def test_a_person_sees_carets_under_the_bad_segment(capsys: pytest.CaptureFixture[str]):
    assert run(name_app, "parse", BAD) == 1
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == BAD)
    assert lines[at + 1].rstrip() == " " * lines[at].index("v1.0") + "^^^^"


def test_a_person_sees_the_canonical_spelling(capsys: pytest.CaptureFixture[str]):
    assert run(name_app, "parse", GOOD) == 0
    assert "canonical" in capsys.readouterr().out


def test_names_are_read_from_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{GOOD}\n{BAD}\n"))
    assert run(name_app, "parse", "-", "--json") == 1
    assert [a["input"] for a in json.loads(capsys.readouterr().out)] == [GOOD, BAD]


def test_list_names_every_dataset(capsys: pytest.CaptureFixture[str]):
    assert run(dataset_app, "list") == 0
    out = capsys.readouterr().out
    assert all(dataset_id in out for dataset_id in datasets.load())


def test_list_as_json_is_made_of_documents_that_the_schema_accepts(capsys: pytest.CaptureFixture[str]):
    assert run(dataset_app, "list", "--json") == 0
    for document in json.loads(capsys.readouterr().out):
        jsonschema.validate(document, datasets.json_schema())


def test_show_tells_both_titles(capsys: pytest.CaptureFixture[str]):
    assert run(dataset_app, "show", TABLE) == 0
    out = capsys.readouterr().out
    assert "Daily average foreign exchange rates" in out
    assert "Taux de change moyens quotidiens" in out


def test_show_as_json_is_the_declaration(capsys: pytest.CaptureFixture[str]):
    assert run(dataset_app, "show", TABLE, "--json") == 0
    declared = yaml.safe_load((datasets.PACKAGED / "statistical" / "33100036.yaml").read_text(encoding="utf-8"))
    shown = json.loads(capsys.readouterr().out)
    assert {key: shown[key] for key in ("id", "title", "key")} == {key: declared[key] for key in ("id", "title", "key")}
    assert shown["area"]["name"] == {"en": "Canada", "fr": "Canada"}  # the file names it, what is shown is written out


def test_an_unknown_dataset_is_answered_with_what_was_perhaps_meant():
    with pytest.raises(PermanentFailure, match=TABLE):
        run(dataset_app, "show", "33100036")


def test_validate_finds_nothing_wrong_with_what_ships(capsys: pytest.CaptureFixture[str]):
    assert run(dataset_app, "validate", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert set(answer["datasets"].values()) == set(datasets.load())


def test_validate_tells_file_line_and_field_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = (datasets.PACKAGED / "statistical" / "33100036.yaml").read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("version: 1.0.0", "version: one"), encoding="utf-8")
    assert run(dataset_app, "validate", str(file)) == 1
    assert f"{file}:3: version:" in capsys.readouterr().out
    assert run(dataset_app, "validate", str(file), "--json") == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["file"], problem["line"], problem["field"]) == (str(file), 3, "version")


def test_schema_prints_the_published_schema(capsys: pytest.CaptureFixture[str]):
    assert run(dataset_app, "schema") == 0
    assert json.loads(capsys.readouterr().out) == datasets.json_schema()
