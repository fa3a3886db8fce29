import json

import pytest

from d4c_platform.catalog.publish import publish
from d4c_platform.cli.catalog import app
from d4c_platform_tests.catalog.published import TABLE, filled, table_version


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    archive = filled(tmp_path_factory.mktemp("portal"))
    publish(archive.records, archive.store)
    return str(archive.store.root)


def run(capsys, *words):
    app(words, result_action="return_value")
    return capsys.readouterr().out


def test_list_says_what_there_is(capsys, portal):
    found = json.loads(run(capsys, "list", "--catalog", portal, "--json"))
    assert len(found) == 5
    latest = json.loads(run(capsys, "list", TABLE.id, "--latest", "--catalog", portal, "--json"))
    assert [row["id"] for row in latest] == [table_version("2025-07-11")]
    assert latest[0]["title_fr"] == "Taux de change quotidiens moyens (é)"


def test_list_prints_whole_ids(capsys, portal):
    said = run(capsys, "list", "--catalog", portal)
    assert f"{table_version('2025-07-11')}  (latest)\n" in said
    assert "90,086 rows, 76 bytes, DOI 10.5281/zenodo.283548" in said


def test_show_of_a_dataset_is_its_latest_version(capsys, portal):
    assert json.loads(run(capsys, "show", TABLE.id, "--catalog", portal, "--json"))["id"] == table_version("2025-07-11")


def test_show_prints_whole_urls_and_the_way_to_check_them(capsys, portal):
    version = table_version("2025-06-11")
    said = run(capsys, "show", version, "--catalog", portal)
    assert f"https://data.source.coop/versions/{version}/{version}.parquet" in said
    assert "sha256 " in said
    assert "exchange rates [CAD]" in said
    assert "magnet:?xt=urn:btih:" in said


def test_sql_answers_with_json_and_with_a_table(capsys, portal):
    query = 'SELECT id, "datetime" FROM catalog WHERE "d4c:latest" ORDER BY id'
    found = json.loads(run(capsys, "sql", query, "--catalog", portal, "--json"))
    assert found[1] == {"id": table_version("2025-07-11"), "datetime": "2025-06-10T23:59:59Z"}
    assert "datetime" in run(capsys, "sql", query, "--catalog", portal)


def test_the_catalog_may_be_named_by_the_environment(capsys, portal, monkeypatch):
    monkeypatch.setenv("D4C_CATALOG", portal)
    assert len(json.loads(run(capsys, "list", "--json"))) == 5
