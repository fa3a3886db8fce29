"""Publish a version to Zenodo, exactly once.

A DOI cannot be taken back, and Zenodo may answer 504 after it has published. So every action is written as *look, then act*:
the draft's id is stored before its first byte, a draft whose creation got lost is found by the version id it carries, and an
ambiguous answer is settled by reading the record, never by repeating the call.

A draft goes through three types: `Draft` (zenodo_drafts), `Described` (metadata read back and right), `Complete` (files too,
zenodo_files). Only the last one can be published, and only when the gate is open; otherwise it waits for a person.

Two runs for one dataset must not overlap (Zenodo has one next draft a concept): orchestration keeps them apart.

Not here: when to publish (orchestration), what the record says (zenodo_metadata), the calls (zenodo_api).
"""

from __future__ import annotations

from datetime import UTC, datetime

from d4c_platform.mirrors.mirror import NOTHING_PUBLISHED, PublishedVersion
from d4c_platform.mirrors.proof import BY_SHA256, look_again, prove
from d4c_platform.mirrors.zenodo_api import WHERE, Complete, Record, ZenodoApi, problems_of
from d4c_platform.mirrors.zenodo_drafts import INVALID, Drafts, describe, discarding
from d4c_platform.mirrors.zenodo_files import artifacts_of, check_limits, files_of, fill
from d4c_platform.mirrors.zenodo_metadata import marker_of
from d4c_platform.model.errors import D4CError, PermanentFailure
from d4c_platform.model.records import Copies, Copy, Doi
from d4c_platform.storage.records import Records
from d4c_platform.web import HttpRefusal, HttpTrouble, Web

BY_MD5 = "md5+size"
DOI_KEPT = "The record and its DOI are published and stay; the previous latest stays too"
UPLOAD_ATTEMPTS = 3
GATE = "D4C_ZENODO_PUBLISH=true"  # the operator's setting, as settings reads it


class AwaitingApproval(PermanentFailure):
    """The draft is complete and the gate is closed: a person decides.

    Args:
        record_id: the draft's id.
        url: where a person looks at it.
    """

    def __init__(self, what: str, *, record_id: str, url: str, **facts: str | None) -> None:
        super().__init__(what, **facts)
        self.record_id, self.url = record_id, url


class Zenodo:
    """Zenodo as a mirror that also gives each version its DOI.

    Args:
        site: the site's root, for instance ``https://zenodo.org``.
        token: sent in the Authorization header only.
        publish_allowed: the gate. Closed, a version stops at its complete draft.
    """

    name = WHERE

    def __init__(
        self,
        web: Web,
        records: Records,
        site: str,
        token: str,
        *,
        publish_allowed: bool,
        upload_attempts: int = UPLOAD_ATTEMPTS,
        first_wait_s: float = 2.0,
    ) -> None:
        self._web, self._records, self._api = web, records, ZenodoApi(web, site, token)
        self._drafts = Drafts(self._api, records)
        self._publish_allowed = publish_allowed
        self._upload_attempts, self._first_wait_s = upload_attempts, first_wait_s

    def publish(self, version: PublishedVersion) -> Copies:
        """See `Mirror.publish`. Ends with one published record, its DOI and its copies, whatever was true before.

        Raises:
            AwaitingApproval: everything is ready and the gate is closed.
        """
        kept = NOTHING_PUBLISHED
        try:
            check_limits(files_of(version))
            doi = self._records.read(Doi, version.version_id)
            record = self._published(doi.record_id) if doi else self._make(version)
            kept = DOI_KEPT
            return self._settle(version, record)
        except D4CError as error:
            error.about(version=version.version_id, dataset=version.dataset.id, where=WHERE, kept=kept)
            raise

    def verify(self, copies: Copies) -> Copies:
        """See `Mirror.verify`."""
        return copies.model_copy(update={"copies": tuple(look_again(self._web, c, where=WHERE) for c in copies.copies)})

    def discard(self, version_id: str) -> None:
        """Delete the version's draft, and our note of it, if it is unpublished. A version without a draft is fine.

        Raises:
            PermanentFailure: the version is published: a DOI cannot be taken back; or its draft is another version's by now.
        """
        try:
            self._drafts.discard(version_id)
        except D4CError as error:
            error.about(version=version_id, where=WHERE)
            raise

    def _make(self, version: PublishedVersion) -> Record:
        """From whatever exists to a published record."""
        draft = self._drafts.begin(version)
        if isinstance(draft, Record):
            return draft
        described = describe(self._api, draft, version)
        return self._release(version, fill(self._api, described, version, self._upload_attempts, self._first_wait_s))

    def _release(self, version: PublishedVersion, complete: Complete) -> Record:
        """Through the gate: publish, and settle what an ambiguous answer leaves open."""
        record_id = complete.draft.record_id
        if not self._publish_allowed:
            raise AwaitingApproval(
                f"draft {record_id} is complete and waits for a person's approval, because publishing to Zenodo is not allowed",
                record_id=record_id,
                url=self._api.draft_page(record_id),
                file=self._api.draft_page(record_id),
                remedy=f"Look at the draft. To publish it, set `{GATE}` and run this step again; "
                f"to drop it, run `{discarding(version.version_id)}`",
            )
        self._still_ours(version, record_id)
        try:
            return self._api.publish(complete)
        except HttpTrouble as trouble:
            record = self._api.record(record_id)
            if record is None:
                trouble.about(kept=f"Draft {record_id} is complete and not published; the previous latest stays")
                raise
            return record
        except HttpRefusal as refusal:
            record = self._api.record(record_id) if refusal.status == 404 else None
            if record is not None:
                return record
            if refusal.status not in INVALID:
                raise
            raise PermanentFailure(
                f"Zenodo refuses to publish draft {record_id}: {problems_of(refusal)}",
                file=self._api.draft_page(record_id),
                remedy="Correct what it names, then run this step again",
            ) from refusal

    def _still_ours(self, version: PublishedVersion, record_id: str) -> None:
        """Uploads take hours. Ask once more whose draft it is before it becomes permanent."""
        draft = self._api.draft(record_id)
        if draft is not None and marker_of(draft.document) != version.version_id:
            other = marker_of(draft.document)
            by = f"run `{discarding(other)}`" if other else "delete the draft on the site"
            raise PermanentFailure(
                f"draft {record_id} was given to {other or 'something made by hand'} while it was filled",
                file=self._api.draft_page(record_id),
                remedy=f"Never publish two versions of a dataset at once; {by}, then run both steps again",
            )

    def _published(self, record_id: str) -> Record:
        record = self._api.record(record_id)
        if record is None:
            raise PermanentFailure(
                f"record {record_id} was published and is not there any more",
                file=self._api.page(record_id),
                kept="Its DOI stays recorded; nothing new was published",
                remedy="Ask Zenodo's support why it was removed",
            )
        return record

    def _settle(self, version: PublishedVersion, record: Record) -> Copies:
        """Record the DOI, then the copies: first as Zenodo's checksums prove them, then as a reader gets them."""
        there = self._api.files(record.record_id, published=True)
        # The artifacts only: a README written by newer code does not make a published record wrong.
        if other := [a.key for a in artifacts_of(version) if not a.same_as(there.get(a.key))]:
            raise PermanentFailure(
                f"record {record.record_id} is published without the artifact's bytes",
                file=", ".join(other),
                remedy="A published record cannot be changed: publish a new version",
            )
        self._records.write(
            Doi(
                version_id=version.version_id,
                doi=record.doi,
                concept_doi=record.concept_doi,
                record_id=record.record_id,
                url=self._api.page(record.record_id),
                published_at=datetime.fromisoformat(record.created),
            )
        )
        recorded = self._records.read(Copies, version.version_id, place=self.name)
        if recorded is not None and all(copy.verified == BY_SHA256 for copy in recorded.copies):
            return recorded
        self._drafts.sweep(version.version_id, record)
        copies = self._copies(version, record, BY_MD5)
        self._records.write(copies)
        for copy in copies.copies:
            prove(self._web, copy.url, size=copy.bytes, sha256=copy.sha256, where=WHERE)
        copies = self._copies(version, record, BY_SHA256)
        self._records.write(copies)
        return copies

    def _copies(self, version: PublishedVersion, record: Record, verified: str) -> Copies:
        return Copies(
            version_id=version.version_id,
            place=self.name,
            copies=tuple(
                Copy(
                    role=a.role,
                    url=self._api.download(record.record_id, a.file),
                    bytes=a.digests.bytes,
                    sha256=a.digests.sha256,
                    checked_at=datetime.now(UTC),
                    verified=verified,
                )
                for a in version.artifacts
            ),
        )
