"""The whole sandbox as processes: it comes up, survives what it should survive, and leaves nothing running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config

from d4c_platform.cli.sandbox import app
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sandbox import up
from d4c_platform.sandbox.place import ACCESS_KEY, BUCKET, EVERY_SERVICE, PORTALS, SECRET_KEY, SERVICES, read_state
from d4c_platform.sandbox.up import Sandbox, running
from d4c_platform.settings import Settings
from d4c_platform.sources.arcgis_layer import LayerClient
from d4c_platform.sources.archive import archive
from d4c_platform.sources.ckan_api import Portal as CkanPortal
from d4c_platform.sources.detection import detect
from d4c_platform.sources.registry import open_source
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal as Archive
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import dataset_of
from d4c_platform_tests.sources.room import NOON

RECORDED = Path(__file__).parents[2] / ".." / "shared" / "data"
TABLE = "ca_statcan-2021A000011124_d4c-datapkg-statistical_98100001"
BOUNDARIES = "ca_statcan-2021A000011124_d4c-datapkg-statistical_provinces_and_territories_generalised_2021"
HOSTS = ("open.canada.ca", "opendata.vancouver.ca", "services1.arcgis.com")
CHANGED = "https://www150.statcan.gc.ca/t1/wds/rest/getChangedCubeList"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with Sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox, monkeypatch):
    for name, value in sandbox.env().items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.fixture
def web(settings):
    web = Web(origins=settings.origins, per_host_per_s=1000, attempts=1)
    yield web
    web.close()


def s3(sandbox):
    return boto3.session.Session().client(
        "s3", endpoint_url=sandbox.urls["mirror"], region_name="us-east-1", aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY, config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip


def answers(url):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) == 0


def gone(pids, within_s=30):
    deadline = time.monotonic() + within_s
    while any(psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE for p in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_every_service_listens_on_this_machine_only(sandbox):
    assert set(sandbox.urls) == set(SERVICES)
    ports = set(sandbox.place.ports.values())
    listening = {c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port in ports}
    assert {a.port for a in listening} == ports
    assert {a.ip for a in listening} == {"127.0.0.1"}


def test_its_settings_are_settings(sandbox, settings):
    assert settings.portal_dir == sandbox.folder / "portal"
    assert settings.zenodo_publish
    assert settings.trackers == (f"{sandbox.urls['tracker']}/announce",)
    assert settings.source_coop_url == f"{sandbox.urls['mirror']}/{BUCKET}"
    assert settings.datasets is not None
    assert any(settings.datasets.glob("*.yaml"))


def test_clients_reach_the_sources_under_their_real_urls(sandbox, web):
    listed = web.request("GET", f"{CHANGED}/2017-02-08", where="test").json()["object"]
    assert [c["productId"] for c in listed] == [98100001]
    assert web.request("GET", "https://www150.statcan.gc.ca/n1/tbl/csv/98100001-fra.zip", where="test").content[:2] == b"PK"
    declared = sandbox.place.declared[BOUNDARIES].source.url
    assert web.request("GET", declared, where="test", headers={"Range": "bytes=0-1"}).content == b"PK"


def test_it_knows_what_it_has_releases_of(sandbox):
    assert sandbox.recorded(TABLE)
    assert sandbox.recorded(BOUNDARIES)
    assert not sandbox.recorded("ca_nobody_nothing")


def test_the_portals_directory_is_on_the_web_and_its_faults_can_be_switched(sandbox):
    file = sandbox.folder / "portal" / "versions" / "v" / "a.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    url = f"{sandbox.urls['portal']}/versions/v/a.parquet"
    assert httpx.get(url).content == b"abc"
    httpx.post(f"{sandbox.urls['portal']}/_sandbox/faults", json={"kind": "status", "path": "/versions"})
    assert [httpx.get(url).status_code for _ in range(2)] == [503, 200]


def test_what_is_on_the_mirror_is_public(sandbox):
    s3(sandbox).put_object(Bucket=BUCKET, Key="a/b.txt", Body=b"abc")
    assert httpx.get(f"{sandbox.env()['D4C_SOURCE_COOP_URL']}/a/b.txt").content == b"abc"


def test_a_killed_service_leaves_the_others_alone_and_returns_at_its_url(sandbox):
    url = sandbox.urls["portal"]
    sandbox.kill("portal")
    assert not answers(url)
    assert all(answers(u) for name, u in sandbox.urls.items() if name != "portal")
    sandbox.start_service("portal")
    assert httpx.get(f"{url}/nothing").status_code == 404
    sandbox.start_service("portal")  # already there: nothing to do
    assert sandbox.is_running("portal")


def test_a_killed_mirror_is_gone_with_its_server_and_comes_back_with_its_objects(sandbox):
    s3(sandbox).put_object(Bucket=BUCKET, Key="kept", Body=b"kept")
    weed = int((sandbox.folder / "mirror" / "weed.pid").read_text())
    sandbox.kill("mirror")
    assert gone([weed])
    assert not answers(sandbox.urls["mirror"])
    sandbox.start_service("mirror")
    assert s3(sandbox).get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"kept"


def test_a_second_sandbox_in_the_folder_is_refused_and_can_find_the_first(sandbox):
    with pytest.raises(PermanentFailure, match=f"already runs in this folder .process {os.getpid()}"):
        Sandbox(sandbox.folder).start()
    found = running(sandbox.folder)
    assert found is not None
    assert (found.urls, found.env()) == (sandbox.urls, sandbox.env())
    assert all(answers(u) for u in sandbox.urls.values())


def test_advancing_lets_the_second_release_out_and_then_there_is_none(sandbox, web):
    assert web.request("GET", f"{CHANGED}/2022-02-09", where="test").json()["object"] == []
    released = sandbox.advance()
    assert released is not None
    assert released.isoformat() == "2022-02-09T08:30:00-05:00"
    assert len(web.request("GET", f"{CHANGED}/2022-02-09", where="test").json()["object"]) == 1
    assert sandbox.advance() is None


def test_a_stopped_sandbox_leaves_nothing_running_and_returns_at_the_same_urls(tmp_path):
    with Sandbox(tmp_path, services=("statcan", "tracker")) as first:
        urls, pids = first.urls, [p.pid for p in first._running.values()]
        first.advance()
    assert gone(pids)
    assert running(tmp_path) is None
    with Sandbox(tmp_path, services=("statcan", "tracker")) as second:
        assert second.urls == urls
        assert second.advance() is None  # the clock stands where it stood


PARENT = """
import sys, time
from pathlib import Path
from d4c_platform.sandbox.up import Sandbox
sandbox = Sandbox(Path(sys.argv[1]), services=("statcan", "mirror"))
sandbox.start()
print(*[p.pid for p in sandbox._running.values()], flush=True)
time.sleep(600)
"""


def test_services_die_with_a_parent_that_is_killed_and_the_folder_starts_again(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        pids = [int(p) for p in parent.stdout.readline().split()]
        assert len(pids) == 2
        pids += [child.pid for p in pids for child in psutil.Process(p).children(recursive=True)]
        assert len(pids) == 3  # the S3 server, too
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert gone(pids)
    with Sandbox(tmp_path, services=("statcan",)) as again:
        assert answers(again.urls["statcan"])


def test_a_service_that_cannot_start_shows_the_end_of_its_log_and_stops_the_rest(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "data").write_text("not a folder")
    sandbox = Sandbox(tmp_path, services=("statcan", "mirror"))
    with pytest.raises(PermanentFailure, match="mirror ended with 1") as failure:
        sandbox.start()
    assert "FileExistsError" in str(failure.value)
    assert str(tmp_path / "logs" / "mirror.log") in str(failure.value)
    assert running(tmp_path) is None
    assert not answers(sandbox.urls["statcan"])


def test_a_port_that_somebody_else_took_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(up, "PORT_S", 0.1)
    with Sandbox(tmp_path, services=()):
        pass
    port = read_state(tmp_path).ports["tracker"]
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PermanentFailure, match=f"uses its port {port}"):
        Sandbox(tmp_path, services=("tracker",)).start()


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")
def test_recorded_releases_are_shown_in_place_under_the_real_declarations(tmp_path):
    with Sandbox(tmp_path, RECORDED, services=("statcan", "files")) as sandbox:
        assert not (tmp_path / "releases").exists()
        declared = sandbox.place.declared
        here = [d for d in declared if sandbox.recorded(d)]
        assert len(here) == 4
        web = Web(origins=json.loads(sandbox.env()["D4C_ORIGINS"]), attempts=1)
        toronto = next(declared[d].source.url for d in here if "toronto" in d)
        assert (
            web.request("GET", toronto, where="test").content == (RECORDED / "shapefiles/toronto_wards_2018.zip").read_bytes()
        )
        listed = web.request("GET", f"{CHANGED}/2025-06-11", where="test").json()["object"]
        assert [c["productId"] for c in listed] == [33100036]
        web.close()


PORTAL_KINDS = {"ckan": 13, "opendatasoft": 16, "arcgis": 25}
"""The kinds of portal, and how many features the layer has that the sandbox ships for each."""
UNKNOWN_ANSWERS = {
    "ckan": "the portal has no such package",
    "opendatasoft": "the portal has no such dataset",
    "arcgis": "Service not found",
}


def web_through(sandbox):
    return Web(origins=json.loads(sandbox.env()["D4C_ORIGINS"]), per_host_per_s=1000, attempts=1)


@pytest.fixture(scope="module")
def portals(tmp_path_factory):
    """The portals' servers, with what the sandbox ships."""
    with Sandbox(tmp_path_factory.mktemp("portals"), services=PORTALS) as sandbox:
        web = web_through(sandbox)
        yield sandbox, web
        web.close()


@pytest.fixture(scope="module")
def real_portals(tmp_path_factory):
    """The portals' servers under the real declarations, with the recordings where this machine has them."""
    releases = RECORDED if RECORDED.is_dir() else tmp_path_factory.mktemp("nothing")
    with Sandbox(tmp_path_factory.mktemp("portals"), releases, services=PORTALS) as sandbox:
        web = web_through(sandbox)
        yield sandbox, web
        web.close()


@pytest.mark.parametrize("kind", PORTAL_KINDS)
def test_a_release_of_every_kind_of_portal_is_noticed_and_archived_through_the_sandbox(portals, tmp_path, kind):
    sandbox, web = portals
    (dataset,) = (d for d in sandbox.place.declared.values() if d.source.kind == kind)
    assert sandbox.recorded(dataset.id)
    archived, source = Archive(LocalStore(tmp_path / "portal", "http://127.0.0.1:1")), open_source(dataset, web)
    (candidate,) = detect(dataset, source, archived.records, NOON)
    assert candidate.vintage == "2025-06-11"
    release = archive(candidate, dataset, source, web, archived, tmp_path / "work")
    (layer,) = (json.loads(archived.store.read(f.key)) for f in release.files if f.name.endswith(".geojson"))
    assert len(layer["features"]) == PORTAL_KINDS[kind]
    assert {c.name for c in dataset.columns} == {"geometry", *map(str.lower, layer["features"][0]["properties"])} - {"objectid"}
    assert all(f.url.startswith("https://") for f in release.files)
    assert detect(dataset, source, archived.records, NOON) == []


def test_the_portals_listen_on_this_machine_only(portals):
    sandbox, _ = portals
    ports = {sandbox.place.ports[name] for name in PORTALS}
    listening = {c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port in ports}
    assert {(a.ip, a.port) for a in listening} == {("127.0.0.1", port) for port in ports}


@pytest.mark.parametrize("path", ["../../ckan/open.canada.ca/packages.jsonl", "/etc/hostname", "open.canada.ca/nothing"])
def test_a_portals_server_gives_no_file_that_is_not_a_publishers(portals, path):
    sandbox, _ = portals
    address = path.replace("..", "%2e%2e")
    assert all(httpx.get(f"{sandbox.urls[name]}/{address}").status_code == 404 for name in ("ckan", "opendatasoft"))
    assert "hostname" not in httpx.get(f"{sandbox.urls['arcgis']}/{address}").text


def test_no_declared_dataset_is_asked_for_on_the_internet(real_portals):
    sandbox, web = real_portals
    declared = [a for d in sandbox.place.declared.values() for a in (d.source.address, *d.source.addresses.values())]
    assert len(declared) > 100
    assert [address for address in declared if not web.route(address).startswith("http://127.0.0.1:")] == []


@pytest.mark.parametrize("kind", PORTAL_KINDS)
def test_what_nothing_is_recorded_of_is_not_found_as_a_real_portal_says_it(real_portals, kind):
    sandbox, web = real_portals
    declared = [d for d in sandbox.place.declared.values() if d.source.kind == kind]
    assert declared
    for dataset in declared:
        assert not sandbox.recorded(dataset.id)
        with pytest.raises(PermanentFailure, match=UNKNOWN_ANSWERS[kind]):
            open_source(dataset, web).detect(dataset, None, [], NOON)


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")
def test_a_recorded_package_is_shown_and_its_files_that_nobody_recorded_are_not_found(real_portals):
    _, web = real_portals
    package = {"package": "34eb4c6f-7927-42ee-8ca5-43446fc3cce2", "resources": ["0b7d08d3-a6b2-4800-bd15-4b1cac4e4233"]}
    source = {"kind": "ckan", "portal": "https://open.canada.ca/data/en", **package}
    dataset = dataset_of(source, vintage={"rule": "release"}, name="women", transform={"kind": "csv"})
    shown, _ = CkanPortal(web, source["portal"]).package(package["package"])
    assert shown["title_translated"]["en"] == "Study: Women in Canada: Women with Disabilities"
    with pytest.raises(PermanentFailure, match=r"dq170529aeng\.pdf.*404|404.*dq170529aeng\.pdf"):
        open_source(dataset, web).detect(dataset, None, [], NOON)


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")
def test_a_recorded_layer_answers_where_layers_lie(real_portals):
    _, web = real_portals
    layer = "https://services.arcgis.com/recorded/arcgis/rest/services/us-ca-carson/MapServer/1"
    assert LayerClient(web, layer, "1=1").count() == 30_551


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded releases at {RECORDED}")
def test_a_portals_host_gives_its_plain_files_too(real_portals):
    sandbox, web = real_portals
    toronto = next(d.source.url for d in sandbox.place.declared.values() if "wards_2018" in d.id)
    assert web.route(toronto).startswith(sandbox.urls["ckan"])
    assert web.request("GET", toronto, where="test").content == (RECORDED / "shapefiles/toronto_wards_2018.zip").read_bytes()


UP = "import sys; from d4c_platform.cli.sandbox import app; app(['up', '--folder', sys.argv[1]])"


def test_the_command_line_brings_it_up_advances_it_and_takes_it_down(tmp_path, capsys):
    def d4c_sandbox(*arguments):
        code = app([*arguments, "--folder", str(tmp_path)], result_action="return_value")
        return code, capsys.readouterr().out

    assert d4c_sandbox("status")[0] == 1
    foreground = subprocess.Popen([sys.executable, "-c", UP, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        shown = ""
        while "Ctrl-C ends it" not in shown:
            line = foreground.stdout.readline()
            assert line, shown
            shown += line
        assert f"export D4C_PORTAL_DIR={tmp_path}/portal\n" in shown
        code, status = d4c_sandbox("status", "--json")
        assert code == 0
        services = json.loads(status)["services"]
        assert set(services) == set(EVERY_SERVICE)
        assert all(s["up"] for s in services.values())
        assert {f"https://{host}" for host in HOSTS} <= set(json.loads(json.loads(status)["env"]["D4C_ORIGINS"]))
        assert "2022-02-09 08:30 Eastern is out" in d4c_sandbox("up", "--advance")[1]
        assert "has ended" in d4c_sandbox("down")[1]
        assert foreground.wait(30) == 0
    finally:
        foreground.kill()
        foreground.wait()
        foreground.stdout.close()
    assert "No sandbox runs" in d4c_sandbox("down")[1]
