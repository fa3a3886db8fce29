"""Killed anywhere and started again, the flow ends in the same state: one version, one DOI, one copy a mirror."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from d4c_platform.model.records import Build, Copies, Doi, Torrents
from d4c_platform.sandbox.up import Sandbox
from d4c_platform.settings import Settings
from d4c_platform.stages.platform import Platform
from d4c_platform_tests.orchestration.world import OUTLINES, TABLE, settings_of

ROUND_S = 240
POINTS = [
    f"releases/{TABLE}/*.json",
    f"raw/{TABLE}/sha256/*/*/*.zip",
    f"records/{TABLE}*/release.json",
    f"staging/{TABLE}*/*.parquet",
    f"records/{TABLE}*/artifact.json",
    f"versions/{TABLE}*/*.parquet",
    f"records/{TABLE}*/copies.portal.json",
    f"processed/{TABLE}.parquet",
    f"records/{TABLE}*/item.json",
    "catalog/catalog.parquet",
    f"records/{TABLE}*/copies.source-coop.json",
    f"records/{TABLE}*/zenodo-draft.json",
    f"records/{TABLE}*/doi.json",
    f"records/{TABLE}*/torrent.json",
]
"""Objects of the portal in the order they appear: the process is killed as soon as it can be seen that one is there."""


def start(sandbox: Sandbox) -> subprocess.Popen[bytes]:
    log = (sandbox.folder / "worker.log").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "d4c_platform_tests.orchestration.world"],
        env=os.environ | settings_of(sandbox),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def kill(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def appears(portal: Path, pattern: str) -> bool:
    return any(portal.glob(pattern))


def finish(sandbox: Sandbox) -> None:
    worker = start(sandbox)
    try:
        assert worker.wait(ROUND_S) == 0, (sandbox.folder / "worker.log").read_text()[-4000:]
    finally:
        kill(worker)


def check_the_end_state(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_of(sandbox).items():
        monkeypatch.setenv(name, value)
    with Platform(Settings.read()) as platform:
        dois = []
        for dataset_id in (TABLE, OUTLINES):
            published = platform.published(platform.datasets[dataset_id])
            assert len(published) == 1, published
            for version in published:
                build = platform.records.read(Build, version)
                assert build is not None
                for place in ("portal", "source-coop", "zenodo"):
                    copies = platform.records.read(Copies, version, place=place)
                    assert copies is not None
                    assert [c.sha256 for c in copies.copies] == [a.digests.sha256 for a in build.artifacts]
                doi = platform.records.read(Doi, version)
                assert doi is not None
                dois.append(doi.doi)
                assert platform.records.read(Torrents, version) is not None
        found = platform.web.request(
            "GET",
            f"{sandbox.urls['zenodo']}/api/user/records",
            where="test",
            headers={"Authorization": f"Bearer {settings_of(sandbox)['D4C_ZENODO_TOKEN']}"},
        ).json()["hits"]
        assert found["total"] == len(dois), "an orphan draft or a second record is left on Zenodo"
        assert all(hit["is_published"] for hit in found["hits"])
    portal = sandbox.place.portal
    assert not [p for p in portal.glob("staging/**/*") if p.is_file()]
    objects = list((sandbox.folder / "mirror").glob("**/*"))
    assert objects


def test_killed_at_every_object_it_writes_it_ends_the_same(tmp_path, monkeypatch):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        for point in POINTS:
            if appears(sandbox.place.portal, point):
                continue  # an earlier life got further before it was killed
            worker = start(sandbox)
            deadline = time.monotonic() + ROUND_S
            while not appears(sandbox.place.portal, point) and worker.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            kill(worker)
            assert appears(sandbox.place.portal, point), (point, (sandbox.folder / "worker.log").read_text()[-4000:])
        finish(sandbox)
        check_the_end_state(sandbox, monkeypatch)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(int(os.environ.get("D4C_CAMPAIGN_RUNS", "10"))))
def test_killed_at_random_moments_it_ends_the_same(seed, tmp_path, monkeypatch):
    chance = random.Random(seed)
    print(f"seed {seed}")
    with Sandbox(tmp_path / "sandbox") as sandbox:
        for _ in range(6):
            worker = start(sandbox)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(chance.uniform(2, 25))
            kill(worker)
        finish(sandbox)
        check_the_end_state(sandbox, monkeypatch)
