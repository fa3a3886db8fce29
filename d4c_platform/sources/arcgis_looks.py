"""Look at the content of a layer that does not say when it was edited, at a bounded rhythm and a slice at a time.

Such a layer (most of those on MapServers) gives no cheap sign of an edited value: the number of rows, the greatest object id
and the fields stay the same. So its whole content is read now and then and streamed to a hash, not to a disk. That may take
longer than a sensor has, so a look rests when its slice is over and goes on in the next sweep, from the page it had come to.
What it has found out so far lives in the process; a process that ends begins its looks again, and nothing else depends on it.

A look that reads while somebody edits values may end with a hash of two states. The release it notices is then never found
again when it is fetched, and the next look finds the right one: a look and an archive with the same hash are two readings that
agree, which is the proof that the edit date gives elsewhere.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from d4c_platform.model.errors import TransientFailure
from d4c_platform.sources.arcgis_layer import Layer, LayerClient
from d4c_platform.sources.arcgis_walk import LayerChanged, Walk

Key = tuple[str, str]
"""A layer's URL, as it is really asked, and the condition on its rows."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found.

    Attributes:
        sign: what was cheap to know of the layer when the look began.
    """

    at: datetime
    sign: str
    sha256: str


@dataclass(slots=True)
class _Look:
    """A look that is under way."""

    begun: datetime
    sign: str
    walk: Walk
    digest: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


class Looks:
    """The looks of one process."""

    EVERY: ClassVar[timedelta] = timedelta(days=1)
    """Between two looks at a layer that shows no sign of change: open data on such servers is replaced nightly at most."""
    APART: ClassVar[timedelta] = timedelta(hours=1)
    """Between two looks in any case: a layer whose rows come and go all day must not be read all day."""
    SLICE_S: ClassVar[float] = 10.0
    """Of one sweep for one layer: a tick is cut at 60 s and other datasets wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[Key, Looked] = {}
        self._open: dict[Key, _Look] = {}
        self._begun: dict[Key, datetime] = {}

    def content(
        self, client: LayerClient, key: Key, layer: Layer, sign: str, known: Looked | None, now: datetime
    ) -> str | None:
        """The hash of the layer's content, from a look that is recent enough; None while there is none.

        Args:
            sign: what is cheap to know of the layer now.
            known: the newest release that was noticed by its content.

        Raises:
            TransientFailure: the layer cannot be read now, or did not rest while it was.
        """
        with self._lock:
            past = self._done.get(key, known)
            look = self._open.get(key)
            if past is not None and look is None and not self._is_due(past, sign, now):
                return past.sha256
            if look is None or look.sign != sign:
                begun = self._begun.get(key)
                if begun is not None and timedelta() <= now - begun < self.APART:
                    return None
                look = self._open[key] = _begin(client, layer, sign, now)
                self._begun[key] = now
        return self._go_on(look, client, key)

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._done.clear()
            self._open.clear()
            self._begun.clear()

    def _is_due(self, past: Looked, sign: str, now: datetime) -> bool:
        return not timedelta() <= now - past.at < (self.EVERY if past.sign == sign else self.APART)

    def _go_on(self, look: _Look, client: LayerClient, key: Key) -> str | None:
        if not look.lock.acquire(blocking=False):
            return None  # another sweep of this process is at it
        try:
            look.walk.client = client
            until = time.monotonic() + self.SLICE_S
            while look.walk.step():
                if time.monotonic() >= until:
                    return None
            look.walk.prove()
        except LayerChanged as changed:
            self._close(key, look)
            raise TransientFailure(
                changed.what,
                where=changed.where,
                file=changed.file,
                kept=changed.kept,
                remedy="It is looked at again later; if it never rests, ask the publisher for a time at which it does",
            ) from changed
        finally:
            look.lock.release()
        found = Looked(look.begun, look.sign, look.digest.hexdigest())
        self._close(key, look)
        with self._lock:
            self._done[key] = found
        return found.sha256

    def _close(self, key: Key, look: _Look) -> None:
        with self._lock:
            if self._open.get(key) is look:
                del self._open[key]


def _begin(client: LayerClient, layer: Layer, sign: str, now: datetime) -> _Look:
    digest = hashlib.sha256()
    return _Look(now, sign, Walk(client, layer, digest.update), digest)


SHARED = Looks()
"""The process's own."""
