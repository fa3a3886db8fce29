import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from d4c_platform.catalog.publish import publish
from d4c_platform.catalog.reading import Catalog, open_catalog, rows
from d4c_platform.model.errors import PermanentFailure
from d4c_platform_tests.catalog.published import PROVINCES, TABLE, filled, provinces_version, table_version

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    archive = filled(tmp_path_factory.mktemp("portal"))
    publish(archive.records, archive.store)
    return archive.store.root


@pytest.fixture
def url(portal):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=portal))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_file_its_folder_and_the_portals_folder_are_the_same_catalog(portal):
    tables = [open_catalog(portal / "catalog" / "catalog.parquet"), open_catalog(str(portal / "catalog")), open_catalog(portal)]
    assert tables[0] == tables[1] == tables[2]


def test_a_catalog_opens_from_a_url_with_its_mirrors(url):
    catalog = Catalog.open(f"{url}/catalog/")
    assert len(catalog) == 5
    assert catalog.mirrors.num_rows == 9
    assert open_catalog(f"{url}/catalog/catalog.parquet") == catalog.table


def test_versions_come_from_the_oldest_to_the_newest(portal):
    catalog = Catalog.open(portal)
    assert catalog.versions(PROVINCES.id) == [provinces_version(), provinces_version("1.10.0")]
    assert catalog.versions("nobody") == []
    assert catalog.datasets() == [PROVINCES.id, TABLE.id]


def test_the_latest_is_the_newest_vintage(portal):
    assert Catalog.open(portal).latest(TABLE.id)["id"] == table_version("2025-07-11")


def test_an_item_has_no_nulls(portal):
    item = Catalog.open(portal).get(table_version("2025-07-11"))
    assert "sci:doi" not in item["properties"]
    assert set(item["assets"]) == {"data", "metadata"}
    assert item in list(rows(portal))


def test_an_unknown_version_is_an_error_with_its_name(portal):
    with pytest.raises(PermanentFailure, match="nobody: this version is not in the catalog"):
        Catalog.open(portal).get("nobody")


def test_a_missing_catalog_and_a_file_that_is_none_are_errors_with_the_place(tmp_path, url):
    with pytest.raises(PermanentFailure, match="there is no catalog here"):
        open_catalog(tmp_path)
    with pytest.raises(PermanentFailure, match="answered 404"):
        open_catalog(f"{url}/nowhere")
    page = tmp_path / "catalog.parquet"
    page.write_text("<html>Sign in</html>")
    with pytest.raises(PermanentFailure, match="not a readable Parquet file"):
        open_catalog(page)


def test_sql_sees_catalog_and_mirrors_but_not_the_machine(portal, tmp_path):
    catalog = Catalog.open(portal)
    found = catalog.sql('SELECT count(*) AS n, sum("d4c:latest"::INT) AS latest FROM catalog')
    assert found.to_pylist() == [{"n": 5, "latest": 2}]
    assert catalog.sql("SELECT count(*) AS n FROM mirrors").to_pylist() == [{"n": 9}]
    with pytest.raises(PermanentFailure, match="the query failed"):
        catalog.sql(f"COPY catalog TO '{tmp_path}/stolen.parquet'")
    assert not (tmp_path / "stolen.parquet").exists()


def test_reading_needs_base_dependencies_only(portal):
    script = f"""
import sys
ABSENT = "dagster geopandas shapely duckdb pystac numpy pandas boto3 libtorrent".split()
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from d4c_platform.catalog.reading import Catalog
from d4c_platform.model.errors import PermanentFailure
catalog = Catalog.open({str(portal)!r})
print(len(list(catalog)), catalog.latest({TABLE.id!r})["id"])
try:
    catalog.sql("SELECT 1")
except PermanentFailure as failure:
    print(failure)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        f"5 {table_version('2025-07-11')}",
        "catalog: SQL needs DuckDB, which is not installed. Install duckdb, or use `list` and `show`.",
    ], done.stderr
