"""`d4c sandbox`: a whole Data for Canada on this machine, in the foreground until Ctrl-C."""

from __future__ import annotations

import json
import shlex
import signal
import socket
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from d4c_platform.sandbox.clock import Clock
from d4c_platform.sandbox.place import EVERY_SERVICE, Place
from d4c_platform.sandbox.serving import HOST
from d4c_platform.sandbox.up import Sandbox, advance, ask_to_stop, running

app = App(name="sandbox", help="Run a whole Data for Canada on this machine.")

Folder = Annotated[Path, Parameter(help="Everything the sandbox keeps is in here; the same folder goes on at the same URLs.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Answer as JSON.")]
DEFAULT_FOLDER = Path(".sandbox")

WHAT = {
    "statcan": "Statistics Canada: Web Data Service and table downloads",
    "files": "the publishers' plain files",
    "portal": "the portal, as the public sees it",
    "mirror": "Source Cooperative: an S3 server",
    "zenodo": "Zenodo: records and DOIs",
    "tracker": "the BitTorrent tracker",
    "ckan": "CKAN portals: open.canada.ca, cities",
    "opendatasoft": "Opendatasoft portals: opendata.vancouver.ca",
    "arcgis": "ArcGIS servers: layers",
}


@app.command
def up(
    *,
    folder: Folder = DEFAULT_FOLDER,
    releases: Path | None = None,
    advance: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Start every service and run until Ctrl-C. With --advance, a running sandbox's clock moves past its next release.

    Args:
        releases: a folder of recorded real releases to show instead of the shipped ones; read in place.
        advance: let the next release come out: in the sandbox that runs in the folder, or in the one that is started.
    """
    console = Console(soft_wrap=True, highlight=False)
    if advance and (place := running(folder)) is not None:
        _advance(console, place)
        return
    signal.signal(signal.SIGTERM, _interrupt)
    with console.status("Starting the sandbox …"):
        sandbox = Sandbox(folder, releases, services=EVERY_SERVICE)
        sandbox.start()
    try:
        if advance:
            _advance(console, sandbox.place)
        console.print(_table(sandbox.place))
        console.print("\nPoint clients at it:\n")
        for name, value in sandbox.env().items():
            console.print(f"export {name}={shlex.quote(value)}", markup=False)
        console.print(f"\nLogs: {sandbox.folder / 'logs'}. Ctrl-C ends it; everything in the folder stays.")
        while True:
            signal.pause()
    except KeyboardInterrupt:
        console.print("Ending the sandbox …")
    finally:
        sandbox.stop()


@app.command
def down(*, folder: Folder = DEFAULT_FOLDER) -> None:
    """End the sandbox that runs in a folder. Everything in the folder stays."""
    ended = ask_to_stop(folder)
    Console(soft_wrap=True, highlight=False).print("The sandbox has ended." if ended else f"No sandbox runs in {folder}.")


@app.command
def status(*, folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> int:
    """Show what runs in a folder. Exit code 1 when nothing does, or a service is down."""
    console = Console(soft_wrap=True, highlight=False)
    place = running(folder)
    up = {name: _listens(port) for name, port in place.ports.items()} if place else {}
    if as_json:
        services = {name: {"url": url, "up": up[name]} for name, url in place.urls.items()} if place else {}
        document = {"running": place is not None, "services": services, "env": place.env() if place else {}}
        print(json.dumps(document, indent=2))
    elif place is None:
        console.print(f"No sandbox runs in {folder}. Start one with `d4c sandbox up`.")
    else:
        console.print(_table(place))
    return 0 if up and all(up.values()) else 1


def _table(place: Place) -> Table:
    table = Table("service", "stands in for", "URL", "", title=f"Sandbox in {place.folder}")
    for name, url in place.urls.items():
        table.add_row(name, WHAT[name], url, "[green]up[/]" if _listens(place.ports[name]) else "[red]down[/]")
    table.caption = f"Its clock stands at {Clock(place.clock_file).now():%Y-%m-%d %H:%M} Eastern."
    return table


def _advance(console: Console, place: Place) -> None:
    released = advance(place)
    if released is None:
        console.print("There is no further release: all of them are out.")
    else:
        console.print(f"The release of {released:%Y-%m-%d %H:%M} Eastern is out.")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
