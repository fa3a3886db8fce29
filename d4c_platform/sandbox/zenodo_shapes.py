"""The shapes of the sandbox Zenodo's answers: RDM documents, the older JSON that is its default, files, errors.

Ids are text in RDM documents and numbers in the older JSON; checksums are `md5:…` here. Links are absolute, as Zenodo's are.
"""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from d4c_platform.sandbox.zenodo_state import Entry, File, ZenodoState

TITLES = {"eng": "English", "fra": "French", "dataset": "Dataset", "ogl-canada-2.0": "Open Government Licence - Canada"}


@dataclass(frozen=True, slots=True)
class Shapes:
    """Builds answers for one site."""

    state: ZenodoState
    site: str
    prefix: str

    def doi(self, record_id: int) -> str:
        return f"{self.prefix}/zenodo.{record_id}"

    def draft(self, entry: Entry, errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The RDM document of an entry's draft."""
        assert entry.draft is not None
        document = self._document(entry, entry.draft, draft=True)
        return {**document, "errors": errors} if errors else document

    def record(self, entry: Entry) -> dict[str, Any]:
        """The RDM document of an entry's published record."""
        assert entry.record is not None
        return self._document(entry, entry.record, draft=False)

    def older(self, entry: Entry) -> dict[str, Any]:
        """The published record in the JSON that Zenodo answers when it is not asked for RDM."""
        assert entry.record is not None
        metadata = entry.record["metadata"]
        return {
            "created": entry.record["created"],
            "modified": entry.record["updated"],
            "id": entry.id,
            "conceptrecid": str(entry.parent),
            "doi": self.doi(entry.id),
            "conceptdoi": self.doi(entry.parent),
            "doi_url": f"https://doi.org/{self.doi(entry.id)}",
            "metadata": {
                "title": metadata.get("title"),
                "doi": self.doi(entry.id),
                "publication_date": metadata.get("publication_date"),
                "description": metadata.get("description"),
                "access_right": "open",
                "creators": [{"name": c["person_or_org"].get("name"), "affiliation": None} for c in metadata["creators"]],
                "resource_type": {"title": "Dataset", "type": "dataset"},
                "version": metadata.get("version"),
            },
            "title": metadata.get("title"),
            "links": {"self": self._api(entry.id), "self_html": f"{self.site}/records/{entry.id}"},
            "recid": str(entry.id),
            "revision": entry.record["revision"],
            "files": [
                {
                    "id": f.id,
                    "key": f.key,
                    "size": f.size,
                    "checksum": f"md5:{f.md5}",
                    "links": {"self": f"{self._api(entry.id)}/files/{quote(f.key)}/content"},
                }
                for f in self.state.files(entry.id, draft=False)
            ],
            "status": "published",
            "state": "done",
            "submitted": True,
        }

    def file(self, entry: Entry, file: File, *, draft: bool) -> dict[str, Any]:
        self_link = f"{self._api(entry.id)}{'/draft' if draft else ''}/files/{quote(file.key)}"
        shape: dict[str, Any] = {
            "created": file.created,
            "updated": file.updated,
            "key": file.key,
            "metadata": None,
            "access": {"hidden": False},
            "status": "completed" if file.committed else "pending",
            "transfer": {"type": "L"},
            "links": {"self": self_link, "content": f"{self_link}/content"},
        }
        if draft:
            shape["links"]["commit"] = f"{self_link}/commit"
        if file.committed:
            shape |= {
                "checksum": f"md5:{file.md5}",
                "size": file.size,
                "mimetype": mimetypes.guess_type(file.key)[0] or "application/octet-stream",
                "file_id": file.blob,
                "version_id": file.id,
                "bucket_id": f"{entry.id}-{'draft' if draft else 'record'}",
                "storage_class": "L",
            }
        return shape

    def files(self, entry: Entry, *, draft: bool) -> dict[str, Any]:
        return {
            "enabled": True,
            "links": {"self": f"{self._api(entry.id)}{'/draft' if draft else ''}/files"},
            "entries": [self.file(entry, f, draft=draft) for f in self.state.files(entry.id, draft=draft)],
            "default_preview": None,
            "order": [],
        }

    def hits(self, documents: list[dict[str, Any]], page: int, size: int, path: str) -> dict[str, Any]:
        return {
            "hits": {"hits": documents[(page - 1) * size : page * size], "total": len(documents)},
            "aggregations": {},
            "sortBy": "newest",
            "links": {"self": f"{self.site}{path}?page={page}&size={size}"},
        }

    def _document(self, entry: Entry, body: dict[str, Any], *, draft: bool) -> dict[str, Any]:
        files = self.state.files(entry.id, draft=draft and entry.record is None)
        versions = self.state.versions(entry.parent)
        published = [v for v in versions if v.record is not None]
        doi = {"identifier": self.doi(entry.id), "provider": "datacite", "client": "datacite"}
        concept = {"identifier": self.doi(entry.parent), "provider": "datacite", "client": "datacite"}
        return {
            "id": str(entry.id),
            "created": body["created"],
            "updated": body["updated"],
            "revision_id": body["revision"],
            "expires_at": None,
            "is_published": entry.record is not None,
            "is_draft": draft,
            "links": self._links(entry, draft=draft),
            "metadata": _expanded(body["metadata"]),
            "custom_fields": body["custom_fields"],
            "access": {**body["access"], "embargo": {"active": False, "reason": None}, "status": "open"},
            "files": {
                "enabled": body["files_enabled"],
                "order": [],
                "count": len(files),
                "total_bytes": sum(f.size or 0 for f in files),
                "entries": {f.key: self.file(entry, f, draft=draft) for f in files},
            },
            "media_files": {"enabled": False, "order": [], "count": 0, "total_bytes": 0, "entries": {}},
            "pids": {"doi": doi} if entry.record is not None or body["reserved"] else {},
            "parent": {
                "id": str(entry.parent),
                "access": {"owned_by": {"user": "1"}},
                "communities": {},
                "pids": {"doi": concept} if published else {},
            },
            "versions": {
                "index": entry.index,
                "is_latest": bool(published) and published[0].id == entry.id,
                "is_latest_draft": versions[0].id == entry.id,
            },
            "status": "published" if not draft else "new_version_draft" if published else "draft",
        }

    def _links(self, entry: Entry, *, draft: bool) -> dict[str, str]:
        api = self._api(entry.id)
        links = {"record": api, "record_html": f"{self.site}/records/{entry.id}", "versions": f"{api}/versions"}
        if draft:
            here = f"{api}/draft"
            return {
                **links,
                "self": here,
                "self_html": f"{self.site}/uploads/{entry.id}",
                "publish": f"{here}/actions/publish",
                "files": f"{here}/files",
                "reserve_doi": f"{here}/pids/doi",
            }
        return {
            **links,
            "self": api,
            "self_html": f"{self.site}/records/{entry.id}",
            "doi": f"https://doi.org/{self.doi(entry.id)}",
            "files": f"{api}/files",
            "draft": f"{api}/draft",
            "latest": f"{api}/versions/latest",
            "latest_html": f"{self.site}/records/{entry.id}/latest",
        }

    def _api(self, record_id: int) -> str:
        return f"{self.site}/api/records/{record_id}"


def _expanded(metadata: dict[str, Any]) -> dict[str, Any]:
    """Entries of vocabularies come back with their titles."""

    def titled(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "title": {"en": TITLES.get(entry["id"], entry["id"])}} if "id" in entry else entry

    expanded = dict(metadata)
    if "resource_type" in metadata:
        expanded["resource_type"] = titled(metadata["resource_type"])
    for field in ("languages", "rights"):
        if field in metadata:
            expanded[field] = [titled(entry) for entry in metadata[field]]
    return expanded
