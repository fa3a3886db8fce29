"""From what a source notices to the ledger: new candidates, each with the version id it will keep for ever.

The id is given before anything is fetched, because it is the partition key: the vintage says which data, SemVer says which
shape. Several sweeps may run at once, so an id is *claimed* for one release by a create-once document before the release
enters the ledger. Two releases can then never share an id, a sweep that was killed in between finds its own claim again, and
nothing has to be locked. (Choosing an id from a listing alone was rejected: two sweeps that list at the same moment choose
the same one.)

Keys and ids are never reused: what was withdrawn still counts. A release that was withdrawn before it was archived and that
the publisher puts back is a new entry of its own (`<key>.again2`) with an id of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from d4c_platform import naming
from d4c_platform.model.dataset import Dataset, FixedVintage
from d4c_platform.model.records import Candidate, Copies, Release, Withdrawal
from d4c_platform.naming import SemVer
from d4c_platform.sources.source import Noticed, Source, eastern_date, utc_key
from d4c_platform.storage.records import Records
from d4c_platform.storage.store import NO_CACHE, Conflict

CLAIMS = "claims/"
AGAIN_KEY, AGAIN_VERSION = "again_of", "again_of_version"
"""Hints of a release that is published again under a newly declared version: its key, and the version ids that the new one
replaces, separated by commas (ids that were public when it was noticed are not among them)."""

MOST_RETURNS = 9  # of one release that never gets archived: a server that flaps must not fill the ledger

DATE_FORMAT = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}


def detect(
    dataset: Dataset, source: Source, records: Records, now: datetime, ledger: Sequence[Candidate] | None = None
) -> list[Candidate]:
    """Look at a dataset's source and enter what is new into the ledger; returns the new entries, oldest first.

    A release is noticed *again* when the declaration now asks for a higher version of its vintage: every one that waits for
    publication, because its number may be why, and the newest one of all, published or not.

    Args:
        ledger: the dataset's releases, when they were read already. They may be a little old: an id and an entry are claimed,
            whoever else was faster.
    """
    seen = list(records.candidates(dataset.id) if ledger is None else ledger)
    since = max((c.released_at for c in seen), default=None)
    noticed = [n for told in source.detect(dataset, since, seen, now) if (n := _unknown(told, seen, records)) is not None]
    # Before the new releases: within a vintage the older release must get the lower number.
    found = [_renew(dataset, waiting, seen, records, now) for waiting in _waiting(dataset, seen, records)]
    for n in sorted(noticed, key=lambda n: (n.released_at, n.key)):
        found.append(_enter(dataset, n, _vintage(dataset, n.vintage_time), [*seen, *found], records, now))
    newest = max([*seen, *found], key=lambda c: naming.order_key(c.version_id), default=None)
    if newest is not None and SemVer.parse(dataset.version) > _semver(newest.version_id):
        found.append(_renew(dataset, newest, [*seen, *found], records, now))
    return found


def enter_revision(
    dataset: Dataset, revised: Candidate, number: int, mark: str, hint: Mapping[str, str], records: Records, now: datetime
) -> Candidate:
    """Enter the release once more, because its files changed though no release was announced: the next PATCH of its vintage.

    Args:
        number: which revision of the release it is, from 1.
        mark: tells this state of the files from others.
    """
    key = f"{utc_key(revised.released_at)}.r{number}-{mark}"
    hint = {**hint, "signal": "files", "revision_of": revised.key}
    noticed = Noticed(key, revised.released_at, eastern_date(revised.released_at), hint)
    return _enter(dataset, noticed, revised.vintage, records.candidates(dataset.id), records, now)


def replaced_by(candidate: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The version ids that a candidate replaces: all earlier ones of the same release that were not public when it was noticed.

    One of them may have been published since; then it stays what it is.

    Args:
        candidates: the dataset's ledger.
    """
    by_id = {c.version_id: c for c in candidates}
    replaced: list[str] = []
    ahead = _again_ids(candidate)
    while ahead:
        version_id = ahead.pop(0)
        if version_id in by_id and version_id not in replaced:
            replaced.append(version_id)
            ahead += _again_ids(by_id[version_id])
    return tuple(sorted(replaced, key=naming.order_key))


def release_key(candidate: Candidate) -> str:
    """The key under which the release's files are archived: published again, it is still the same release."""
    return candidate.hint.get(AGAIN_KEY, candidate.key)


def _enter(
    dataset: Dataset, noticed: Noticed, vintage: str, ledger: Iterable[Candidate], records: Records, now: datetime
) -> Candidate:
    return records.notice(
        Candidate(
            dataset_id=dataset.id,
            key=noticed.key,
            version_id=_claimed_id(dataset, vintage, noticed.key, ledger, records),
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


def _claimed_id(dataset: Dataset, vintage: str, key: str, ledger: Iterable[Candidate], records: Records) -> str:
    """The version id that belongs to this release and to no other."""
    taken = {c.version_id: c.key for c in ledger if c.vintage == vintage}
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


def _unknown(told: Noticed, seen: Sequence[Candidate], records: Records) -> Noticed | None:
    """What was noticed, if it is new; with a key of its own when it was withdrawn unarchived and is served again."""
    known = next((c for c in seen if c.key == told.key), None)
    if known is None:
        return told
    if records.read(Withdrawal, known.version_id) is None or records.read(Release, known.version_id) is not None:
        return None
    first, times = _returns(known.key)
    return replace(told, key=f"{first}.again{times + 1}") if times < MOST_RETURNS else None


def _returns(key: str) -> tuple[str, int]:
    """The key a release was first noticed under, and how many times it has been noticed up to this key."""
    returned = re.fullmatch(r"(.+)\.again(\d+)", key)
    return (returned[1], int(returned[2])) if returned else (key, 1)


def _waiting(dataset: Dataset, seen: Sequence[Candidate], records: Records) -> list[Candidate]:
    """The releases after the last published version that wait under a number below the declared one, oldest first."""
    declared = SemVer.parse(dataset.version)
    if all(_semver(c.version_id) >= declared for c in seen):
        return []
    waiting: list[Candidate] = []
    newer: list[Candidate] = []
    for candidate in sorted(seen, key=lambda c: naming.order_key(c.version_id), reverse=True):
        withdrawn = records.read(Withdrawal, candidate.version_id) is not None
        if not withdrawn and _is_public(candidate.version_id, records):
            break
        latest_of_its_release = all(release_key(n) != release_key(candidate) for n in newer)
        # A renewal behind a later release of the vintage would make older data the newer version.
        too_late = any(n.vintage == candidate.vintage and _semver(n.version_id) >= declared for n in newer)
        if latest_of_its_release and not withdrawn and not too_late and _semver(candidate.version_id) < declared:
            waiting.append(candidate)
        newer.append(candidate)
    return waiting[::-1]


def _is_public(version_id: str, records: Records) -> bool:
    return records.read(Copies, version_id, place="portal") is not None


def _again_ids(candidate: Candidate) -> list[str]:
    return [version_id for version_id in candidate.hint.get(AGAIN_VERSION, "").split(",") if version_id]


def _renew(dataset: Dataset, release: Candidate, ledger: Sequence[Candidate], records: Records, now: datetime) -> Candidate:
    """Enter a release once more, under the version that is declared now."""
    replaced = [
        c.version_id
        for c in sorted(ledger, key=lambda c: naming.order_key(c.version_id))
        if release_key(c) == release_key(release) and not _is_public(c.version_id, records)
    ]
    hint = {**release.hint, AGAIN_KEY: release_key(release), AGAIN_VERSION: ",".join(replaced)}
    key = f"{release_key(release)}.v{dataset.version}"
    noticed = Noticed(key, release.released_at, eastern_date(release.released_at), hint)
    return _enter(dataset, noticed, release.vintage, ledger, records, now)
