"""What a process remembers of Statistics Canada from one sweep to the next, so that it does not ask for it again.

Sweeps come every few minutes and each begins with new clients. Only what cannot have changed is kept (days that are over),
or what may be an hour late without harm (the state of a table that releases less than monthly). It is small, bounded, and
gone with the process; nothing depends on it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import date, datetime, timedelta

MOST_DAYS = 128  # a month of catching up needs 31; a day lists a few hundred tables
MOST_TABLES = 10_000  # more than the service has; each is one time
STATE_HOLDS = timedelta(hours=1)

Day = dict[str, list[datetime]]


class Memory:
    """Past days of the changed-cube list, and the release times of rarely released tables, by the service's base URL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._days: OrderedDict[tuple[str, date], Day] = OrderedDict()
        self._states: OrderedDict[tuple[str, str], tuple[datetime, datetime]] = OrderedDict()

    def day(self, base: str, day: date) -> Day | None:
        """The tables that a day released, with the times; None when it is not known."""
        with self._lock:
            known = self._days.get((base, day))
            if known is not None:
                self._days.move_to_end((base, day))
            return known

    def keep_day(self, base: str, day: date, released: Day) -> None:
        with self._lock:
            self._days[base, day] = released
            while len(self._days) > MOST_DAYS:
                self._days.popitem(last=False)

    def state(self, base: str, product_id: str, now: datetime) -> datetime | None:
        """When the table was released last, if it was asked within the hour."""
        with self._lock:
            asked_at, released_at = self._states.get((base, product_id), (None, None))
        return released_at if asked_at is not None and timedelta() <= now - asked_at < STATE_HOLDS else None

    def keep_state(self, base: str, product_id: str, now: datetime, released_at: datetime) -> None:
        with self._lock:
            self._states.pop((base, product_id), None)
            self._states[base, product_id] = (now, released_at)
            while len(self._states) > MOST_TABLES:
                self._states.popitem(last=False)

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._days.clear()
            self._states.clear()


SHARED = Memory()
"""The process's own."""
