"""Clients of others read what we publish: the `.torrent` alone is enough, and our seeder serves them."""

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.tracker import tracker_app
from d4c_platform.torrents.metainfo import parse
from d4c_platform.torrents.swarm import Seeder
from d4c_platform_tests.interop import require
from d4c_platform_tests.torrents.conftest import NAME

pytestmark = pytest.mark.interop

PATIENCE_S = 90  # Transmission asks its tracker again after half a minute


def aria2(torrent: Path, out: Path) -> list[str]:
    return [
        str(require("aria2c")),
        f"--dir={out}",
        "--seed-time=0",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
        "--interface=127.0.0.1",
        "--no-conf=true",
        "--file-allocation=none",
        "--bt-stop-timeout=60",
        str(torrent),
    ]


def transmission(torrent: Path, out: Path) -> list[str]:
    return [str(require("transmission-cli")), "-g", str(out.parent / "config"), "-w", str(out), "-M", str(torrent)]


def downloads(command: list[str], file: Path, sha256: str, log: Path) -> bool:
    """Run a client until it has the file; it is stopped, not asked, since Transmission seeds for ever."""
    file.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            ended = process.poll() is not None
            if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256:
                return True
            if ended:
                return False
            time.sleep(0.2)
        return False
    finally:
        if process.poll() is None:  # Transmission takes its time to say goodbye; we have what we came for
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("client", [aria2, transmission])
def test_another_client_downloads_from_our_torrent_and_its_web_seed_alone(client, sample, mirror, tmp_path):
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(sample.torrent(mirror.seed("good", NAME) + "?download=1"))
    log = tmp_path / "log"
    assert downloads(client(torrent, tmp_path / "out"), tmp_path / "out" / NAME, sample.digests.sha256, log), log.read_text()
    assert mirror.requests("/good")


def test_aria2_downloads_from_our_seeder_through_our_tracker(sample, tmp_path):
    with serve(tracker_app(interval_s=1)) as tracker, Seeder(loopback=True) as seeder:
        torrent = tmp_path / "x.torrent"
        torrent.write_bytes(sample.torrent(trackers=[[f"{tracker.url}/announce"]]))
        seeder.add(torrent.read_bytes(), sample.path)
        log = tmp_path / "log"
        found = downloads(aria2(torrent, tmp_path / "out"), tmp_path / "out" / NAME, sample.digests.sha256, log)
    assert found, log.read_text()


@pytest.mark.parametrize(
    ("program", "command"),
    [("aria2c", ["--show-files=true"]), ("transmission-show", [])],
)
def test_other_clients_find_our_info_hash(program, command, sample, tmp_path):
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(sample.torrent("https://mirror.example.org/" + NAME))
    shown = subprocess.run([str(require(program)), *command, str(torrent)], capture_output=True, text=True, check=True).stdout
    assert parse(torrent.read_bytes()).info_hash in shown.lower()
