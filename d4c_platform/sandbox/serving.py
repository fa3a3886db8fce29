"""Serve one app from a thread, for tests: a real socket, a real HTTP server, gone when the block ends.

The sandbox itself runs every service as a process of its own (`up`), because killing one must not touch the others.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from d4c_platform.model.errors import PermanentFailure

HOST = "127.0.0.1"  # the sandbox never listens to the network
START_S = 20.0  # a busy machine takes seconds to start a thread's event loop; nothing sensible takes this long
GRACE_S = 1  # for answers that are still being sent when a server stops


@dataclass(frozen=True, slots=True)
class Served:
    """Where an app is served: the URL has no trailing slash."""

    url: str
    port: int


def configured(app: Any) -> uvicorn.Config:
    """How the sandbox's apps are served, in a thread and in a process alike."""
    # h11 is the one implementation that comes with uvicorn itself; its connection object is what `faults` cuts.
    return uvicorn.Config(app, http="h11", ws="none", log_level="warning", timeout_graceful_shutdown=GRACE_S)


def listening(port: int = 0) -> socket.socket:
    """A socket that accepts connections on 127.0.0.1; port 0 takes any free one.

    Raises:
        PermanentFailure: the port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise PermanentFailure(
            f"cannot listen on {HOST}:{port} ({error.strerror})",
            where="sandbox",
            remedy="Stop the program that uses the port, or start the sandbox in another folder",
        ) from error
    return listener


@contextmanager
def serve(app: Any, port: int = 0) -> Iterator[Served]:
    """Serve an ASGI app on 127.0.0.1 while the block runs."""
    with listening(port) as listener:
        server = uvicorn.Server(configured(app))
        started = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                server.run(sockets=[listener])
            except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
                failure.append(error)
            finally:
                started.set()

        thread = threading.Thread(target=run, name="sandbox-serve", daemon=True)
        _announce(server, started)
        thread.start()
        if not started.wait(START_S) or failure or not server.started:
            raise PermanentFailure("the server did not start", where="sandbox") from (failure[0] if failure else None)
        actual = listener.getsockname()[1]
        try:
            yield Served(url=f"http://{HOST}:{actual}", port=actual)
        finally:
            server.should_exit = True
            thread.join(GRACE_S + 5)


def _announce(server: uvicorn.Server, started: threading.Event) -> None:
    """Set the event when the server has started, so that nobody polls for it."""
    startup = server.startup

    async def startup_then_tell(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets=sockets)
        started.set()

    server.startup = startup_then_tell  # type: ignore[method-assign]


def is_free(port: int) -> bool:
    """Whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
