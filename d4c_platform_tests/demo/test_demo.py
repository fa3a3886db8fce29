"""`d4c demo` as a person runs it: a process, its table as data, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from d4c_platform_tests.places import recorded

D4C = Path(sys.executable).parent / "d4c"
WITHIN_S = 280


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [D4C, "demo", "--json", "--keep", folder, *options],
        stdout=subprocess.PIPE,
        stderr=(folder.parent / "demo.log").open("a"),
        text=True,
        start_new_session=True,
    )


def outcome(demo: subprocess.Popen[str]) -> dict:
    out, _ = demo.communicate(timeout=WITHIN_S)
    return json.loads(out) | {"exit": demo.returncode}


def test_killed_in_the_middle_and_started_again_it_verifies_every_step(tmp_path):
    folder = tmp_path / "demo"
    first = start(folder)
    deadline = time.monotonic() + WITHIN_S
    while not list(folder.glob("sandbox/portal/records/*/doi.json")) and time.monotonic() < deadline:
        assert first.poll() is None, (tmp_path / "demo.log").read_text()[-3000:]
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()

    told = outcome(start(folder))
    assert told["exit"] == 0, told
    assert told["ok"] is True
    assert [set(step) for step in told["steps"]] == [{"step", "ok", "verified", "figure"}] * len(told["steps"])
    names = [step["step"] for step in told["steps"]]
    assert names[0] == "sandbox"
    assert {"release 1", "release 2", "latest after release 2", "catalog", "DOIs", "torrents"} <= set(names)
    assert names[-2:] == ["the portal is dead", "the mirrors are dead too"]
    figures = {step["step"]: step["figure"] for step in told["steps"]}
    assert len(set(figures["DOIs"].split(", "))) == 3


def test_recorded_real_releases_become_versions_with_the_publishers_own_row_counts(tmp_path):
    releases = recorded("statcan", "33100036-eng.zip").parent.parent
    told = outcome(start(tmp_path / "demo", "--releases", str(releases)))
    assert told["exit"] == 0, told
    [rows] = [step["figure"] for step in told["steps"] if step["step"] == "rows"]
    assert "90,086 = 90,086" in rows
    assert "11,804 = 11,804" in rows
    assert "25" in rows
    assert "19" in rows


def test_a_failed_step_is_said_and_ends_in_exit_code_1(tmp_path):
    folder = tmp_path / "demo"
    releases = tmp_path / "releases"
    (releases / "statcan").mkdir(parents=True)
    demo = start(folder, "--releases", str(releases))
    told = outcome(demo)
    assert told["exit"] == 1
    assert told["ok"] is False
    assert told["steps"][-1]["ok"] is False
    assert told["steps"][-1]["verified"]
