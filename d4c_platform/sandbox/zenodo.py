"""Zenodo on this machine: its records API with DOIs, checksums, states and error shapes, its pages and its downloads.

Written from what the real service was seen and documented to do, quirks included, because they are what breaks a publisher:
saving invalid metadata answers 200 with `errors`; `versions` returns the next draft that exists, without files; a file takes
announce, content, commit, and a second body is refused; publishing twice is a 404; Range works on the download route only.

Its writing half is zenodo_drafts (bodies stream to disk), its reading half zenodo_public. `faults.with_faults` around it adds
the days when it answers 504 after it has published. Not here: the older deposit API, communities, embargoes.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from d4c_platform.sandbox.zenodo_desk import Limits
from d4c_platform.sandbox.zenodo_drafts import Drafts
from d4c_platform.sandbox.zenodo_public import Public
from d4c_platform.sandbox.zenodo_state import ZenodoState


def zenodo_app(
    state: Path,
    base_url: str = "",
    prefix: str = "10.5072",
    token: str = "sandbox-token",  # noqa: S107 - opens nothing but this sandbox
    *,
    requests_per_min: int = 100_000,
    searches_per_min: int = 100_000,
) -> Starlette:
    """The sandbox's Zenodo.

    Args:
        state: folder of its database and files; a server started on it again goes on from there.
        base_url: the site's root in links; by default where each request came in.
        requests_per_min: a client's limit; the real one is 100 with a token, 60 without.
        searches_per_min: the limit of searches; the real one is 30.
    """
    desk = (ZenodoState(state), base_url, prefix, token, Limits(requests_per_min, searches_per_min))
    routes = [*Public(*desk).routes(), *Drafts(*desk).routes()]
    return Starlette(routes=routes, exception_handlers={404: _json_404, 405: _json_405})


async def _json_404(request: Request, _: Exception) -> Response:
    message = "The requested URL was not found on the server."
    return JSONResponse({"status": 404, "message": message}, 404)


async def _json_405(request: Request, _: Exception) -> Response:
    return JSONResponse({"status": 405, "message": "The method is not allowed for the requested URL."}, 405)
