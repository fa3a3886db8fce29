"""A CKAN portal: its action API over packages that a test may change, and the files its resources lead to.

What a client can trip over is reproduced: an empty `hash` and a null `last_modified`, dates in UTC without a zone, a
`metadata_modified` that moves with every look although nothing changed, failures as `{"success": false}` with 403, 404 and
409, deleted packages that are still shown, and datastore dumps without a single validator.

Resources whose files are uploaded lie on the portal itself; linked ones on other hosts, whose place this server takes too when
a client's origins say so: a file is known by the path of its address.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from d4c_platform.sandbox.faults import App
from d4c_platform.sandbox.ranged import FileAnswer

NOTHING_CHANGED = timedelta(minutes=7)  # by which a restless portal's dates move at every look
CHUNK_BYTES = 64 * 1024


@dataclass(slots=True)
class Catalogue:
    """What a portal has. Changed in place, it is served changed.

    Attributes:
        packages: by id.
        files: path of a resource's address, without its first slash, to the file.
        dumps: resource id to the CSV that the datastore makes of it.
        private: ids of packages that are there and not for everybody.
        restless: whether `metadata_modified` moves at every look.
    """

    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    dumps: dict[str, Path] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    restless: bool = False

    def add(self, *packages: dict[str, Any]) -> None:
        self.packages |= {package["id"]: package for package in packages}

    def shown(self, name: str) -> dict[str, Any] | None:
        """A package by its id or name, as it is shown now."""
        found = next((p for p in self.packages.values() if name in {p["id"], p.get("name")}), None)
        if found is not None and self.restless:
            moved = datetime.fromisoformat(found["metadata_modified"]) + NOTHING_CHANGED
            found["metadata_modified"] = moved.isoformat()
        return found


def recorded_packages(file: Path) -> list[dict[str, Any]]:
    """Packages as a portal showed them once, one JSON object a line."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def resource(resource_id: str, url: str, *, form: str = "SHP", **more: Any) -> dict[str, Any]:
    """A linked resource, as open.canada.ca describes one."""
    described = {
        "id": resource_id,
        "url": url,
        "format": form,
        "name_translated": {"en": f"Resource {resource_id}", "fr": f"Ressource {resource_id}"},
        "language": ["en", "fr"],
        "resource_type": "dataset",
        "created": "2024-03-01T15:00:00.123456",
        "last_modified": None,
        "metadata_modified": None,
        "hash": "",
        "size": None,
        "datastore_active": False,
        "state": "active",
    }
    return described | more


def package(package_id: str, resources: Iterable[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A package, as open.canada.ca describes one."""
    described = {
        "id": package_id,
        "name": package_id,
        "title_translated": {"en": "Electoral wards", "fr": "Quartiers électoraux"},
        "keywords": {"en": ["wards", "elections"], "fr": ["quartiers", "élections"]},
        "metadata_created": "2024-03-01T15:00:00.000000",
        "metadata_modified": "2024-03-01T15:05:00.000000",
        "date_published": "2024-03-01 00:00:00",
        "license_id": "ca-ogl-lgo",
        "frequency": "P1M",
        "state": "active",
        "resources": [dict(r, package_id=package_id, position=i) for i, r in enumerate(resources)],
    }
    return described | more


def ckan_app(catalogue: Catalogue) -> Starlette:
    """The portal, under whatever path it is asked for: open.canada.ca has its API below `/data/en`."""

    async def action(request: Request) -> App:
        name = request.path_params["action"]
        if name != "package_show":
            return JSONResponse(f"Bad request - Action name not known: {name}", status_code=400)
        asked = dict(request.query_params)
        if request.method == "POST":
            asked |= await request.json()
        return _package_show(catalogue, asked, str(request.url))

    async def dump(request: Request) -> App:
        file = catalogue.dumps.get(request.path_params["resource"])
        if file is None:
            return PlainTextResponse("Not Found", status_code=404)
        # It is made anew for every request, so the server knows neither its length nor its date.
        return StreamingResponse(_chunks(file.read_bytes()), media_type="text/csv; charset=utf-8")

    async def uploaded(request: Request) -> App:
        path = request.path_params["path"]
        file = catalogue.files.get(path)
        return PlainTextResponse("Not Found", status_code=404) if file is None else FileAnswer(file)

    return Starlette(
        routes=[
            Route("/{base:path}/api/3/action/{action}", action, methods=["GET", "POST"]),
            Route("/api/3/action/{action}", action, methods=["GET", "POST"]),
            Route("/{base:path}/datastore/dump/{resource}", dump, methods=["GET"]),
            Route("/datastore/dump/{resource}", dump, methods=["GET"]),
            Route("/{path:path}", uploaded, methods=["GET", "HEAD"]),
        ]
    )


def _package_show(catalogue: Catalogue, asked: Mapping[str, Any], url: str) -> JSONResponse:
    help_text = f"{url.partition('?')[0].rpartition('/')[0]}/help_show?name=package_show"
    name = asked.get("id") or asked.get("name_or_id")
    if not name:
        error: dict[str, Any] = {"__type": "Validation Error", "name_or_id": ["Missing value"]}
        return JSONResponse({"help": help_text, "error": error, "success": False}, status_code=409)
    found = catalogue.shown(str(name))
    if found is None:
        error = {"__type": "Not Found Error", "message": "Not found"}
        return JSONResponse({"help": help_text, "error": error, "success": False}, status_code=404)
    if found["id"] in catalogue.private:
        # The two spaces are where a signed-in user's name would stand.
        words = f"Access denied: User  not authorized to read package {found['id']}"
        error = {"__type": "Authorization Error", "message": words}
        return JSONResponse({"help": help_text, "error": error, "success": False}, status_code=403)
    return JSONResponse({"help": help_text, "success": True, "result": found})


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
