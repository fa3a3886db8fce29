"""The reading half of the sandbox's Zenodo: published records, search, the pages and downloads of its site."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from d4c_platform.sandbox.zenodo_desk import INVALID, RDM_JSON, RECORD, Desk, Refused, rdm


class Public(Desk):
    """Calls on published records, and lists of one's own."""

    def routes(self) -> list[Route]:
        return [
            *self._api("/api/records", GET=self._search, kind="search"),
            *self._api("/api/user/records", GET=self._own, kind="search"),
            *self._api(RECORD, GET=self._record),
            *self._api(f"{RECORD}/versions", GET=self._versions),
            *self._api(f"{RECORD}/versions/latest", GET=self._latest),
            *self._api(f"{RECORD}/files", GET=self._record_files),
            *self._api(f"{RECORD}/files/{{key}}", GET=self._record_file),
            *self._api(f"{RECORD}/files/{{key}}/content", GET=self._record_content),
            Route("/records/{id:int}", self._page),
            Route("/records/{id:int}/files/{key}", self._download),
            Route("/doi/{doi:path}", self._resolve),
        ]

    async def _record(self, request: Request) -> Response:
        record_id = request.path_params["id"]
        of_concept = [v for v in self._state.versions(record_id) if v.record is not None]
        if of_concept:
            return self._moved(f"{self._shapes(request).site}/api/records/{of_concept[0].id}")
        entry = self._published(request)
        if RDM_JSON in request.headers.get("accept", ""):
            return rdm(self._shapes(request).record(entry))
        return JSONResponse(self._shapes(request).older(entry))

    async def _latest(self, request: Request) -> Response:
        latest = next(v for v in self._state.versions(self._published(request).parent) if v.record is not None)
        return self._moved(f"{self._shapes(request).site}/api/records/{latest.id}")

    async def _versions(self, request: Request) -> Response:
        shapes = self._shapes(request)
        versions = [v for v in self._state.versions(self._entry(request).parent) if v.record is not None]
        return rdm(shapes.hits([shapes.record(v) for v in versions], *_paging(request, 25), request.url.path))

    async def _record_files(self, request: Request) -> Response:
        return JSONResponse(self._shapes(request).files(self._published(request), draft=False))

    async def _record_file(self, request: Request) -> Response:
        entry = self._published(request)
        return JSONResponse(self._shapes(request).file(entry, self._file(request, entry, draft=False), draft=False))

    async def _record_content(self, request: Request) -> Response:
        return self._whole(self._file(request, self._published(request), draft=False))

    async def _search(self, request: Request) -> Response:
        shapes, signed_in = self._shapes(request), self._signed_in(request)
        found = [shapes.record(e) for e in self._state.entries() if e.record is not None]
        return rdm(shapes.hits(_matching(found, request), *_paging(request, 100 if signed_in else 25), request.url.path))

    async def _own(self, request: Request) -> Response:
        if not self._signed_in(request):
            raise Refused(403, "Permission denied.")
        shapes = self._shapes(request)
        found = [shapes.record(e) if e.record is not None else shapes.draft(e) for e in self._state.entries()]
        return rdm(shapes.hits(_matching(found, request), *_paging(request, 100), request.url.path))

    async def _page(self, request: Request) -> Response:
        entry = self._state.entry(request.path_params["id"])
        if entry is None or entry.record is None:
            versions = [v for v in self._state.versions(request.path_params["id"]) if v.record is not None]
            return RedirectResponse(f"/records/{versions[0].id}") if versions else HTMLResponse("<h1>Not found</h1>", 404)
        files = "".join(
            f'<li><a href="/records/{entry.id}/files/{escape(f.key)}?download=1">{escape(f.key)}</a> {f.size} bytes</li>'
            for f in self._state.files(entry.id, draft=False)
        )
        title, doi = escape(entry.record["metadata"]["title"]), self._shapes(request).doi(entry.id)
        return HTMLResponse(
            f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1><p>{doi}</p><ul>{files}</ul>"
        )

    async def _download(self, request: Request) -> Response:
        """The one route that honours Range."""
        entry = self._state.entry(request.path_params["id"])
        file = self._state.file(entry.id, request.path_params["key"], draft=False) if entry and entry.record else None
        if file is None or file.blob is None:
            return HTMLResponse("<h1>Not found</h1>", 404)
        return FileResponse(
            self._state.blobs / file.blob,
            filename=file.key,
            media_type="application/octet-stream",
            headers={"ETag": f'"md5:{file.md5}"'},
        )

    async def _resolve(self, request: Request) -> Response:
        found = re.fullmatch(re.escape(self._prefix) + r"/zenodo\.(\d+)", request.path_params["doi"])
        return RedirectResponse(f"/records/{found[1]}") if found else HTMLResponse("<h1>DOI not found</h1>", 404)

    @staticmethod
    def _moved(location: str) -> Response:
        body = {"status": 301, "message": "Moved Permanently", "location": location}
        return JSONResponse(body, 301, headers={"Location": location})


def _paging(request: Request, most: int) -> tuple[int, int]:
    page, size = int(request.query_params.get("page", 1)), int(request.query_params.get("size", 25))
    if not 1 <= size <= most:
        raise Refused(400, INVALID, [{"field": "size", "messages": [f"Page size cannot be greater than {most}."]}])
    return page, size


def _matching(documents: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """A query as the platform writes them: `field.path:"value"`, or words that all have to occur."""
    query = request.query_params.get("q", "")
    field = re.fullmatch(r'([a-z_.]+):"(.*)"', query)
    if field is None:
        words = query.replace('"', " ").casefold().split()
        return [d for d in documents if all(w in json.dumps(d, ensure_ascii=False).casefold() for w in words)]
    return [d for d in documents if field[2] in _values(d, field[1].split("."))]


def _values(part: Any, path: list[str]) -> list[Any]:
    if isinstance(part, list):
        return [value for item in part for value in _values(item, path)]
    if not path:
        return [part]
    return _values(part[path[0]], path[1:]) if isinstance(part, dict) and path[0] in part else []
