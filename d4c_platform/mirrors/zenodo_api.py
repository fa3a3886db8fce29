"""A thin, typed client of Zenodo's records API (InvenioRDM): one method a call, no strategy.

The types carry the order of things: only a `Described` draft takes files, only a `Complete` one can be published. Creating and
publishing are never repeated here, because Zenodo may answer 504 after it has done them: the caller settles that by reading.
An answer that is cut short, or no document of ours, is such an `HttpTrouble` too: what it answers to may have been done.

The token is sent in the `Authorization` header alone: in a query it would end in logs and in the links Zenodo returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from d4c_platform.web import HttpRefusal, HttpTrouble, Web, without_query

WHERE = "zenodo"
RDM_JSON = "application/vnd.inveniordm.v1+json"  # without it Zenodo answers in its older, different format
UPLOAD_TIMEOUT_S = 3600.0  # Zenodo hashes and stores a large file before it answers
PAGE = 25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Draft:
    """An unpublished draft, or the edit draft of a published record. `concept` is what its versions have in common."""

    record_id: str
    concept: str
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
    concept: str
    doi: str
    concept_doi: str | None
    created: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """A draft or record as a search shows it: later than it happens."""

    record_id: str
    is_published: bool
    concept: str | None
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
        return self._read(self._request("POST", "records", json=document), _draft)

    def next_version(self, record_id: str) -> Draft:
        """The draft of the next version of a record's concept: created, or the one that exists."""
        return self._read(self._request("POST", f"records/{record_id}/versions"), _draft)

    def draft(self, record_id: str) -> Draft | None:
        answer = self._get(f"records/{record_id}/draft", missing={404, 410})
        return self._read(answer, _draft) if answer is not None else None

    def record(self, record_id: str) -> Record | None:
        """The published record with exactly this id; None when there is none (a draft, or the id of a concept)."""
        answer = self._get(f"records/{record_id}", missing={404, 410})
        return self._read(answer, lambda d: _record(d) if str(d["id"]) == record_id else None) if answer is not None else None

    def own(self, field: str, value: str) -> tuple[Hit, ...]:
        """Our drafts and records with this value in a field."""
        query = {"q": f'{field}:"{value}"', "size": str(PAGE), "allversions": "true", "all_versions": "true"}
        answer = self._request("GET", "user/records", params=query)
        return self._read(answer, lambda d: tuple(map(_hit, d["hits"]["hits"])))

    def save(self, draft: Draft, document: Mapping[str, Any]) -> Draft:
        """Replace the draft's whole document, if nobody changed it since it was read (412 otherwise).

        Zenodo answers 200 to invalid metadata too: it keeps the valid part and lists the rest in `errors`.
        """
        headers = {"If-Match": f'"{draft.revision}"'}
        return self._read(self._request("PUT", f"records/{draft.record_id}/draft", json=document, headers=headers), _draft)

    def delete_draft(self, record_id: str) -> None:
        self._request("DELETE", f"records/{record_id}/draft", missing={404, 410})

    def files(self, record_id: str, *, published: bool = False) -> dict[str, RemoteFile]:
        path = f"records/{record_id}/files" if published else f"records/{record_id}/draft/files"
        return self._read(self._request("GET", path), _files)

    def file(self, draft: Draft, key: str) -> RemoteFile | None:
        answer = self._get(_file_path(draft, key), missing={404})
        return self._read(answer, _file) if answer is not None else None

    def delete_file(self, draft: Draft, key: str) -> None:
        self._request("DELETE", _file_path(draft, key), missing={404})

    def announce(self, described: Described, key: str) -> None:
        """Start a file: a pending entry that blocks publication until it is committed."""
        self._request("POST", f"records/{described.draft.record_id}/draft/files", json=[{"key": key}])

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
        return self._read(self._request("POST", f"{_file_path(described.draft, key)}/commit"), _file)

    def publish(self, complete: Complete) -> Record:
        """Mint the DOI. Forever. An `HttpTrouble`, and a 404, may mean that it is done."""
        return self._read(self._request("POST", f"records/{complete.draft.record_id}/draft/actions/publish"), _record)

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

    def _read(self, answer: httpx.Response, shape: Callable[[Any], T]) -> T:
        """The one place where an answer becomes a value."""
        try:
            return shape(answer.json())
        # ValueError: cut short; RecursionError: nested without end; the others: its shape
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise HttpTrouble(
                f"answered {answer.status_code} with JSON that is cut short or of an unexpected shape ({type(error).__name__})",
                status=answer.status_code,
                where=WHERE,
                file=without_query(str(answer.url)),
                remedy="Run this step again; when it stays, Zenodo has changed its API",
            ) from error

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
    except (ValueError, AttributeError, TypeError):
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
        concept=str(document["parent"]["id"]),
        revision=int(document["revision_id"]),
        is_published=bool(document.get("is_published")),
        created=_time(document["created"]),
        document=_with_metadata(document),
        errors=_problems(document),
    )


def _record(document: Mapping[str, Any]) -> Record:
    return Record(
        record_id=str(document["id"]),
        concept=str(document["parent"]["id"]),
        doi=str(document["pids"]["doi"]["identifier"]),
        concept_doi=document["parent"].get("pids", {}).get("doi", {}).get("identifier"),
        created=_time(document["created"]),
        document=_with_metadata(document),
    )


def _hit(document: Mapping[str, Any]) -> Hit:
    return Hit(
        record_id=str(document["id"]),
        is_published=bool(document.get("is_published")),
        concept=str(document["parent"]["id"]) if "parent" in document else None,
        document=_with_metadata(document),
    )


def _with_metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document, once it is seen that its metadata can be looked into. An empty draft has none."""
    metadata = document.get("metadata", {})
    if not isinstance(metadata, Mapping) or not all(isinstance(i, Mapping) for i in metadata.get("identifiers", [])):
        raise TypeError("metadata")
    return document


def _time(value: Any) -> str:
    return datetime.fromisoformat(value).isoformat()


def _files(document: Mapping[str, Any]) -> dict[str, RemoteFile]:
    """The files of a list. Only one that says it has none may leave them out: nothing must not be read into another answer."""
    entries = document["entries"] if document.get("enabled", True) else ()
    return {f.key: f for f in map(_file, entries)}


def _file(document: Mapping[str, Any]) -> RemoteFile:
    checksum = str(document.get("checksum") or "")
    return RemoteFile(
        key=str(document["key"]),
        completed=document.get("status", "completed") == "completed",
        md5=checksum.removeprefix("md5:") if checksum.startswith("md5:") else None,
        size=document.get("size"),
    )
