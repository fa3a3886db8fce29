"""Look at every source once, within a time budget, and note the releases that are new.

A sensor tick is short and a portal can hang, so the sweep has a budget and a rotating cursor: a source that fails is stepped
over, reported, and does not keep the others from being looked at.

A declared dataset is looked at by itself. Of a family's thousands, two or three lists say which have news (the publisher's) and
which were ever seen (the ledger), and only those are looked at. Those that were never seen are entered a hundred a sweep: a new
installation fills over hours, and its first day is no storm. A few that rest are looked at in every sweep all the same, in
rotation, because what lists do not tell (a version declared anew) must be noticed too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from d4c_platform.datasets import Expansion
from d4c_platform.model.errors import D4CError
from d4c_platform.model.records import Candidate
from d4c_platform.naming import BadName
from d4c_platform.sources.detection import detect
from d4c_platform.sources.registry import Sweep
from d4c_platform.sources.statcan import StatCanTables
from d4c_platform.stages.platform import Platform
from d4c_platform.storage.ledger import Ledger

FIRST_LOOKS = 100  # tables entered for the first time in one sweep: 8,000 in seven hours
RESTING_LOOKS = 50  # tables without news looked at all the same: 8,000 in half a day


@dataclass(frozen=True, slots=True)
class Noticed:
    """The outcome of one sweep.

    Attributes:
        candidates: releases that were not known before, each with the version id it was given.
        failures: what could not be looked at, as sentences.
        cursor: the dataset to start with next time; empty when all were looked at.
        looked_at: how many datasets the sweep reached, by a look of their own or by a list that answers for them.
        blind: whether nothing at all could be looked at.
    """

    candidates: tuple[Candidate, ...]
    failures: tuple[str, ...]
    cursor: str
    looked_at: int
    blind: bool = False


def notice(platform: Platform, now: datetime, *, cursor: str = "", budget_s: float) -> Noticed:
    """Look at the sources, starting at the cursor, until all were seen or the budget is spent."""
    started = time.monotonic()
    found: list[Candidate] = []
    failures: list[str] = []
    sweep = Sweep(platform.glance, platform.sources)
    ledger = platform.records.ledger()
    wanted = set(platform.datasets.explicit)
    answered, goes_on = 0, ""
    for expansion in platform.datasets.expansions:
        try:
            looks, goes_on = _worth_a_look(expansion, sweep, ledger, now, cursor)
        except D4CError as error:
            failures.append(f"{expansion.family.family}: {error}")
            continue
        wanted |= looks
        answered += len(expansion) - len(looks)
    looked_at, unread = 0, len(failures)
    for dataset_id in _from(cursor, wanted):
        if looked_at and time.monotonic() - started > budget_s:
            return Noticed(tuple(found), tuple(failures), dataset_id, looked_at + answered)
        looked_at += 1
        try:
            dataset = platform.datasets[dataset_id]
            found += detect(dataset, sweep.source(dataset), platform.records, now, ledger.candidates(dataset_id))
        except D4CError as error:
            failures.append(str(error.about(dataset=dataset_id)))
        except BadName as error:
            failures.append(f"{dataset_id}: its declaration makes no version id: {error}")
        except Exception as error:  # noqa: BLE001 - a fault of ours in one source must not blind us for all the others
            failures.append(f"{dataset_id}: {type(error).__name__}: {error}")
    blind = bool(failures) and not answered and len(failures) - unread == looked_at
    return Noticed(tuple(found), tuple(failures), goes_on, looked_at + answered, blind)


def _worth_a_look(expansion: Expansion, sweep: Sweep, ledger: Ledger, now: datetime, cursor: str) -> tuple[set[str], str]:
    """The family's datasets that this sweep has to look at, and the one that the next sweep's rotation begins with.

    Raises:
        D4CError: the lists could not be read.
    """
    source = sweep.of_kind(StatCanTables.kind)
    if not isinstance(source, StatCanTables):
        raise TypeError(f"{StatCanTables.kind} is opened as a {type(source).__name__}")
    newest = source.newest(now)
    news: set[str] = set()
    unseen: list[str] = []
    resting: list[str] = []
    for dataset_id in _from(cursor, expansion.tables):
        released, seen = newest.get(expansion.tables[dataset_id]), ledger.newest(dataset_id)
        if released is None:  # announced, and not out yet
            continue
        if seen is None:
            unseen.append(dataset_id)
        elif seen < released:
            news.add(dataset_id)
        elif len(resting) <= RESTING_LOOKS:
            resting.append(dataset_id)
    goes_on = resting.pop() if len(resting) > RESTING_LOOKS else ""
    return news.union(unseen[:FIRST_LOOKS], resting), goes_on


def _from(cursor: str, dataset_ids: Iterable[str]) -> list[str]:
    ordered = sorted(dataset_ids)
    later = [i for i in ordered if i >= cursor]
    return later + [i for i in ordered if i < cursor] if cursor else ordered
