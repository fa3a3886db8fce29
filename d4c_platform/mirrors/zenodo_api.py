"""A thin, typed client of Zenodo's records API (InvenioRDM): one method a call, no strategy.

The types carry the order of things: only a `Described` draft takes files, only a `Complete` one can be published. Creating and
publishing are never repeated here, because Zenodo may answer 504 after it has done them: the caller settles that by reading.

The token is sent in the `Authorization` header alone: in a query it would end in logs and in the links Zenodo returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from d4c_platform.web import LONGEST_WAIT_S, HttpRefusal, HttpTrouble, Web

WHERE = "zenodo"
RDM_JSON = "application/vnd.inveniordm.v1+json"  # without it Zenodo answers in its older, different format
UPLOAD_TIMEOUT_S = 3600.0  # Zenodo hashes and stores a large file before it answers
TURNS_AWAY = 3  # how often one call may meet 429 before the run is left to the next one
PAGE = 25


@dataclass(frozen=True, slots=True)
class Draft:
    """An unpublished draft, or the edit draft of a published record."""

    record_id: str
    revision: int
    is_published: bool
    created: str
    document: Mapping[str, Any]
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A draft whose metadata was written, read back and found right."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class Complete:
    """A described draft with every file of the version and no other."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class Record:
    """A published record."""

    record_id: str
    doi: str
    concept_doi: str | None
    created: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a draft or record; `md5` and `size` are known once it is completed."""

    key: str
    completed: bool
    md5: str | None
    size: int | None


class ZenodoApi:
    """The records API of one Zenodo.

    Args:
        site: the site's root, for instance ``https://zenodo.org``.
    """

    def __init__(self, web: Web, site: str, token: str) -> None:
        self._web, self.site = web, site.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": RDM_JSON}

    def create(self, document: Mapping[str, Any]) -> Draft:
        """Create a draft. Not idempotent: an `HttpTrouble` may have left one behind."""
        return _draft(self._post("records", json=document).json())

    def next_version(self, record_id: str) -> Draft:
        """The draft of the next version of a record's concept: created, or the one that exists."""
        return _draft(self._post(f"records/{record_id}/versions").json())

    def draft(self, record_id: str) -> Draft | None:
        answer = self._get(f"records/{record_id}/draft", missing={404, 410})
        return _draft(answer.json()) if answer is not None else None

    def record(self, record_id: str) -> Record | None:
        """The published record with exactly this id; None when there is none (a draft, or the id of a concept)."""
        answer = self._get(f"records/{record_id}", missing={404, 410})
        if answer is None or str(answer.json()["id"]) != record_id:
            return None
        return _record(answer.json())

    def own(self, field: str, value: str) -> Iterator[tuple[str, bool, Mapping[str, Any]]]:
        """Our drafts and records with this value in a field: id, whether it is published, document."""
        query = {"q": f'{field}:"{value}"', "size": str(PAGE), "allversions": "true", "all_versions": "true"}
        for hit in self._request("GET", "user/records", params=query).json()["hits"]["hits"]:
            yield str(hit["id"]), bool(hit.get("is_published")), hit

    def save(self, draft: Draft, document: Mapping[str, Any]) -> Draft:
        """Replace the draft's whole document, if nobody changed it since it was read (412 otherwise).

        Zenodo answers 200 to invalid metadata too: it keeps the valid part and lists the rest in `errors`.
        """
        headers = {"If-Match": f'"{draft.revision}"'}
        return _draft(self._request("PUT", f"records/{draft.record_id}/draft", json=document, headers=headers).json())

    def delete_draft(self, record_id: str) -> None:
        self._request("DELETE", f"records/{record_id}/draft", missing={404, 410})

    def files(self, record_id: str, *, published: bool = False) -> dict[str, RemoteFile]:
        path = f"records/{record_id}/files" if published else f"records/{record_id}/draft/files"
        return {f.key: f for f in map(_file, self._request("GET", path).json().get("entries", []))}

    def file(self, draft: Draft, key: str) -> RemoteFile | None:
        answer = self._get(_file_path(draft, key), missing={404})
        return _file(answer.json()) if answer is not None else None

    def delete_file(self, draft: Draft, key: str) -> None:
        self._request("DELETE", _file_path(draft, key), missing={404})

    def announce(self, described: Described, key: str) -> None:
        """Start a file: a pending entry that blocks publication until it is committed."""
        self._post(f"records/{described.draft.record_id}/draft/files", json=[{"key": key}])

    def send(self, described: Described, key: str, size: int, body: Callable[[], Iterator[bytes]]) -> None:
        """Send a started file's bytes, once: Zenodo refuses a second body for the same entry."""
        self._request(
            "PUT",
            f"{_file_path(described.draft, key)}/content",
            retry=False,
            content=body,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            timeout=httpx.Timeout(UPLOAD_TIMEOUT_S, connect=10.0),
        )

    def commit(self, described: Described, key: str) -> RemoteFile:
        return _file(self._post(f"{_file_path(described.draft, key)}/commit").json())

    def publish(self, complete: Complete) -> Record:
        """Mint the DOI. Forever. An `HttpTrouble`, and a 404, may mean that it is done."""
        return _record(self._post(f"records/{complete.draft.record_id}/draft/actions/publish").json())

    def page(self, record_id: str) -> str:
        return f"{self.site}/records/{record_id}"

    def draft_page(self, record_id: str) -> str:
        return f"{self.site}/uploads/{record_id}"

    def download(self, record_id: str, key: str) -> str:
        """The URL for readers: the only form that honours Range."""
        return f"{self.site}/records/{record_id}/files/{quote(key)}?download=1"

    def _get(self, path: str, *, missing: Set[int]) -> httpx.Response | None:
        answer = self._request("GET", path, missing=missing)
        return None if answer.status_code in missing else answer

    def _post(self, path: str, **options: Any) -> httpx.Response:
        for _ in range(TURNS_AWAY):
            try:
                return self._request("POST", path, **options)
            except HttpTrouble as trouble:
                # 429 is the one trouble that says the action was not performed: the call may wait and repeat.
                if trouble.status != 429 or trouble.retry_after_s is None or trouble.retry_after_s > LONGEST_WAIT_S:
                    raise
                time.sleep(trouble.retry_after_s)
        return self._request("POST", path, **options)

    def _request(
        self,
        method: str,
        path: str,
        *,
        missing: Set[int] = frozenset(),
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        try:
            answer = self._web.request(
                method,
                f"{self.site}/api/{path}",
                where=WHERE,
                ok=lambda status: 200 <= status < 300 or status in missing,
                headers={**self._headers, **(headers or {})},
                **options,
            )
        except HttpRefusal as refusal:
            if refusal.status in {401, 403}:
                refusal.remedy = "Check the token: its site, its account, and the scopes deposit:write and deposit:actions"
            raise
        if answer.content and "json" not in answer.headers.get("Content-Type", ""):
            raise HttpTrouble(
                "answered with a page instead of JSON", status=answer.status_code, where=WHERE, file=f"{self.site}/api/{path}"
            )
        return answer


def problems_of(refusal: HttpRefusal) -> str:
    """What Zenodo's validation says, from an error answer."""
    try:
        document = httpx.Response(refusal.status, text=refusal.body).json()
        found = "; ".join(_problems(document)) or str(document.get("message", ""))
    except (ValueError, AttributeError):
        found = ""
    return found or f"answered {refusal.status}"


def _file_path(draft: Draft, key: str) -> str:
    return f"records/{draft.record_id}/draft/files/{quote(key, safe='')}"


def _problems(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Validation errors as sentences: Zenodo writes `messages`, older answers `message`."""
    return tuple(
        f"{e.get('field', '')}: {' '.join(map(str, e.get('messages') or [e.get('message', '')]))}"
        for e in document.get("errors") or ()
    )


def _draft(document: Mapping[str, Any]) -> Draft:
    return Draft(
        record_id=str(document["id"]),
        revision=int(document["revision_id"]),
        is_published=bool(document.get("is_published")),
        created=str(document["created"]),
        document=document,
        errors=_problems(document),
    )


def _record(document: Mapping[str, Any]) -> Record:
    concept = document.get("parent", {}).get("pids", {}).get("doi", {}).get("identifier")
    return Record(
        record_id=str(document["id"]),
        doi=str(document["pids"]["doi"]["identifier"]),
        concept_doi=concept,
        created=str(document["created"]),
        document=document,
    )


def _file(document: Mapping[str, Any]) -> RemoteFile:
    checksum = str(document.get("checksum") or "")
    return RemoteFile(
        key=str(document["key"]),
        completed=document.get("status", "completed") == "completed",
        md5=checksum.removeprefix("md5:") if checksum.startswith("md5:") else None,
        size=document.get("size"),
    )
