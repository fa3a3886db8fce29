"""Start a whole Data for Canada on this machine, each service a process of its own, and end it again.

Processes, not threads: a demo kills the portal with -9 and the tracker must not notice. They die with the process that
started them (`service` says how), write to `logs/`, and come back on the same ports.

Not here: what the services say (their modules), where they are (`place`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Self

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sandbox import place as places
from d4c_platform.sandbox.census import RELEASES
from d4c_platform.sandbox.clock import Clock
from d4c_platform.sandbox.place import SERVICES, Place
from d4c_platform.sandbox.recorded import table_releases
from d4c_platform.sandbox.service import ready_file
from d4c_platform.sandbox.serving import is_free

READY_S = 120.0  # longer than any service gives itself, so that its own reason comes first
STOP_S = 10.0  # then it is killed
PORT_S = 10.0  # for services of a killed predecessor to notice and let their ports go
LOG_LINES = 20
AFTER_RELEASE = timedelta(minutes=30)  # where the clock stands after a release came out: 09:00 Eastern


class Sandbox:
    """A sandbox in a folder. As a context manager it runs while the block does.

    Args:
        folder: everything it keeps is in here; the same folder again goes on where it stopped, at the same URLs.
        releases: recorded real releases to show instead of the shipped ones; read in place.
        services: which services to run: by default those that the main job needs.
    """

    def __init__(self, folder: Path, releases: Path | None = None, *, services: Iterable[str] = SERVICES) -> None:
        self.folder = folder.absolute()
        self._recorded, self._services = releases, tuple(services)
        self._place: Place | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def place(self) -> Place:
        if self._place is None:
            raise PermanentFailure("is not started", where="sandbox", file=str(self.folder))
        return self._place

    @property
    def urls(self) -> dict[str, str]:
        """Service to its URL, without a trailing slash."""
        return self.place.urls

    def env(self) -> dict[str, str]:
        """The settings that point every client at this sandbox."""
        return self.place.env()

    def recorded(self, dataset_id: str) -> bool:
        """Whether there is a release of this declared dataset here."""
        return self.place.recorded(dataset_id)

    def start(self) -> None:
        """Start every service and wait until all of them answer.

        Raises:
            PermanentFailure: a sandbox already runs in the folder, a port is taken, or a service ends at once (with its log).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.folder)
        try:
            self._place = Place.at(self.folder, self._recorded, self._services)
            if self._recorded is None:
                self._ship_releases()
            for name in ("portal", "logs", "run", "statcan", "zenodo", "mirror"):
                (self.folder / name).mkdir(exist_ok=True)
            self._place.write(os.getpid())
            for name in self._services:
                self._spawn(name)
            for name in self._services:
                self._wait_until_ready(name)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every service. Everything in the folder stays."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_S
        for name in list(self._running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running[name].wait(max(0.0, deadline - time.monotonic()))
            self.kill(name)
        if self._place is not None:
            self._place.write(None)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kill(self, service: str) -> None:
        """End a service as a crash would: at once, with whatever it has started."""
        process = self._running.pop(service, None)
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        if service == "mirror":  # its S3 server has a group of its own; told that we are gone, it kills that first
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
        process.wait()

    def start_service(self, name: str) -> None:
        """Start a service again, on its old port and its old state. A running one stays as it is."""
        if not self.is_running(name):
            self.kill(name)
            self._spawn(name)
            self._wait_until_ready(name)

    def is_running(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def set_clock(self, now: datetime | None) -> None:
        """Set what time it is for the source servers; None for the machine's own clock."""
        Clock(self.place.clock_file).set(now)

    def advance(self) -> datetime | None:
        """Move the clock past the next release. The time of that release; None when there is none left."""
        return advance(self.place)

    def _ship_releases(self) -> None:
        from d4c_platform.sandbox import releases

        releases.build(self.place.releases)
        if not self.place.clock_file.exists():  # a fresh sandbox starts on the day of the first release
            self.set_clock(RELEASES[0].released_at + AFTER_RELEASE)

    def _spawn(self, name: str) -> None:
        port = self.place.ports[name]
        deadline = time.monotonic() + PORT_S
        while not is_free(port):
            if time.monotonic() > deadline:
                raise PermanentFailure(
                    f"cannot start {name}: another program uses its port {port}",
                    where="sandbox",
                    file=str(self.folder),
                    remedy="Stop that program, or start the sandbox in another folder",
                )
            time.sleep(0.05)
        ready_file(self.place, name).unlink(missing_ok=True)
        command = [sys.executable, "-m", "d4c_platform.sandbox.service", name]
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*command, "--port", str(port), "--state", str(self.folder)],
                stdin=subprocess.PIPE,  # never written to: its end tells the service that we are gone
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to handle, and a kill takes the group
            )

    def _wait_until_ready(self, name: str) -> None:
        process, told = self._running[name], ready_file(self.place, name)
        deadline = time.monotonic() + READY_S
        while not (told.exists() and told.read_text() == str(process.pid)):
            ended = process.poll()
            if ended is not None or time.monotonic() > deadline:
                log = self.folder / "logs" / f"{name}.log"
                why = f"ended with {ended}" if ended is not None else f"did not answer within {READY_S:.0f} s"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
                raise PermanentFailure(f"{name} {why}", where="sandbox", file=str(log), remedy=f"The end of its log:\n{tail}")
            time.sleep(0.02)


def advance(place: Place) -> datetime | None:
    """Move a sandbox's clock past the next release, whoever runs it."""
    clock = Clock(place.clock_file)
    now = clock.now()
    for release in table_releases(place.releases):
        if release.released_at > now:
            clock.set(release.released_at + AFTER_RELEASE)
            return release.released_at
    return None


def running(folder: Path) -> Place | None:
    """The sandbox that runs in a folder, in this process or another; None when none does."""
    place = places.read_state(folder)
    if place is None:
        return None
    try:
        _lock(folder).close()
    except PermanentFailure:
        return place
    return None


def ask_to_stop(folder: Path) -> bool:
    """Ask the process that runs the folder's sandbox to end it, and wait for it. False when none runs.

    Raises:
        PermanentFailure: it is still there after a while.
    """
    if running(folder) is None:
        return False
    pid = places.owner(folder)
    if pid is not None:  # it holds the folder's lock, so the id is still its own
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S * 2
    while running(folder) is not None:
        if time.monotonic() > deadline:
            raise PermanentFailure(f"process {pid} does not end", where="sandbox", file=str(folder))
        time.sleep(0.05)
    return True


def _lock(folder: Path) -> IO[str]:
    """Take the folder. The lock ends with the process that holds it, however that ends."""
    file = (folder / ".lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise PermanentFailure(
            f"already runs in this folder (process {places.owner(folder)})",
            where="sandbox",
            file=str(folder),
            remedy="Use it, end it with `d4c sandbox down`, or name another --folder",
        ) from error
    return file
