"""Look at every declared source once, within a time budget, and note the releases that are new.

A sensor tick is short and a portal can hang, so the sweep has a budget and a rotating cursor: a source that fails is stepped
over, reported, and does not keep the others from being looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError
from d4c_platform.model.records import Candidate
from d4c_platform.naming import BadName
from d4c_platform.sources.detection import detect
from d4c_platform.sources.registry import Sweep
from d4c_platform.stages.platform import Platform


@dataclass(frozen=True, slots=True)
class Noticed:
    """The outcome of one sweep.

    Attributes:
        candidates: releases that were not known before, each with the version id it was given.
        failures: what could not be looked at, as sentences.
        cursor: the dataset to start with next time; empty when all were looked at.
        looked_at: how many datasets the sweep reached.
    """

    candidates: tuple[Candidate, ...]
    failures: tuple[str, ...]
    cursor: str
    looked_at: int


def notice(platform: Platform, now: datetime, *, cursor: str = "", budget_s: float) -> Noticed:
    """Look at the declared sources, starting at the cursor, until all were seen or the budget is spent."""
    started = time.monotonic()
    found: list[Candidate] = []
    failures: list[str] = []
    sweep = Sweep(platform.glance)
    looked_at = 0
    for dataset in _from(cursor, platform.datasets.values()):
        if looked_at and time.monotonic() - started > budget_s:
            return Noticed(tuple(found), tuple(failures), dataset.id, looked_at)
        looked_at += 1
        try:
            found += detect(dataset, sweep.source(dataset), platform.records, now)
        except D4CError as error:
            failures.append(str(error.about(dataset=dataset.id)))
        except BadName as error:
            failures.append(f"{dataset.id}: its declaration makes no version id: {error}")
        except Exception as error:  # noqa: BLE001 - a fault of ours in one source must not blind us for all the others
            failures.append(f"{dataset.id}: {type(error).__name__}: {error}")
    return Noticed(tuple(found), tuple(failures), "", looked_at)


def _from(cursor: str, datasets: Iterable[Dataset]) -> list[Dataset]:
    ordered = sorted(datasets, key=lambda d: d.id)
    later = [d for d in ordered if d.id >= cursor]
    return later + [d for d in ordered if d.id < cursor] if cursor else ordered
