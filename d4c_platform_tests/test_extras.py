"""What each extra promises, in an environment that has nothing else: built as a wheel, installed with the lock's pins.

The suite's own environment has everything, so an import in the wrong place shows only here.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from d4c_platform.catalog.publish import publish
from d4c_platform.transforms import method
from d4c_platform_tests.catalog.published import filled, table_version
from d4c_platform_tests.interop import REQUIRED
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.torrents.conftest import NAME, make_sample
from d4c_platform_tests.torrents.sites import site

pytestmark = pytest.mark.interop

UNREACHABLE = re.compile(r"connection broken|connection error|timed out|name resolution|network is unreachable", re.IGNORECASE)
INSTALLED = "import importlib.util, sys; print(*(m for m in sys.argv[1:] if importlib.util.find_spec(m)))"
FETCH = """
import pathlib, sys
from d4c_platform.torrents.swarm import fetch

torrent, folder = map(pathlib.Path, sys.argv[1:])
print(fetch(torrent.read_bytes(), folder, timeout_s=60, loopback=True).from_web_seeds)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, used as somebody who never saw our sources would: from a folder elsewhere."""

    folder: Path

    def run(self, program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "D4C_"))}
        return subprocess.run(
            [self.folder / "bin" / program, *words],
            cwd=self.folder,
            env=environment | {"COLUMNS": "200", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def installed(self, *modules: str) -> set[str]:
        return set(self.run("python", "-c", INSTALLED, *modules).stdout.split())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory) -> Environment:
    return install(str(wheel), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def node(wheel, tmp_path_factory) -> Environment:
    return install(f"{wheel}[node]", tmp_path_factory.mktemp("node"))


def install(requirement: str, folder: Path) -> Environment:
    pins = [line.removesuffix(" \\") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(re.sub(r"\[.*?\]", "", pin) for pin in pins))  # pip takes neither hashes nor extras here
    environment = folder / "venv"
    venv.create(environment)
    pip("--python", environment / "bin" / "python", "install", "--constraint", constraints, requirement)
    return Environment(environment)


def pip(*words: str | Path) -> None:
    """Our own pip with the machine's own settings; where there is no registry the test is skipped, or fails if promised."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    trouble = next((line for line in done.stderr.splitlines() if UNREACHABLE.search(line)), None)
    if trouble and not REQUIRED:
        pytest.skip(f"the package registry cannot be reached: {trouble}")
    pytest.fail(done.stdout + done.stderr)


def test_the_base_install_has_no_dagster_libtorrent_or_duckdb(base):
    assert base.installed("d4c_platform", "pyarrow", "dagster", "libtorrent", "duckdb", "boto3") == {"d4c_platform", "pyarrow"}


def test_names_and_declarations_are_read_with_the_base_install(base):
    help_ = base.run("d4c", "--help")
    assert help_.returncode == 0, help_.stderr
    assert "catalog" in help_.stdout
    parsed = base.run("d4c", "name", "parse", f"{table_version('2025-06-11')}.parquet")
    assert parsed.returncode == 0, parsed.stderr
    assert "33100036" in parsed.stdout
    listed = base.run("d4c", "dataset", "list")
    assert listed.returncode == 0, listed.stderr
    assert "d4c-datapkg-statistical" in listed.stdout


def test_the_catalog_is_read_with_the_base_install(base, tmp_path):
    archive = filled(tmp_path / "portal")
    publish(archive.records, archive.store)
    file = tmp_path / "portal" / "catalog" / "catalog.parquet"
    listed = base.run("d4c", "catalog", "list", "--catalog", file)
    assert listed.returncode == 0, listed.stderr
    assert table_version("2025-07-11") in listed.stdout


@pytest.mark.parametrize(
    "words", [["demo"], ["demo", "--json"], ["dev"], ["sandbox", "up", "--folder", "x"]], ids=lambda words: " ".join(words)
)
def test_a_command_of_an_extra_says_which_extra_is_missing(base, words):
    said = base.run("d4c", *words)
    assert said.returncode == 1
    assert "pip install 'd4c-platform[sandbox]'" in said.stderr
    assert "Traceback" not in said.stderr


def test_sql_without_duckdb_says_which_extra_is_missing(base, tmp_path):
    archive = filled(tmp_path / "portal")
    publish(archive.records, archive.store)
    said = base.run("d4c", "catalog", "sql", "SELECT 1", "--catalog", tmp_path / "portal")
    assert said.returncode == 1
    assert "duckdb" in said.stderr.lower()
    assert "Traceback" not in said.stderr


def test_a_fetch_without_libtorrent_says_which_extra_is_missing(base, tmp_path):
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(make_sample(tmp_path / "mirror", 50_000).torrent("http://127.0.0.1:9/x"))
    said = base.run("python", "-c", FETCH, torrent, tmp_path / "out")
    assert said.returncode != 0
    assert "pip install 'd4c-platform[node]'" in said.stderr


def test_the_node_install_fetches_a_torrent_without_dagster(node, tmp_path):
    assert node.installed("libtorrent", "dagster", "duckdb", "boto3") == {"libtorrent"}
    sample = make_sample(tmp_path / "mirror", 500_000)
    torrent = tmp_path / "x.torrent"
    with site(tmp_path / "mirror") as mirror:
        torrent.write_bytes(sample.torrent(mirror.seed("good", NAME)))
        fetched = node.run("python", "-c", FETCH, torrent, tmp_path / "out")
    assert fetched.returncode == 0, fetched.stderr
    assert int(fetched.stdout) >= sample.digests.bytes
    assert hashlib.sha256((tmp_path / "out" / NAME).read_bytes()).hexdigest() == sample.digests.sha256


def test_an_installed_wheel_knows_the_code_and_the_lock_without_git_or_a_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    asked = "from d4c_platform.transforms import method as m; print(m.SOURCE, m.lock_sha256(), m.method().sha256)"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "d4c_platform"), method.lock_sha256(), method.method().sha256]
