"""`d4c dev`: the Dagster UI, its daemon and the sandbox, all on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from cyclopts import App
from rich.console import Console

from d4c_platform.sandbox.place import EVERY_SERVICE
from d4c_platform.sandbox.up import Sandbox

app = App(name="dev", help="Open the Dagster UI on a sandbox: everything on this machine, until Ctrl-C.")

HOST = "127.0.0.1"
INSTANCE = Path(__file__).resolve().parent.parent.parent / "dagster.yaml"


@app.default
def dev(*, folder: Path = Path(".sandbox") / "dev", releases: Path | None = None, port: int = 3000) -> int:
    """Start the sandbox and Dagster's webserver and daemon on it; the sensors find the first releases by themselves.

    Parameters
    ----------
    folder
        Everything is kept in here; the same folder goes on where it stopped.
    releases
        A folder of recorded real releases to show instead of the shipped ones.
    port
        Where the Dagster UI listens, on this machine only.
    """
    console = Console(soft_wrap=True, highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    home = folder.absolute() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if INSTANCE.exists() and not (home / "dagster.yaml").exists():
        shutil.copy(INSTANCE, home / "dagster.yaml")
    with console.status("Starting the sandbox …"):
        sandbox = Sandbox(folder / "sandbox", releases, services=EVERY_SERVICE)
        sandbox.start()
    environment = os.environ | sandbox.env() | {"DAGSTER_HOME": str(home), "D4C_WORK_DIR": str(folder.absolute() / "work")}
    command = [sys.executable, "-m", "dagster", "dev", "-m", "d4c_platform.definitions", "-h", HOST, "-p", str(port)]
    try:
        console.print(f"The Dagster UI opens at http://{HOST}:{port}. `d4c sandbox up --advance --folder {folder / 'sandbox'}`")
        console.print("lets the next release come out. Ctrl-C ends everything; the folder stays.")
        process = subprocess.Popen(command, env=environment)
        try:
            return process.wait()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    except KeyboardInterrupt:
        return 0
    finally:
        sandbox.stop()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
