"""The same definitions under Dagster's own daemon: sensors, run queue and run workers as an installation has them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

from d4c_platform.sandbox.up import Sandbox
from d4c_platform_tests.orchestration.world import TABLE, settings_of
from d4c_platform_tests.places import ROOT

WITHIN_S = 240


def test_the_daemon_publishes_the_first_release_without_anybody_touching_it(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        environment = os.environ | settings_of(sandbox)
        home = sandbox.folder / "dagster"
        shutil.copy(ROOT / "dagster.yaml", home / "dagster.yaml")
        with (tmp_path / "daemon.log").open("wb") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "dagster._daemon", "run", "-m", "d4c_platform.definitions"],
                env=environment,
                cwd=tmp_path,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wanted = f"records/{TABLE}_2017-02-08_v1.0.0/copies.portal.json"
            deadline = time.monotonic() + WITHIN_S
            while not (sandbox.place.portal / wanted).exists() and daemon.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
            assert (sandbox.place.portal / wanted).exists(), (tmp_path / "daemon.log").read_text()[-6000:]
            assert (sandbox.place.portal / "processed" / f"{TABLE}.parquet").exists() or _soon(sandbox)
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()


def _soon(sandbox: Sandbox) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (sandbox.place.portal / "processed" / f"{TABLE}.parquet").exists():
            return True
        time.sleep(0.2)
    return False
