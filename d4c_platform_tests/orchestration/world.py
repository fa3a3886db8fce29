"""A sandbox with an operator in it, for tests that want to see the whole flow. Also a program, to be killed: see `main`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from d4c_platform.definitions import defs
from d4c_platform.orchestration.operator import Operator, Run
from d4c_platform.sandbox.place import SERVICES
from d4c_platform.sandbox.up import Sandbox
from d4c_platform.settings import Settings
from d4c_platform.stages.platform import Platform

TABLE = "ca_statcan-2021A000011124_d4c-datapkg-statistical_98100001"
OUTLINES = "ca_statcan-2021A000011124_d4c-datapkg-statistical_provinces_and_territories_generalised_2021"


@dataclass
class World:
    sandbox: Sandbox
    platform: Platform
    operator: Operator

    def work(self) -> list[Run]:
        return self.operator.work()

    def published(self, dataset_id: str) -> list[str]:
        return self.platform.published(self.platform.datasets[dataset_id])


def settings_of(sandbox: Sandbox) -> dict[str, str]:
    home = sandbox.folder / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
    return sandbox.env() | {
        "DAGSTER_HOME": str(home),
        "D4C_WORK_DIR": str(sandbox.folder / "work"),
        "D4C_RETRY_WAIT_S": "0",
    }


@contextmanager
def world(folder: Path, *, services: Iterable[str] = SERVICES, settings: Mapping[str, str] | None = None) -> Iterator[World]:
    """A sandbox with an operator; `settings` go before the sandbox's own."""
    with Sandbox(folder, services=services) as sandbox:
        before = dict(os.environ)
        os.environ.update(settings_of(sandbox) | dict(settings or {}))
        if "D4C_PORTAL_ENDPOINT" in os.environ:
            del os.environ["D4C_PORTAL_DIR"]
        try:
            with Platform(Settings.read()) as platform, Operator(defs, platform, lambda _: None) as operator:
                yield World(sandbox, platform, operator)
        finally:
            os.environ.clear()
            os.environ.update(before)


def main() -> None:
    """Work until nothing is due, in a process that a test may kill. The environment points at the sandbox."""
    with Platform(Settings.read()) as platform, Operator(defs, platform, print) as operator:
        runs = operator.work()
    print(json.dumps([(run.job, run.version_id, run.ok, run.trouble) for run in runs]))
    sys.exit(not all(run.ok for run in runs))


if __name__ == "__main__":
    main()
