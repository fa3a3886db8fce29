"""Where every call to the sandbox's Zenodo arrives: limits, who is asking, which draft or record is meant, error shapes."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from d4c_platform.sandbox.zenodo_shapes import Shapes
from d4c_platform.sandbox.zenodo_state import Entry, File, ZenodoState

RDM_JSON = "application/vnd.inveniordm.v1+json"
DRAFT, RECORD = "/api/records/{id:int}/draft", "/api/records/{id:int}"
NOT_THERE = "The persistent identifier does not exist."
INVALID = "A validation error occurred."
WINDOW_S = 60

Endpoint = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors


class Limits:
    """A moving window a client (address and User-Agent) and kind of call."""

    def __init__(self, requests_per_min: int, searches_per_min: int) -> None:
        self._most = {"request": requests_per_min, "search": searches_per_min}
        self._seen: dict[tuple[str, str, str], deque[float]] = defaultdict(deque)

    def take(self, request: Request, kind: str) -> tuple[bool, dict[str, str]]:
        client = request.client.host if request.client else ""
        seen, clock = self._seen[kind, client, request.headers.get("user-agent", "")], time.monotonic()
        while seen and seen[0] <= clock - WINDOW_S:
            seen.popleft()
        allowed = len(seen) < self._most[kind]
        if allowed:
            seen.append(clock)
        wait = WINDOW_S - (clock - seen[0]) if seen else 0
        headers = {
            "X-RateLimit-Limit": str(self._most[kind]),
            "X-RateLimit-Remaining": str(self._most[kind] - len(seen)),
            "X-RateLimit-Reset": str(int(time.time() + wait) + 1),
        }
        return allowed, headers if allowed else {**headers, "Retry-After": str(int(wait) + 1)}


class Desk:
    """What drafts and published records have in common."""

    def __init__(self, state: ZenodoState, site: str, prefix: str, token: str, limits: Limits) -> None:
        self._state, self._site, self._prefix, self._token, self._limits = state, site.rstrip("/"), prefix, token, limits

    def _api(self, path: str, *, kind: str = "request", **methods: Endpoint) -> list[Route]:
        return [
            Route(path, self._guarded(endpoint, kind if method == "GET" else "request"), methods=[method])
            for method, endpoint in methods.items()
        ]

    def _guarded(self, endpoint: Endpoint, kind: str) -> Endpoint:
        """The call within its limits, and every refusal in Zenodo's shape."""

        async def guarded(request: Request) -> Response:
            allowed, headers = self._limits.take(request, kind)
            if not allowed:
                response: Response = JSONResponse({"status": 429, "message": "Too Many Requests"}, 429)
            else:
                try:
                    response = await endpoint(request)
                except Refused as refused:
                    body: dict[str, Any] = {"status": refused.status, "message": refused.message}
                    response = JSONResponse(body | ({"errors": refused.errors} if refused.errors else {}), refused.status)
            response.headers.update(headers)
            return response

        return guarded

    def _shapes(self, request: Request) -> Shapes:
        return Shapes(self._state, self._site or str(request.base_url).rstrip("/"), self._prefix)

    def _signed_in(self, request: Request) -> bool:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        sent = sent if scheme.lower() == "bearer" else request.query_params.get("access_token", "")
        if sent and sent != self._token:
            raise Refused(
                401,
                "The server could not verify that you are authorized to access the URL requested. You either supplied the"
                " wrong credentials (e.g. a bad password), or your browser doesn't understand how to supply the credentials"
                " required.",
            )
        return bool(sent)

    def _entry(self, request: Request) -> Entry:
        entry = self._state.entry(request.path_params["id"])
        if entry is None:
            raise Refused(404, NOT_THERE)
        return entry

    def _open_draft(self, request: Request) -> tuple[Entry, dict[str, Any]]:
        if not self._signed_in(request):
            raise Refused(403, "Permission denied.")
        entry = self._entry(request)
        if entry.draft is None:
            raise Refused(404, NOT_THERE)
        return entry, entry.draft

    def _published(self, request: Request) -> Entry:
        entry = self._entry(request)
        if entry.record is None:
            raise Refused(404, NOT_THERE)
        return entry

    def _files_of_new_draft(self, request: Request) -> Entry:
        entry, _ = self._open_draft(request)
        if entry.record is not None:
            raise Refused(403, "Permission denied.")
        return entry

    def _file(self, request: Request, entry: Entry, *, draft: bool) -> File:
        file = self._state.file(entry.id, request.path_params["key"], draft=draft)
        if file is None:
            raise Refused(404, f'File with key "{request.path_params["key"]}" does not exist.')
        return file

    def _whole(self, file: File) -> Response:
        """The API's download: CORS, and no Range."""
        if file.blob is None:
            raise Refused(404, f'File with key "{file.key}" has no content.')
        path = self._state.blobs / file.blob
        headers = {"Content-Length": str(file.size), "ETag": f'"md5:{file.md5}"', "Access-Control-Allow-Origin": "*"}
        return StreamingResponse(_chunks(path), media_type="application/octet-stream", headers=headers)


def rdm(document: dict[str, Any], status: int = 200) -> Response:
    headers = {"ETag": f'"{document["revision_id"]}"'} if "revision_id" in document else {}
    return JSONResponse(document, status, headers=headers, media_type=RDM_JSON)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 18):
            yield chunk


async def document_of(request: Request) -> Any:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refused(415, "Invalid 'Content-Type' header. Expected one of: application/json")
    try:
        return await request.json()
    except json.JSONDecodeError:
        raise Refused(400, "Unable to decode JSON data in request body.") from None
