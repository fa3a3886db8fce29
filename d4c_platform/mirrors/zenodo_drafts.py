"""The version's draft on Zenodo: found, or begun exactly once, and described.

Creating is not idempotent and may be answered with a timeout. So the draft's id is stored as soon as it is known, and before
anything is created Zenodo is asked for a draft or record that carries the version id.

Not here: files (zenodo_files), publication (zenodo).
"""

from __future__ import annotations

from datetime import UTC, datetime

from d4c_platform.mirrors.mirror import PublishedVersion
from d4c_platform.mirrors.zenodo_api import Described, Draft, Record, ZenodoApi, problems_of
from d4c_platform.mirrors.zenodo_metadata import MARKER_FIELD, differences, document_of, marker_of
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import ZenodoDraft
from d4c_platform.storage.records import Records
from d4c_platform.web import HttpRefusal, HttpTrouble

INVALID = frozenset({400, 422})  # answers about what was sent; anything else is about who sent it, or where


def discarding(version_id: str) -> str:
    """The command with which a person discards a version's draft."""
    return f"d4c mirror discard zenodo {version_id}"


class Drafts:
    """The drafts of our account."""

    def __init__(self, api: ZenodoApi, records: Records) -> None:
        self._api, self._records = api, records

    def begin(self, version: PublishedVersion) -> Draft | Record:
        """The version's draft (found, or created) or its record, when it is already published."""
        found = self._found(version.version_id)
        if isinstance(found, Record):
            return found
        before = self._before(version.previous_record_id) if version.previous_record_id else None
        if found is not None and (before is None or found.concept == before.concept):
            return found
        if found is not None and self.is_ours(found, version.version_id):
            # Begun as a concept of its own, before the dataset had one. Published there it would stay apart for ever.
            self._api.delete_draft(found.record_id)
        draft = self._next(version, before) if before else self._create(version)
        if isinstance(draft, Draft):
            self._records.write(ZenodoDraft(version_id=version.version_id, record_id=draft.record_id))
        return draft

    def discard(self, version_id: str) -> None:
        """Delete every draft of the version, and the note of it, so that nobody waits for it.

        Raises:
            PermanentFailure: the version is published, or its draft was given to another one.
        """
        for known in self.known(version_id):
            if isinstance(known, Record):
                raise PermanentFailure(
                    f"record {known.record_id} is published and cannot be discarded",
                    kept="The record and its DOI stay",
                    remedy="Withdraw the version instead; its record stays citable",
                )
            if not self.is_ours(known, version_id):
                raise PermanentFailure(
                    f"draft {known.record_id} belongs to {marker_of(known.document) or 'something made by hand'} by now",
                    file=self._api.draft_page(known.record_id),
                    kept="It was not deleted",
                    remedy="Discard it under that version, or delete it on the site",
                )
            self._api.delete_draft(known.record_id)
        self._records.store.delete(self._records.key(ZenodoDraft, version_id))

    def is_ours(self, draft: Draft, version_id: str) -> bool:
        """Whether the draft is this version's alone: it carries its id, or nothing but Zenodo's copy of a published record."""
        marker = marker_of(draft.document)
        return marker == version_id or self._is_published(marker)

    def known(self, version_id: str) -> list[Draft | Record]:
        """What Zenodo has for this version: its record before any draft, then the oldest draft."""
        known: list[Draft | Record | None] = []
        noted = self._records.read(ZenodoDraft, version_id)
        if noted is not None:
            known = [self._read(noted.record_id)]
        if known in ([], [None]):  # never noted, or deleted since: search, which is slower to learn of things and rationed
            hits = self._api.own(MARKER_FIELD, version_id)
            known = [self._read(hit.record_id) for hit in hits if marker_of(hit.document) == version_id]
        return sorted((k for k in known if k is not None), key=lambda k: (isinstance(k, Draft), k.created))

    def _read(self, record_id: str) -> Draft | Record | None:
        draft = self._api.draft(record_id)
        return draft if draft is not None and not draft.is_published else self._api.record(record_id)

    def _found(self, version_id: str) -> Draft | Record | None:
        known = self.known(version_id)
        if not known or isinstance(known[0], Record):
            return known[0] if known else None
        draft, *others = known
        for other in others:  # a creation that was answered with a timeout, and the one after it
            self._api.delete_draft(other.record_id)
        self._records.write(ZenodoDraft(version_id=version_id, record_id=draft.record_id))
        return draft

    def _create(self, version: PublishedVersion) -> Draft | Record:
        today = datetime.now(UTC).date().isoformat()
        try:
            return self._api.create(document_of(version, today))
        except HttpTrouble:
            found = self._found(version.version_id)
            if found is None:
                raise  # not created, or not yet to be seen: the next run looks before it creates
            return found

    def _before(self, previous: str) -> Record:
        before = self._api.record(previous)
        if before is None:
            raise PermanentFailure(
                f"record {previous} of the previous version is not there, so its concept cannot be continued",
                remedy="Check that the token's account and the site are those the previous version was published with",
            )
        return before

    def _next(self, version: PublishedVersion, before: Record) -> Draft:
        """The concept's next draft: ours, or untouched since Zenodo copied it from the version before."""
        try:
            draft = self._api.next_version(before.record_id)
        except HttpTrouble:
            draft = self._api.next_version(before.record_id)  # idempotent: it returns the draft that exists
        marker = marker_of(draft.document)
        if marker not in {version.version_id, marker_of(before.document)} and not self._is_published(marker):
            by = f"`{discarding(marker)}`" if marker else "deleting it on the site"
            raise PermanentFailure(
                f"the next draft of this concept, {draft.record_id}, belongs to {marker or 'something made by hand'}",
                file=self._api.draft_page(draft.record_id),
                remedy=f"Publish that draft first, or discard it by {by}; then run this step again",
            )
        return draft

    def _is_published(self, marker: str | None) -> bool:
        """Whether a draft that carries this marker is only Zenodo's copy of the version before."""
        hits = self._api.own(MARKER_FIELD, marker) if marker else ()
        return any(hit.is_published and marker_of(hit.document) == marker for hit in hits)

    def sweep(self, version_id: str, record: Record) -> None:
        """Delete drafts of this version outside its concept: left by creations whose answer got lost."""
        for hit in self._api.own(MARKER_FIELD, version_id):
            if not hit.is_published and hit.concept != record.concept and marker_of(hit.document) == version_id:
                self._api.delete_draft(hit.record_id)


def describe(api: ZenodoApi, draft: Draft, version: PublishedVersion) -> Described:
    """Write the complete metadata, and read it back: what Zenodo did not understand it may have dropped.

    Raises:
        PermanentFailure: Zenodo refuses or changes what was written.
        TransientFailure: somebody else wrote at the same time.
    """
    wanted = document_of(version, draft.created[:10])
    kept = {key: draft.document[key] for key in ("pids", "custom_fields") if key in draft.document}
    errors: tuple[str, ...] = ()
    raced = False
    try:
        errors = api.save(draft, {**wanted, **kept}).errors
    except HttpRefusal as refusal:
        if refusal.status in INVALID:
            raise _metadata_refused(problems_of(refusal)) from refusal
        if refusal.status != 412:
            raise
        raced = True  # somebody was faster, or our own first save got no answer: reading back tells which
    if errors:
        raise _metadata_refused("; ".join(errors))
    saved = api.draft(draft.record_id)
    if saved is None:
        raise TransientFailure(f"draft {draft.record_id} went away while it was written", remedy="Run this step again")
    lost = "; ".join(list(differences(wanted, saved.document))[:5])
    if lost and raced:
        raise TransientFailure(f"draft {draft.record_id} was changed at the same time: {lost}", remedy="Run this step again")
    if lost:
        raise PermanentFailure(
            f"Zenodo does not keep what was written to draft {draft.record_id}: {lost}",
            file=api.draft_page(draft.record_id),
            remedy="Correct the dataset's declaration, then run this step again",
        )
    return Described(saved)


def _metadata_refused(problems: str) -> PermanentFailure:
    return PermanentFailure(
        f"Zenodo refuses the metadata: {problems}", remedy="Correct the dataset's declaration, then run this step again"
    )
