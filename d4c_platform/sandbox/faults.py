"""A fault switch around any app: the bad days of the real services, on demand and over HTTP.

    POST   /_sandbox/faults    set a fault: the fields of `Fault` as JSON
    GET    /_sandbox/faults    the faults that are still set
    DELETE /_sandbox/faults    clear them
    GET    /_sandbox/requests  what was asked, in order: [{"method", "path", "query", "status", "headers"}]
    DELETE /_sandbox/requests  forget it

Over HTTP, so that a test can break a service that runs in another process. With a `chance` below 1 a fault strikes now and
then, drawn from the switch's own seed: the same requests in the same order meet the same faults. Kinds:

    status    answer `status` (503) with `headers` and `body`; the app never hears of the request
    html      an HTML page, with 200 unless `status` says otherwise: the error page that calls itself a success
    reset     read `after_bytes` of the request's body, then reset the connection without an answer
    truncate  the real answer's headers, `after_bytes` of its body, then the connection ends
    slow      the real answer, with a pause of `delay_s` once `after_bytes` of its body are sent (0: before it starts)
    after     perform the real action, then answer `status` (504): done, but the client cannot know
    alter     the real answer with `headers` in place of its own (an empty one is left out): a server that lies

`truncate` and `slow` take `headers` in the same way. The app does not see the request's headers that `without` names
(`["range", "if-range"]`: a server that does not know them).

The faults are a plain ASGI layer, not a Starlette middleware: it has to stand outside everything to cut the connection.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEPT_REQUESTS = 10_000  # the newest; a swarm asks for a lot of ranges
UNTIL_CLEARED = -1  # as `times`
RST = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: closing sends a reset, not an orderly end
ERROR_PAGE = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>We are sorry</h1></body></html>"


class Kind(StrEnum):
    STATUS = "status"
    HTML = "html"
    RESET = "reset"
    TRUNCATE = "truncate"
    SLOW = "slow"
    AFTER = "after"
    ALTER = "alter"


DEFAULT_STATUS = {Kind.STATUS: 503, Kind.HTML: 200, Kind.AFTER: 504}


@dataclass(slots=True)
class Fault:
    """One fault that is set. `times` counts down; a negative one stays until it is cleared. `chance` is that of one request."""

    kind: Kind
    method: str = "*"
    path: str = "/"
    status: int | None = None
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    delay_s: float = 0.0
    after_bytes: int = 0
    chance: float = 1.0
    without: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Any) -> Fault:
        """A fault from its JSON. Raises ValueError or TypeError with what is wrong."""
        fault = cls(**{**document, "kind": Kind(document["kind"])})
        fault.status = fault.status if fault.status is not None else DEFAULT_STATUS.get(fault.kind)
        fault.without = tuple(name.lower() for name in fault.without)
        return fault

    def applies(self, method: str, path: str) -> bool:
        return self.times != 0 and self.method.upper() in {"*", method} and path.startswith(self.path)


class FaultSwitch:
    """The app, with its bad days."""

    def __init__(self, app: App, seed: int = 0) -> None:
        self._app, self._random = app, random.Random(seed)
        self._faults: list[Fault] = []
        self._requests: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in {"/_sandbox/faults", "/_sandbox/requests"}:
            await self._switch(scope, receive, send)
        else:
            entry = self._note(scope)
            fault = self._next(scope["method"], scope["path"])
            noted = _noting(entry, send)
            if fault is None:
                await self._app(scope, receive, noted)
            else:
                await self._misbehave(fault, scope, receive, noted, _Connection(send))

    def _note(self, scope: Scope) -> dict[str, Any]:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        if "authorization" in headers:  # whether and how a client signs in matters to tests; its secret does not
            headers["authorization"] = headers["authorization"].partition(" ")[0] + " …"
        entry = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "status": None,  # stays null when there was no answer
            "headers": headers,
        }
        self._requests.append(entry)
        return entry

    def _next(self, method: str, path: str) -> Fault | None:
        for fault in self._faults:
            if fault.applies(method, path) and (fault.chance >= 1 or self._random.random() < fault.chance):
                if fault.times > 0:
                    fault.times -= 1
                return fault
        return None

    async def _misbehave(self, fault: Fault, scope: Scope, receive: Receive, send: Send, line: _Connection) -> None:
        scope = _without(fault.without, scope)
        match fault.kind:
            case Kind.STATUS:
                await _answer(send, fault.status or 503, fault.body.encode(), fault.headers)
            case Kind.HTML:
                page = (fault.body or ERROR_PAGE).encode()
                await _answer(send, fault.status or 200, page, {"content-type": "text/html; charset=utf-8", **fault.headers})
            case Kind.RESET:
                await _read_some(receive, fault.after_bytes)
                line.reset()
                await _until_gone(receive)
            case Kind.TRUNCATE:
                await self._app(scope, receive, line.cut_after(fault.after_bytes, _altering(fault.headers, send)))
                await _until_gone(receive)
            case Kind.SLOW:
                await self._app(scope, receive, _pausing(fault.after_bytes, fault.delay_s, _altering(fault.headers, send)))
            case Kind.ALTER:
                await self._app(scope, receive, _altering(fault.headers, send))
            case Kind.AFTER:
                await self._app(scope, receive, _swallow)
                await _answer(send, fault.status or 504, fault.body.encode(), fault.headers)

    async def _switch(self, scope: Scope, receive: Receive, send: Send) -> None:
        about_faults = scope["path"] == "/_sandbox/faults"
        match scope["method"]:
            case "GET":
                left = [asdict(f) for f in self._faults if f.times != 0]
                await _answer_json(send, 200, left if about_faults else list(self._requests))
            case "DELETE":
                (self._faults if about_faults else self._requests).clear()
                await _answer_json(send, 200, [])
            case "POST" if about_faults:
                try:
                    fault = Fault.read(json.loads(await _read_some(receive, None)))
                except (ValueError, TypeError, KeyError) as error:
                    await _answer_json(send, 400, {"message": f"not a fault: {error}"})
                    return
                self._faults.append(fault)
                await _answer_json(send, 201, asdict(fault))
            case _:
                await _answer_json(send, 405, {"message": "GET, POST or DELETE"})


def with_faults(app: App, seed: int = 0) -> FaultSwitch:
    """The app with a fault switch and a request log.

    Args:
        seed: of the faults that strike by chance.
    """
    return FaultSwitch(app, seed)


class _Connection:
    """The TCP connection under an answer. Only the server's own `send` knows it: ASGI has no word for a broken line."""

    def __init__(self, send: Send) -> None:
        self._owner = getattr(send, "__self__", None)

    @property
    def _transport(self) -> asyncio.Transport:
        if self._owner is None:
            raise RuntimeError("this server does not show its connections: faults need uvicorn with h11, outermost")
        transport: asyncio.Transport = self._owner.transport
        return transport

    def reset(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        self._transport.abort()

    def cut_after(self, limit: int, send: Send) -> Send:
        """A `send` that ends the connection once `limit` bytes of the body went out."""
        left, over = limit, False

        async def cutting(message: Message) -> None:
            nonlocal left, over
            if over:
                return
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                over = len(body) > left or not message.get("more_body", False)
                await send({"type": "http.response.body", "body": body[:left], "more_body": True})
                left -= len(body[:left])
                if over:
                    self._transport.close()  # what was sent arrives, then the line is closed
                return
            await send(message)

        return cutting


def _noting(entry: dict[str, Any], send: Send) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            entry["status"] = message["status"]
        await send(message)

    return noting


def _without(names: tuple[str, ...], scope: Scope) -> Scope:
    kept = [(name, value) for name, value in scope["headers"] if name.decode("latin-1").lower() not in names]
    return {**scope, "headers": kept}


def _altering(headers: dict[str, str], send: Send) -> Send:
    ours = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}

    async def altering(message: Message) -> None:
        if message["type"] == "http.response.start":
            theirs = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
            message = {**message, "headers": theirs + [(name, value) for name, value in ours.items() if value]}
        await send(message)

    return altering


def _pausing(after_bytes: int, delay_s: float, send: Send) -> Send:
    sent, paused = 0, False

    async def pausing(message: Message) -> None:
        nonlocal sent, paused
        if not paused and (after_bytes == 0 or sent >= after_bytes):
            paused = True
            await asyncio.sleep(delay_s)
        sent += len(message.get("body", b""))
        await send(message)

    return pausing


async def _swallow(message: Message) -> None:
    """Where an answer goes that the client never gets."""


async def _until_gone(receive: Receive) -> None:
    """Wait until the server has seen its connection go, so that it does not complain of a missing answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_some(receive: Receive, limit: int | None) -> bytes:
    """The request's body, or as much of it as was asked for."""
    body = b""
    while limit is None or len(body) < limit:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    return body


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    named = {"content-type": "text/plain; charset=utf-8", **{k.lower(): v for k, v in headers.items()}}
    named["content-length"] = str(len(body))
    raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _answer_json(send: Send, status: int, document: Any) -> None:
    await _answer(send, status, json.dumps(document).encode(), {"content-type": "application/json"})
