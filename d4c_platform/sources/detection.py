"""From what a source notices to the ledger: new candidates, each with the version id it will keep for ever.

The id is given before anything is fetched, because it is the partition key: the vintage says which data, SemVer says which
shape. Several sweeps may run at once, so an id is *claimed* for one release by a create-once document before the release
enters the ledger. Two releases can then never share an id, a sweep that was killed in between finds its own claim again, and
nothing has to be locked. (Choosing an id from a listing alone was rejected: two sweeps that list at the same moment choose
the same one.)

Keys are never reused: what was withdrawn still counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime

from d4c_platform import naming
from d4c_platform.model.dataset import Dataset, FixedVintage
from d4c_platform.model.records import Candidate
from d4c_platform.naming import SemVer
from d4c_platform.sources.source import Noticed, Source, eastern_date
from d4c_platform.storage.records import Records
from d4c_platform.storage.store import NO_CACHE, Conflict

CLAIMS = "claims/"
AGAIN_KEY, AGAIN_VERSION = "again_of", "again_of_version"
"""Hints of a release that is published again under a newly declared version: its key, and its version id before."""

DATE_FORMAT = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}


def detect(dataset: Dataset, source: Source, records: Records, now: datetime) -> list[Candidate]:
    """Look at a dataset's source and enter what is new into the ledger; returns the new entries, oldest first.

    A release that was published, or refused for too small a version number, is noticed *again* when the declaration now
    asks for a higher version of the same vintage.
    """
    seen = list(records.candidates(dataset.id))
    since = max((c.released_at for c in seen), default=None)
    known = {c.key for c in seen}
    noticed = [n for n in source.detect(dataset, since, seen, now) if n.key not in known]
    in_order = sorted(noticed, key=lambda n: (n.released_at, n.key))
    found = [_enter(dataset, n, _vintage(dataset, n.vintage_time), records, now) for n in in_order]
    newest = max([*seen, *found], key=lambda c: naming.order_key(c.version_id), default=None)
    if newest is not None and SemVer.parse(dataset.version) > _semver(newest.version_id):
        found.append(_enter(dataset, _again(dataset, newest), newest.vintage, records, now))
    return found


def release_key(candidate: Candidate) -> str:
    """The key under which the release's files are archived: published again, it is still the same release."""
    return candidate.hint.get(AGAIN_KEY, candidate.key)


def _enter(dataset: Dataset, noticed: Noticed, vintage: str, records: Records, now: datetime) -> Candidate:
    return records.notice(
        Candidate(
            dataset_id=dataset.id,
            key=noticed.key,
            version_id=_claimed_id(dataset, vintage, noticed.key, records),
            vintage=vintage,
            released_at=noticed.released_at.astimezone(UTC),
            noticed_at=now.astimezone(UTC),
            hint=dict(noticed.hint),
        )
    )


def _vintage(dataset: Dataset, released: date) -> str:
    if isinstance(dataset.vintage, FixedVintage):
        return dataset.vintage.date
    return released.strftime(DATE_FORMAT[dataset.vintage.precision])


def _claimed_id(dataset: Dataset, vintage: str, key: str, records: Records) -> str:
    """The version id that belongs to this release and to no other."""
    taken = {c.version_id: c.key for c in records.candidates(dataset.id) if c.vintage == vintage}
    taken |= _open_claims(dataset.id, vintage, taken, records)
    for version_id, owner in taken.items():
        if owner == key:
            return version_id
    while True:  # ends: each turn passes an id that somebody else claimed, and releases are finite
        version_id = naming.version_id(dataset.id, vintage, _next(dataset.version, taken))
        owner = _claim(version_id, key, dataset.id, records)
        if owner == key:
            return version_id
        taken[version_id] = owner


def _next(declared: str, taken: Iterable[str]) -> SemVer:
    """The declared version when it is higher than all there are of this vintage, else the next PATCH of the highest."""
    wanted = SemVer.parse(declared)
    there = [_semver(version_id) for version_id in taken]
    return wanted if not there or wanted > max(there) else max(there).bump_patch()


def _semver(version_id: str) -> SemVer:
    version = naming.parse(version_id).version
    if version is None:
        raise ValueError(f"{version_id} is no version id")
    return version


def _claim(version_id: str, key: str, dataset_id: str, records: Records) -> str:
    """Claim an id for a release; returns the key of the release that owns it now."""
    where = f"{CLAIMS}{dataset_id}/{version_id}.json"
    body = json.dumps({"key": key}).encode()
    try:
        records.store.put(where, body, media_type="application/json", cache_control=NO_CACHE, if_absent=True)
    except Conflict:
        return _owner(where, records)
    return key


def _open_claims(dataset_id: str, vintage: str, entered: Iterable[str], records: Records) -> dict[str, str]:
    """Ids of this vintage that are claimed but not (or not yet) in the ledger, with the keys that own them."""
    known, prefix = set(entered), f"{CLAIMS}{dataset_id}/"
    date_of = naming.parse(naming.version_id(dataset_id, vintage, SemVer(0, 0, 0))).date
    claims = ((info.key, info.key.removeprefix(prefix).removesuffix(".json")) for info in records.store.list(prefix))
    return {v: _owner(k, records) for k, v in claims if v not in known and naming.parse(v).date == date_of}


def _owner(claim: str, records: Records) -> str:
    return str(json.loads(records.store.read(claim))["key"])


def _again(dataset: Dataset, newest: Candidate) -> Noticed:
    """The newest release once more, under the version that is declared now."""
    before = newest.hint.get(AGAIN_VERSION, newest.version_id)
    hint = {**newest.hint, AGAIN_KEY: release_key(newest), AGAIN_VERSION: before}
    key = f"{release_key(newest)}.v{dataset.version}"
    return Noticed(key, newest.released_at, eastern_date(newest.released_at), hint)
