"""Set the stage for the demo, tell the story, and clear up.

The folder is the demo's memory. Without `--keep` it is a fixed one that is removed after a good end, so that a killed demo is
continued by simply starting it again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from d4c_platform.definitions import defs
from d4c_platform.demo.report import Report
from d4c_platform.demo.story import Story
from d4c_platform.orchestration.operator import Operator
from d4c_platform.sandbox.census import RELEASES
from d4c_platform.sandbox.up import Sandbox
from d4c_platform.settings import Settings
from d4c_platform.stages.platform import Platform

DEFAULT_FOLDER = Path(".sandbox") / "demo"
INSTANCE = "telemetry: {enabled: false}\nnux: {enabled: false}\n"
STATCAN_ORIGIN = "https://www150.statcan.gc.ca"


def demo(*, releases: Path | None, live: bool, keep: Path | None, progress: Callable[[str], None]) -> Report:
    """Run the demo and say what it verified.

    Args:
        releases: a folder of recorded real releases instead of the ones the sandbox ships.
        live: ask the real Statistics Canada service; everything else stays on this machine.
        keep: the folder to work in and leave behind.
    """
    kind = "live" if live else "recorded" if releases else "shipped"
    folder = (keep or DEFAULT_FOLDER / kind).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    progress("starting the sandbox")
    with Sandbox(folder / "sandbox", releases) as sandbox:
        for name in [name for name in os.environ if name.startswith("D4C_")]:
            del os.environ[name]  # whatever this shell points at, the demo stays in its sandbox
        os.environ.update(_environment(sandbox, folder, live=live))
        with Platform(Settings.read()) as platform, Operator(defs, platform, progress) as operator:
            story = Story(
                sandbox,
                platform,
                operator,
                moments=() if releases or live else tuple(r.released_at for r in RELEASES),
                keep=folder,
                progress=progress,
            )
            report = story.tell()
    if report.ok and keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _environment(sandbox: Sandbox, folder: Path, *, live: bool) -> dict[str, str]:
    """The settings of this run: the sandbox's, with Dagster's home beside it."""
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(INSTANCE)
    settings: dict[str, str] = sandbox.env() | {
        "DAGSTER_HOME": str(home),
        "D4C_WORK_DIR": str(folder / "work"),
        "D4C_RETRY_WAIT_S": "0",
    }
    if live:
        origins = json.loads(settings["D4C_ORIGINS"])
        origins.pop(STATCAN_ORIGIN, None)
        settings["D4C_ORIGINS"] = json.dumps(origins)
        settings["D4C_DATASETS"] = str(resources.files("d4c_platform.datasets"))
    return settings
