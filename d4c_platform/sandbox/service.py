"""One service of the sandbox as a process: `python -m d4c_platform.sandbox.service NAME --port P --state DIR`.

A service reads where things are from the sandbox's folder, listens, and then says so by writing its process id to
`DIR/run/NAME`. It ends with its parent: its standard input is a pipe that only the parent holds, so it reads the end of it
whatever way the parent dies, kill -9 included. (PR_SET_PDEATHSIG would fire when the *thread* that started the service ends,
which a caller with worker threads does not expect.) Should somebody else hold the pipe too, a changed parent id tells.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from d4c_platform.sandbox.clock import Clock
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.place import ACCESS_KEY, BUCKET, SECRET_KEY, TOKEN, Place, read_state
from d4c_platform.sandbox.serving import configured, listening

PARENT_POLL_MS = 1000  # only matters when the pipe does not tell


def app_of(name: str, place: Place) -> Any:
    """The app of one service. Imports only what that service needs: they start faster, and one cannot break another."""
    match name:
        case "statcan":
            from d4c_platform.sandbox.statcan import statcan_app

            return statcan_app(place.releases, Clock(place.clock_file))
        case "files":
            from d4c_platform.sandbox.files import files_app
            from d4c_platform.sandbox.recorded import files_by_address

            return files_app(lambda: files_by_address(place.declared.values(), place.releases))
        case "ckan":
            from d4c_platform.sandbox.portals import ckan_portals

            return ckan_portals(place.declared.values(), place.releases)
        case "opendatasoft":
            from d4c_platform.sandbox.portals import opendatasoft_portals

            return opendatasoft_portals(place.declared.values(), place.releases)
        case "arcgis":
            from d4c_platform.sandbox.portals import arcgis_servers

            return arcgis_servers(place.declared.values(), place.releases)
        case "portal":
            from d4c_platform.sandbox.web import portal_app

            return portal_app(place.portal)
        case "zenodo":
            from d4c_platform.sandbox.zenodo import zenodo_app

            return zenodo_app(place.folder / "zenodo", place.urls["zenodo"], token=TOKEN)
        case "tracker":
            from d4c_platform.sandbox.tracker import tracker_app

            return tracker_app()
        case _:
            raise SystemExit(f"there is no service called {name}")


def run_app(name: str, place: Place, port: int) -> None:
    """Serve until asked to stop."""
    _end_with_parent(lambda: None)
    with listening(port) as listener:
        server = uvicorn.Server(configured(with_faults(app_of(name, place))))
        startup = server.startup

        async def startup_then_tell(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets=sockets)
            _tell_ready(place, name)

        server.startup = startup_then_tell  # type: ignore[method-assign]
        server.run(sockets=[listener])


def run_mirror(place: Place, port: int) -> None:
    """Run the S3 server, a program of its own, until asked to stop."""
    from d4c_platform.sandbox.seaweed import Seaweed

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = Seaweed(place.folder / "mirror", s3_port=port, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    _end_with_parent(server.kill)
    server.start()
    try:
        server.create_public_bucket(BUCKET)
        _tell_ready(place, "mirror")
        stop.wait()
    finally:
        server.stop()


def ready_file(place: Place, name: str) -> Path:
    return place.folder / "run" / name


def _tell_ready(place: Place, name: str) -> None:
    file = ready_file(place, name)
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_name(f".{name}")
    fresh.write_text(str(os.getpid()))
    fresh.replace(file)


def _end_with_parent(last_act: Callable[[], None]) -> None:
    """End this process as soon as its parent has ended, after one last act."""
    parent, stdin = os.getppid(), sys.stdin.fileno()

    def watch() -> None:
        poll = select.poll()
        poll.register(stdin, select.POLLIN | select.POLLHUP)
        while os.getppid() == parent:
            if poll.poll(PARENT_POLL_MS) and not os.read(stdin, 1):
                break
        try:
            last_act()
        finally:
            os._exit(1)  # nobody is left to be told, and the ports are wanted by the next sandbox in this folder

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main(arguments: list[str]) -> None:
    """Read `NAME --port P --state DIR` and run that service."""
    match arguments:
        case [name, "--port", port, "--state", folder]:
            place = read_state(Path(folder))
        case _:
            raise SystemExit("usage: python -m d4c_platform.sandbox.service NAME --port P --state DIR")
    if place is None:
        raise SystemExit(f"{folder} has no sandbox")
    if name == "mirror":
        run_mirror(place, int(port))
    else:
        run_app(name, place, int(port))


if __name__ == "__main__":
    main(sys.argv[1:])
