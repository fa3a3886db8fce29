"""The publishers' plain files: every declared HTTP file that is at hand, under its host's name as the first path segment.

`https://www12.statcan.gc.ca/a/b.zip` is served as `/www12.statcan.gc.ca/a/b.zip`, so that one server stands in for every
publisher's. The files are looked up again for every request: a release that is put in place, or replaced, shows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from d4c_platform.sandbox.faults import App
from d4c_platform.sandbox.ranged import FileAnswer

# Publishers answer 404 with a page for people, not with a document for programs.
NOT_FOUND = "<!DOCTYPE html><html><head><title>404</title></head><body><h1>Page not found / Page introuvable</h1></body></html>"


def files_app(offered: Callable[[], Mapping[str, Path]]) -> Starlette:
    """A server of the files that `offered` knows, by address (`recorded.address`)."""

    async def answer(request: Request) -> App:
        path = request.path_params["address"]
        query = request.url.query
        file = offered().get(f"{path}?{query}" if query else path)
        missing = HTMLResponse(NOT_FOUND, status_code=404)
        return missing if file is None else FileAnswer(file, missing=missing)

    return Starlette(routes=[Route("/{address:path}", answer, methods=["GET", "HEAD"])])
