"""The strict latest: `processed/<dataset-id>.<ext>` is the newest published version's bytes, or nothing.

Each look goes in this order: what is served now, then which version is the newest, then one write on the condition that what is
served is still what was seen. Whoever decided on older knowledge therefore loses the write and decides again, so the
latest cannot go backwards, however many publishers race and wherever they are killed. A look that found something to change is
followed by another: only a look with nothing left to do ends it.

A version counts once its copies on the portal are recorded and while it is not withdrawn. A file that the newest version
does not have (it has no tiles any more, or the last version was withdrawn) is removed rather than left as an old truth.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from d4c_platform.model.dataset import Dataset, ReleaseVintage
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Artifact, Build, Copies, Withdrawal
from d4c_platform.storage import proof
from d4c_platform.storage.records import Records
from d4c_platform.storage.store import NO_CACHE, Conflict, NoObject, ObjectStore

PROCESSED = "processed/"
ATTEMPTS = 30  # looks at one dataset; each conflict means that another publisher moved forward


def processed_key(dataset_id: str, ext: str) -> str:
    """The one URL of a dataset that never changes."""
    return f"{PROCESSED}{dataset_id}.{ext}"


def extension(version_id: str, artifact: Artifact) -> str:
    """The artifact's extension. Raises PermanentFailure when the file is not named after its version."""
    stem, _, ext = artifact.file.partition(f"{version_id}.")
    if stem or not ext:
        raise PermanentFailure(
            "an artifact's file must be named `<version-id>.<ext>`", where="portal", version=version_id, file=artifact.file
        )
    return ext


def newest(records: Records, dataset: Dataset) -> str | None:
    """Id of the newest version that is on the portal and not withdrawn."""
    from_release = isinstance(dataset.vintage, ReleaseVintage)
    for version_id in reversed(records.of_dataset(dataset.id, vintage_from_release=from_release)):
        if records.read(Copies, version_id, place="portal") and not records.read(Withdrawal, version_id):
            return version_id
    return None


def switch(store: ObjectStore, records: Records, dataset: Dataset, version_key: Callable[[str, str], str]) -> str | None:
    """Make `processed/` serve the newest version; returns its id, None when there is none.

    Raises:
        PermanentFailure: the newest version's file is missing or damaged; what was served before stays.
        TransientFailure: other publishers were faster every time.
    """
    known: set[str] = set()
    for attempt in range(ATTEMPTS):
        known |= {info.key for info in store.list(f"{PROCESSED}{dataset.id}.")}
        served = {key: store.head(key) for key in known}
        version_id = newest(records, dataset)
        wanted = _wanted(records, dataset, version_id)
        known |= wanted.keys()  # a listing may lag behind; the next look asks for these by name
        changed = False
        try:
            for key, artifact in wanted.items():
                present = served.get(key)
                if not proof.holds(store, present, artifact.digests.bytes, artifact.digests.sha256):
                    source = version_key(str(version_id), artifact.file)
                    _require_intact(store, source, str(version_id), artifact)
                    changed = True
                    store.copy(
                        source,
                        key,
                        cache_control=NO_CACHE,
                        if_absent=present is None,
                        if_match=None if present is None else present.etag,
                    )
            for key in sorted(k for k, info in served.items() if info is not None and k not in wanted):
                changed = True
                store.delete(key)
        except (Conflict, NoObject):
            time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 5)))
            continue
        if not changed:
            return version_id
    raise TransientFailure(
        "other publishers moved the latest each time it was about to be switched",
        where="portal",
        dataset=dataset.id,
        kept="What they published stays",
    )


def _wanted(records: Records, dataset: Dataset, version_id: str | None) -> dict[str, Artifact]:
    if version_id is None:
        return {}
    build = records.read(Build, version_id)
    if build is None:
        raise PermanentFailure(
            "the version is on the portal but has no artifact record",
            where="portal",
            version=version_id,
            kept="The previous latest stays",
            remedy="Restore its artifact.json, or withdraw the version",
        )
    return {processed_key(dataset.id, extension(version_id, a)): a for a in build.files}


def _require_intact(store: ObjectStore, key: str, version_id: str, artifact: Artifact) -> None:
    if not proof.holds(store, store.head(key), artifact.digests.bytes, artifact.digests.sha256):
        raise PermanentFailure(
            f"the version's file is missing or damaged; expected sha-256 {artifact.digests.sha256}",
            where="portal",
            version=version_id,
            file=key,
            kept="The previous latest stays",
            remedy="Restore the object from another copy of the same bytes, or withdraw the version",
        )
