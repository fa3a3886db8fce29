"""The portal's public face: a static web server over its local directory.

It serves what the portal means to be public and says how long it may be kept: `versions/` and `raw/` never change (but for
the `.torrent` files, which are issued again), everything else (`processed/`, `catalog/`, `records/`) is asked for again every
time. `staging/` and names that start with a dot are not there, whatever lies on the disk. Web pages and torrents' web seeds
read it, hence CORS and Range.

Not here: writing. The portal is written through `storage.local`.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from d4c_platform.sandbox.faults import App
from d4c_platform.sandbox.ranged import FileAnswer
from d4c_platform.storage.store import IMMUTABLE, NO_CACHE

UNCHANGING = frozenset({"versions", "raw"})  # keys that are written once
REPLACED = ".torrent"  # the one object beside a version that is issued again, when its web seeds change
PRIVATE = frozenset({"staging"})  # built, but its checks have not passed

CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified",
}
PREFLIGHT = {
    **CORS,
    "access-control-allow-methods": "GET, HEAD, OPTIONS",
    "access-control-allow-headers": "Range, If-Range, If-None-Match, If-Modified-Since",
    "access-control-max-age": "86400",
}


def portal_app(root: Path) -> Starlette:
    """A web server over the portal's directory. The directory may appear later."""

    async def answer(request: Request) -> App:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=PREFLIGHT)
        missing = PlainTextResponse("Not Found", status_code=404, headers=CORS)
        key = request.path_params["key"]
        if not is_public(key) or not (root / key).resolve().is_relative_to(root.resolve()):
            return missing
        written_once = key.partition("/")[0] in UNCHANGING and not key.endswith(REPLACED)
        keep = IMMUTABLE if written_once else NO_CACHE
        return FileAnswer(root / key, headers={**CORS, "cache-control": keep}, missing=missing)

    return Starlette(routes=[Route("/{key:path}", answer, methods=["GET", "HEAD", "OPTIONS"])])


def is_public(key: str) -> bool:
    """Whether a key may be served at all, whatever lies under it."""
    segments = key.split("/")
    if not key.isprintable():  # a NUL ends a file name early; no key of ours has any such character
        return False
    return segments[0] not in PRIVATE and not any(s == "" or s.startswith(".") for s in segments)
