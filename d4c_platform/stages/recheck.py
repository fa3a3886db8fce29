"""Look at archived tables again, a few every day, for revisions that nobody announced.

A declaration says after how many days (`recheck_days`). Each day those are due whose last look is that long ago, the longest
first; the first looks are spread over the period, so that eight thousand tables are no storm. What changed is entered into the
ledger as one more release of the same vintage, and goes the way of every release: its content decides whether it becomes the
next PATCH. What was only packed anew becomes nothing.

When each was looked at is one document, `rechecks.json`, written by the one job that does this.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate, Release, Withdrawal
from d4c_platform.model.sources import StatCanTableSource
from d4c_platform.sources.detection import enter_revision
from d4c_platform.sources.registry import open_source
from d4c_platform.sources.revisions import Seal, look
from d4c_platform.sources.source import Superseded, eastern_date
from d4c_platform.sources.statcan import refuse_while_rebuilt
from d4c_platform.stages.platform import Platform
from d4c_platform.storage.ledger import Ledger
from d4c_platform.storage.store import NO_CACHE, NoObject

KEY = "rechecks.json"
MOST_LOOKS = 3_000  # in one run: two requests each, ten a second, ten minutes
BUDGET_S = 1_800.0
MOST_LOST = 5  # looks in a row that the service could not answer: it is down, and the others wait for the next day


@dataclass(frozen=True, slots=True)
class Rechecked:
    """What one run found.

    Attributes:
        looked_at: tables whose files were looked at.
        due: tables whose turn it was.
        revisions: what changed, as it was entered into the ledger.
        failures: what could not be looked at, as sentences; it is due again on the next day.
    """

    looked_at: int
    due: int
    revisions: tuple[Candidate, ...]
    failures: tuple[str, ...]


@dataclass(slots=True)
class _Watch:
    """When a dataset's files were looked at, and what was seen of the release that is archived.

    Attributes:
        looked: the day of the last look that worked.
        tried: the day of the last look: one that fails goes behind the others.
    """

    looked: date
    tried: date
    release: str = ""
    seals: dict[str, Seal] = field(default_factory=dict)


def recheck(platform: Platform, now: datetime, *, budget_s: float = BUDGET_S) -> Rechecked:
    """Look at the tables whose turn it is.

    Raises:
        TransientFailure: Statistics Canada rebuilds its files at this hour.
        Conflict: another run does the same.
    """
    refuse_while_rebuilt(platform.web, platform.sources)
    started, today = time.monotonic(), eastern_date(now)
    ledger = platform.records.ledger()
    watches, etag = _watches(platform)
    due = _due(platform, ledger, watches, today)
    revisions: list[Candidate] = []
    failures: list[str] = []
    looked_at = lost = 0
    for dataset in due:
        if looked_at == MOST_LOOKS or lost == MOST_LOST or time.monotonic() - started > budget_s:
            break
        watch = watches[dataset.id]
        watch.tried = today
        try:
            revision = _look(platform, dataset, ledger.candidates(dataset.id), watch, now)
        except D4CError as error:
            failures.append(str(error.about(dataset=dataset.id)))
            lost += isinstance(error, TransientFailure)
            continue
        watch.looked = today
        looked_at, lost = looked_at + 1, 0
        if revision is not None:
            revisions.append(revision)
    _keep(platform, watches, etag)
    return Rechecked(looked_at, len(due), tuple(revisions), tuple(failures))


def _due(platform: Platform, ledger: Ledger, watches: dict[str, _Watch], today: date) -> list[Dataset]:
    """The datasets whose turn it is, the longest waiting first; those without a watch get one."""
    due: list[Dataset] = []
    for dataset in _rechecked(platform, ledger):
        days = dataset.source.recheck_days if isinstance(dataset.source, StatCanTableSource) else 0
        if dataset.id not in watches:
            spread = today - timedelta(days=zlib.crc32(dataset.id.encode()) % days)
            watches[dataset.id] = _Watch(spread, spread)
        if (today - watches[dataset.id].looked).days >= days:
            due.append(dataset)
    return sorted(due, key=lambda d: (watches[d.id].tried, d.id))


def _rechecked(platform: Platform, ledger: Ledger) -> Iterator[Dataset]:
    for dataset_id in ledger.datasets():
        dataset = platform.datasets.get(dataset_id)
        if dataset is not None and isinstance(dataset.source, StatCanTableSource) and dataset.source.recheck_days:
            yield dataset


def _look(platform: Platform, dataset: Dataset, candidates: list[Candidate], watch: _Watch, now: datetime) -> Candidate | None:
    """Compare what is served with the newest release that is archived; a revision is entered and returned."""
    newest = max(candidates, key=lambda c: (c.released_at, c.noticed_at, _number(c.key)))
    release = platform.records.read(Release, newest.version_id)
    if release is None:
        if platform.records.read(Withdrawal, newest.version_id) is None:
            return None  # it is on its way to the archive, and what is archived then is what is served
        raise PermanentFailure(
            "its newest release was withdrawn before it was archived: there is nothing to compare with",
            where="recheck",
            version=newest.version_id,
            remedy="Nothing, when a newer one follows; otherwise declare a higher version to have it noticed again",
        )
    seals = watch.seals if watch.release == release.version_id else {}
    looked = look(platform.web, release.files, seals)
    watch.release, watch.seals = release.version_id, dict(looked.seals)
    if not looked.changed:
        return None
    try:
        open_source(dataset, platform.web, platform.sources).confirm(dataset, newest)
    except Superseded:
        return None  # they are a newer release's, which the sweep notices
    number = 1 + sum(_number(c.key) > 0 for c in candidates if c.released_at == newest.released_at)
    hint = {"files": ",".join(looked.changed), "product_id": newest.hint.get("product_id", "")}
    return enter_revision(dataset, newest, number, looked.mark, hint, platform.records, now)


def _number(key: str) -> int:
    """Which revision of its release a key names; 0 for the release itself."""
    found = re.match(r"[^.]+\.r(\d+)-", key)
    return int(found[1]) if found else 0


def _watches(platform: Platform) -> tuple[dict[str, _Watch], str | None]:
    store = platform.portal.store
    info = store.head(KEY)
    if info is None:
        return {}, None
    try:
        document: dict[str, Any] = json.loads(store.read(KEY))
        return {i: _Watch(date.fromisoformat(w[0]), date.fromisoformat(w[1]), *w[2:]) for i, w in document.items()}, info.etag
    except NoObject:
        return {}, None
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise PermanentFailure(
            f"this document is damaged ({error})",
            where="recheck",
            file=KEY,
            remedy="Delete it: it is written anew, and every table is looked at once more",
        ) from error


def _keep(platform: Platform, watches: dict[str, _Watch], etag: str | None) -> None:
    document = {
        i: [w.looked.isoformat(), w.tried.isoformat(), *([w.release, w.seals] if w.seals else [])] for i, w in watches.items()
    }
    body = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    platform.portal.store.put(
        KEY, body, media_type="application/json", cache_control=NO_CACHE, if_absent=etag is None, if_match=etag
    )
