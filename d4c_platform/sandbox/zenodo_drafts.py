"""The writing half of the sandbox's Zenodo: drafts, their files, and the one call that makes them permanent."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from d4c_platform.sandbox.zenodo_desk import DRAFT, INVALID, RECORD, Desk, Refused, document_of, rdm
from d4c_platform.sandbox.zenodo_rules import problems, valid_part
from d4c_platform.sandbox.zenodo_state import now

MOST_FILES, MOST_BYTES = 100, 50 * 10**9


class Drafts(Desk):
    """Calls on drafts."""

    def routes(self) -> list[Route]:
        return [
            *self._api("/api/records", POST=self._create),
            *self._api(f"{RECORD}/versions", POST=self._next_version),
            *self._api(DRAFT, GET=self._draft, PUT=self._save, POST=self._edit, DELETE=self._discard),
            *self._api(f"{DRAFT}/pids/doi", POST=self._reserve),
            *self._api(f"{DRAFT}/actions/publish", POST=self._publish),
            *self._api(f"{DRAFT}/actions/files-import", POST=self._import),
            *self._api(f"{DRAFT}/files", GET=self._draft_files, POST=self._announce, DELETE=self._delete_all),
            *self._api(f"{DRAFT}/files/{{key}}", GET=self._draft_file, DELETE=self._delete_one),
            *self._api(f"{DRAFT}/files/{{key}}/content", GET=self._draft_content, PUT=self._content),
            *self._api(f"{DRAFT}/files/{{key}}/commit", POST=self._commit),
        ]

    async def _create(self, request: Request) -> Response:
        if not self._signed_in(request):
            raise Refused(403, "Permission denied.")
        body, errors = _draft_body(await document_of(request), None)
        return rdm(self._shapes(request).draft(self._state.create(body), errors), 201)

    async def _draft(self, request: Request) -> Response:
        return rdm(self._shapes(request).draft(self._open_draft(request)[0]))

    async def _save(self, request: Request) -> Response:
        document = await document_of(request)
        entry, before = self._open_draft(request)
        expected = request.headers.get("if-match")
        if expected is not None and expected.strip('"') != str(before["revision"]):
            raise Refused(412, f"The current revision is {before['revision']}, not {expected}.")
        body, errors = _draft_body(document, before)
        return rdm(self._shapes(request).draft(self._state.write_draft(entry, body), errors))

    async def _edit(self, request: Request) -> Response:
        if not self._signed_in(request):
            raise Refused(403, "Permission denied.")
        entry = self._entry(request)
        if entry.draft is None and entry.record is not None:
            entry = self._state.write_draft(entry, {**entry.record, "revision": entry.record["revision"] + 1})
        return rdm(self._shapes(request).draft(entry), 201)

    async def _discard(self, request: Request) -> Response:
        self._state.delete_draft(self._open_draft(request)[0])
        return Response(status_code=204)

    async def _reserve(self, request: Request) -> Response:
        entry, body = self._open_draft(request)
        if body["reserved"] or entry.record is not None:
            raise Refused(400, "A PID already exists for type doi")
        return rdm(self._shapes(request).draft(self._state.write_draft(entry, {**body, "reserved": True})), 201)

    async def _next_version(self, request: Request) -> Response:
        if not self._signed_in(request):
            raise Refused(403, "Permission denied.")
        versions = self._state.versions(self._published(request).parent)
        following = next((v for v in versions if v.record is None), None)
        if following is None:
            latest = next(v.record for v in versions if v.record is not None)
            body = {**latest, "created": now(), "updated": now(), "revision": 1, "reserved": False, "errors": []}
            body["metadata"] = {k: v for k, v in latest["metadata"].items() if k not in {"publication_date", "version"}}
            following = self._state.create(body, versions[0].parent)
        return rdm(self._shapes(request).draft(following), 201)

    async def _publish(self, request: Request) -> Response:
        entry, body = self._open_draft(request)
        errors = body["errors"] or problems(body["metadata"])
        if errors:
            raise Refused(400, INVALID, errors)
        if entry.record is None:
            files = self._state.files(entry.id, draft=True)
            if not files and body["files_enabled"]:
                missing = "Missing uploaded files. To disable files for this record please mark it as metadata-only."
                raise Refused(400, INVALID, [{"field": "files.enabled", "messages": [missing]}])
            if any(not f.committed for f in files):
                raise Refused(400, "One or more files have not completed their transfer, please wait.")
        created = entry.record["created"] if entry.record else now()
        record = {**body, "created": created, "updated": now(), "revision": body["revision"] + 1}
        return rdm(self._shapes(request).record(self._state.publish(entry, record)), 202)

    async def _draft_files(self, request: Request) -> Response:
        entry, _ = self._open_draft(request)
        return JSONResponse(self._shapes(request).files(entry, draft=entry.record is None))

    async def _announce(self, request: Request) -> Response:
        entries = await document_of(request)
        entry = self._files_of_new_draft(request)
        keys = [str(e["key"]) for e in entries]
        there = {f.key for f in self._state.files(entry.id, draft=True)}
        for key in keys:
            if key in there or keys.count(key) > 1:
                raise Refused(400, f"File with key {key} already exists.")
        if len(there) + len(keys) > MOST_FILES:
            raise Refused(400, "Uploading selected files will result in exceeding the max amount per record.")
        self._state.add_files(entry.id, keys)
        return JSONResponse(self._shapes(request).files(entry, draft=True), 201)

    async def _draft_file(self, request: Request) -> Response:
        entry, _ = self._open_draft(request)
        draft = entry.record is None
        return JSONResponse(self._shapes(request).file(entry, self._file(request, entry, draft=draft), draft=draft))

    async def _content(self, request: Request) -> Response:
        entry = self._files_of_new_draft(request)
        file = self._file(request, entry, draft=True)
        if file.blob is not None:
            raise Refused(400, f'File with key "{file.key}" is already committed.')
        if request.headers.get("content-type", "").startswith("application/json"):
            raise Refused(415, "Invalid 'Content-Type' header. Expected one of: application/octet-stream")
        used = sum(f.size or 0 for f in self._state.files(entry.id, draft=True))
        if used + int(request.headers.get("content-length", 0)) > MOST_BYTES:
            raise Refused(400, "Bucket quota exceeded.")
        md5, size = hashlib.md5(usedforsecurity=False), 0
        with tempfile.NamedTemporaryFile(dir=self._state.blobs, delete=False) as arriving:
            path = Path(arriving.name)
            try:
                async for chunk in request.stream():
                    arriving.write(chunk)
                    md5.update(chunk)
                    size += len(chunk)
            except ClientDisconnect:
                path.unlink()
                raise Refused(400, f'Transfer of File with key "{file.key}" failed.') from None
        # Looked at again: while the body arrived, another request may have deleted or filled the entry.
        file = self._file(request, entry, draft=True)
        if size == 0 or file.blob is not None:
            path.unlink()
            raise Refused(400, "Empty files are not accepted." if size == 0 else "The file is already committed.")
        self._state.fill_file(file, path, size, md5.hexdigest())
        return JSONResponse(self._shapes(request).file(entry, self._file(request, entry, draft=True), draft=True))

    async def _commit(self, request: Request) -> Response:
        entry = self._files_of_new_draft(request)
        file = self._file(request, entry, draft=True)
        if file.blob is None or file.committed:
            raise Refused(400, f'File with key "{file.key}" has no content to commit.')
        self._state.commit_file(file)
        return JSONResponse(self._shapes(request).file(entry, self._file(request, entry, draft=True), draft=True))

    async def _delete_one(self, request: Request) -> Response:
        entry = self._files_of_new_draft(request)
        self._state.delete_files([self._file(request, entry, draft=True)])
        return Response(status_code=204)

    async def _delete_all(self, request: Request) -> Response:
        self._state.delete_files(self._state.files(self._files_of_new_draft(request).id, draft=True))
        return Response(status_code=204)

    async def _import(self, request: Request) -> Response:
        entry = self._files_of_new_draft(request)
        before = next((v for v in self._state.versions(entry.parent) if v.record is not None), None)
        if before is None:
            raise Refused(400, "The record has no files.")
        if self._state.files(entry.id, draft=True):
            raise Refused(400, "Please remove all files first.")
        self._state.import_files(before.id, entry.id)
        return JSONResponse(self._shapes(request).files(entry, draft=True), 201)

    async def _draft_content(self, request: Request) -> Response:
        entry, _ = self._open_draft(request)
        return self._whole(self._file(request, entry, draft=entry.record is None))


def _draft_body(document: dict[str, Any], before: dict[str, Any] | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A draft as it is kept: the whole document replaces what was there; of invalid metadata the valid part stays."""
    metadata = document.get("metadata") or {}
    errors = problems(metadata)
    body = {
        "metadata": valid_part(metadata, errors),
        "custom_fields": document.get("custom_fields") or {},
        "access": {k: (document.get("access") or {}).get(k, "public") for k in ("record", "files")},
        "files_enabled": (document.get("files") or {}).get("enabled", True),
        "reserved": before["reserved"] if before else False,
        "created": before["created"] if before else now(),
        "updated": now(),
        "revision": before["revision"] + 1 if before else 1,
        "errors": errors,
    }
    return body, errors
