"""Real web servers for torrents' tests: one that serves a folder as a good mirror does, and every way of doing it wrong.

The first path segment says how: `/good/NAME`, `/corrupt/NAME`…  The folder's file is never changed; a corrupt server breaks its
bytes on the way out, one every 16 KiB, so that no piece survives.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from d4c_platform.sandbox.faults import App, with_faults
from d4c_platform.sandbox.ranged import FileAnswer
from d4c_platform.sandbox.serving import serve


@dataclass(frozen=True)
class Site:
    url: str
    folder: Path

    def seed(self, how: str, name: str) -> str:
        return f"{self.url}/{how}/{name}"

    def fault(self, **fault) -> None:
        httpx.post(f"{self.url}/_sandbox/faults", json=fault).raise_for_status()

    def heal(self) -> None:
        httpx.delete(f"{self.url}/_sandbox/faults").raise_for_status()

    def requests(self, prefix: str = "/") -> list[dict]:
        return [r for r in httpx.get(f"{self.url}/_sandbox/requests").json() if r["path"].startswith(prefix)]


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    def answer(request: Request) -> App:
        how, name = request.path_params["how"], request.path_params["name"]
        path = folder / name
        match how:
            case "good" | "other" | "third":
                return FileAnswer(path)
            case "corrupt":
                return _ranged(request, _corrupt(path.read_bytes()))
            case "corrupt-end":
                data = path.read_bytes()
                return _ranged(request, data[:-1] + bytes([data[-1] ^ 1]))
            case "longer":
                return _ranged(request, path.read_bytes() + b"x")
            case "whole":
                return Response(path.read_bytes())
            case "elsewhere":  # the right bytes under a range nobody asked for
                return _ranged(request, path.read_bytes(), shift=1)
            case "fewer":  # says it sends the range and sends less
                return _ranged(request, path.read_bytes(), fewer=1)
            case "moved":
                return RedirectResponse(f"/good/{name}", 302)
            case "moved-signed":
                return RedirectResponse(f"/good/{name}?X-Amz-Signature=abc&X-Amz-Expires=60", 302)
            case "around":
                return RedirectResponse(f"/around/{name}", 302)
            case _:
                return Response("no such file", 404)

    app = Starlette(routes=[Route("/{how}/{name}", answer)])
    with serve(with_faults(app)) as served:
        yield Site(served.url, folder)


def _corrupt(data: bytes) -> bytes:
    broken = bytearray(data)
    for at in range(0, len(broken), 16 << 10):
        broken[at] ^= 1
    return bytes(broken)


def _ranged(request: Request, data: bytes, *, shift: int = 0, fewer: int = 0) -> Response:
    asked = request.headers.get("range")
    if asked is None:
        return Response(data)
    first, last = (int(n) for n in asked.removeprefix("bytes=").split("-"))
    first, last = first + shift, min(last, len(data) - 1)
    body = data[first : last + 1 - fewer]
    return Response(body, 206, headers={"content-range": f"bytes {first}-{last}/{len(data)}"})
