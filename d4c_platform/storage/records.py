"""The facts of every version, as JSON documents in object storage.

`records/<version-id>/<document>.json` is written once: the same content again is fine (a step was repeated), other content is
a conflict that names the version and the document. Only documents that say so may be replaced, and then only by whoever saw
the last state. `releases/<dataset-id>/<release-key>.json` is the ledger: each release that a sensor noticed, kept as it was
first seen.

Not here: what a document says (model.records), or who writes which one (stages).
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from d4c_platform import naming
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate, Document
from d4c_platform.storage.ledger import RELEASES, Ledger
from d4c_platform.storage.store import NO_CACHE, Conflict, NoObject, ObjectInfo, ObjectStore

RECORDS = "records/"
REPLACE_ATTEMPTS = 12  # of one replaceable document; its writers are few, and each needs milliseconds
PLACE = re.compile(r"[a-z0-9][a-z0-9-]*")

D = TypeVar("D", bound=Document)
M = TypeVar("M", bound=BaseModel)


class Records:
    """The records and the ledger in one object store."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def key(self, kind: type[Document], version_id: str, place: str | None = None) -> str:
        """The object key of a document; `place` for the kinds that have one document a place."""
        if ("{place}" in kind.DOCUMENT) != (place is not None):
            raise ValueError(f"{kind.__name__} {'needs a' if place is None else 'has no'} place")
        if place is not None and not PLACE.fullmatch(place):
            raise ValueError(f"{place!r} is no name of a place")
        return f"{RECORDS}{version_id}/{kind.DOCUMENT.format(place=place)}"

    def read(self, kind: type[D], version_id: str, place: str | None = None) -> D | None:
        """The document, or None when nobody wrote it yet. Raises PermanentFailure when it is damaged or of a newer kind."""
        key = self.key(kind, version_id, place)
        try:
            document = _parse(kind, self.store.read(key), key)
        except NoObject:
            return None
        if document.version_id != version_id:
            raise PermanentFailure(
                f"this document is about {document.version_id}", where="records", version=version_id, file=key
            )
        return document

    def write(self, document: Document) -> None:
        """Write a document. Raises Conflict when other content is there already and the kind is written once."""
        kind, key = type(document), self._key_of(document)
        if kind.REPLACEABLE:
            self._replace(key, kind, lambda _: document)
        else:
            self._create(key, document, version=document.version_id)

    def update(self, kind: type[D], version_id: str, change: Callable[[D | None], D], place: str | None = None) -> D:
        """Replace a document by what `change` makes of the present one; it is called again when somebody else was faster."""
        if not kind.REPLACEABLE:
            raise ValueError(f"{kind.__name__} is written once")
        return self._replace(self.key(kind, version_id, place), kind, change)

    def versions(self) -> Iterator[str]:
        """Ids of all versions that have any record: dataset by dataset, oldest first."""
        yield from sorted(self._version_ids(RECORDS), key=_dataset_then_age)

    def of_dataset(self, dataset_id: str, vintage_from_release: bool) -> list[str]:
        """Ids of the dataset's versions that have any record, oldest first."""
        # A vintage from the release and the version stand last, so the ids of its versions begin with its own. (What it shares
        # with its sisters, thousands perhaps, would be a listing of them all.)
        ids = (
            v
            for v in self._version_ids(f"{RECORDS}{dataset_id}_")
            if naming.dataset_id_of(v, vintage_from_release=vintage_from_release) == dataset_id
        )
        return sorted(ids, key=_dataset_then_age)

    def notice(self, candidate: Candidate) -> Candidate:
        """Enter a release into the ledger; returns the entry that counts, which is the first one ever made for its key."""
        key = f"{RELEASES}{candidate.dataset_id}/{candidate.key}.json"
        try:
            self.store.put(key, _encode(candidate), media_type="application/json", cache_control=NO_CACHE, if_absent=True)
        except Conflict:
            return _parse(Candidate, self.store.read(key), key)
        return candidate

    def candidates(self, dataset_id: str) -> list[Candidate]:
        """Every release of the dataset that was ever noticed, in the order of release."""
        return Ledger(self.store, self._candidate, f"{RELEASES}{dataset_id}/").candidates(dataset_id)

    def ledger(self) -> Ledger:
        """The releases of all datasets, from one listing."""
        return Ledger(self.store, self._candidate)

    def _candidate(self, info: ObjectInfo) -> Candidate:
        return _parse(Candidate, self.store.read(info.key), info.key)

    def _key_of(self, document: Document) -> str:
        return self.key(type(document), document.version_id, getattr(document, "place", None))

    def _create(self, key: str, document: Document, version: str) -> None:
        body = _encode(document)
        try:
            self.store.put(key, body, media_type="application/json", cache_control=NO_CACHE, if_absent=True)
        except Conflict as conflict:
            kind = type(document)
            if _parse(kind, self.store.read(key), key) != _parse(kind, body, key):
                raise Conflict(
                    "another run wrote this document with other content",
                    where="records",
                    version=version,
                    file=key,
                    kept="The first one stays",
                    remedy="If it is wrong, withdraw this version and publish the next one",
                ) from conflict

    def _replace(self, key: str, kind: type[D], change: Callable[[D | None], D]) -> D:
        for attempt in range(REPLACE_ATTEMPTS):
            info = self.store.head(key)  # before the content: whoever replaces it after this makes our write fail
            try:
                present = None if info is None else _parse(kind, self.store.read(key), key)
            except NoObject:
                continue
            wanted = change(present)
            if present is not None and present == _parse(kind, _encode(wanted), key):
                return wanted
            try:
                self.store.put(
                    key,
                    _encode(wanted),
                    media_type="application/json",
                    cache_control=NO_CACHE,
                    if_absent=info is None,
                    if_match=None if info is None else info.etag,
                )
                return wanted
            except Conflict:
                time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 5)))
        raise TransientFailure("others replaced this document each time it was about to be written", where="records", file=key)

    def _version_ids(self, prefix: str) -> set[str]:
        segments = (info.key.removeprefix(RECORDS).split("/") for info in self.store.list(prefix))
        return {parts[0] for parts in segments if len(parts) > 1}


def _dataset_then_age(version_id: str) -> tuple[object, ...]:
    try:
        return (naming.dataset_id_of(version_id, vintage_from_release=True), *naming.order_key(version_id))
    except ValueError as error:
        raise PermanentFailure(
            f"a folder under {RECORDS} is not named after a version ({error})",
            where="records",
            file=f"{RECORDS}{version_id}/",
            remedy="Move it out of there",
        ) from error


def _encode(model: BaseModel) -> bytes:
    text = json.dumps(model.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _parse(kind: type[M], body: bytes, key: str) -> M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        newer = [".".join(map(str, e["loc"])) for e in error.errors() if e["type"] == "extra_forbidden"]
        first = error.errors()[0]
        if newer:
            what = f"has fields this release of the platform does not know ({', '.join(newer[:3])})"
            remedy = "Update the platform: a newer one wrote this document"
        else:
            what = f"is damaged ({'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']})"
            remedy = "Restore the object from a backup, or delete it and run the step that writes it again"
        raise PermanentFailure(what, where="records", file=key, kept="Nothing was changed", remedy=remedy) from error
