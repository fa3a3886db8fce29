"""What a process saw at its last look at a source, so that a quiet publisher is not asked at every sweep.

Sweeps come every few minutes and each begins with new clients; some publishers change their files once in years, others count
every call. A kind says how long a look holds. Only a look that found nothing new is kept: while a release is on its way
through the archive, its source is asked each time. It is bounded, gone with the process, and nothing depends on it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Generic, TypeVar

MOST_LOOKS = 10_000  # each is a few hundred bytes

T = TypeVar("T")


class Looks(Generic[T]):
    """The last states of one kind of source, by what was looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looks: OrderedDict[str, tuple[datetime, T]] = OrderedDict()

    def last(self, what: str, now: datetime, holds: timedelta) -> T | None:
        """The state that was seen within the time a look holds."""
        with self._lock:
            seen = self._looks.get(what)
        return seen[1] if seen is not None and timedelta() <= now - seen[0] < holds else None

    def keep(self, what: str, now: datetime, state: T) -> None:
        with self._lock:
            self._looks.pop(what, None)
            self._looks[what] = (now, state)
            while len(self._looks) > MOST_LOOKS:
                self._looks.popitem(last=False)

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._looks.clear()
