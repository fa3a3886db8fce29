"""The whole ledger from one listing: which releases of which datasets were ever noticed.

With thousands of datasets nobody can list each one's releases in a sensor tick. One listing of `releases/` names them all, and
a release's key begins with its time where the publisher gives one, so most questions need no document. Those that do read it
once in a process: an entry is written once and never changes.

Not here: entering a release (records), or what its version still misses (stages).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from d4c_platform.model.records import Candidate
from d4c_platform.storage.store import ObjectInfo, ObjectStore

RELEASES = "releases/"
REMEMBERED = 200_000  # entries, about 200 MB; then the memory starts over
TIME_CHARS = 16  # of a key that begins with its release's time, 20250611T123000Z: such keys sort by it

_MEMORY: dict[tuple[str, str, str], Candidate] = {}
"""An entry by where its store is, its key and its etag."""


class Ledger:
    """The ledger as it was when it was listed.

    Args:
        read: reads and checks one entry.
    """

    def __init__(self, store: ObjectStore, read: Callable[[ObjectInfo], Candidate], prefix: str = RELEASES) -> None:
        self._where, self._read = store.url(RELEASES.rstrip("/")), read
        self._entries: dict[str, list[ObjectInfo]] = defaultdict(list)
        for info in store.list(prefix):
            self._entries[info.key.removeprefix(RELEASES).partition("/")[0]].append(info)

    def datasets(self) -> list[str]:
        """Ids of the datasets of which a release was ever noticed, in order."""
        return sorted(self._entries)

    def releases(self, dataset_id: str) -> int:
        """How many releases of the dataset were noticed."""
        return len(self._entries.get(dataset_id, ()))

    def newest(self, dataset_id: str) -> str | None:
        """The time in the newest release's key, for sources whose keys begin with it; None when nothing was noticed."""
        keys = (info.key.rpartition("/")[2][:TIME_CHARS] for info in self._entries.get(dataset_id, ()))
        return max(keys, default=None)

    def candidates(self, dataset_id: str) -> list[Candidate]:
        """Every release of the dataset that was ever noticed, in the order of release."""
        noticed = [self._candidate(info) for info in self._entries.get(dataset_id, ())]
        return sorted(noticed, key=lambda c: (c.released_at, c.key))

    def is_read(self, dataset_id: str) -> bool:
        """Whether the dataset's entries are in memory, so that asking for them costs nothing."""
        return all((self._where, info.key, info.etag) in _MEMORY for info in self._entries.get(dataset_id, ()))

    def _candidate(self, info: ObjectInfo) -> Candidate:
        known = (self._where, info.key, info.etag)
        if known not in _MEMORY:
            if len(_MEMORY) >= REMEMBERED:
                _MEMORY.clear()
            _MEMORY[known] = self._read(info)
        return _MEMORY[known]
