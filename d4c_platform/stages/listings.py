"""The lists behind the families, as they are stored in the portal, and all datasets of an installation as one mapping.

A list is a few megabytes and every sensor tick needs it, so a process reads it once for every time it was replaced.

Not here: reading a publisher's list (refresh), or what its datasets are (datasets.expansion).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from d4c_platform.datasets import Expansion
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.family import Family
from d4c_platform.model.listing import Listing
from d4c_platform.storage.store import NO_CACHE, NoObject, ObjectStore

FAMILIES = "families/"

_READ: dict[str, tuple[str, Listing]] = {}
"""URL of a stored list to its etag and itself."""


class Datasets(Mapping[str, Dataset]):
    """All datasets of an installation by id: the declared ones, then those of families, made when they are asked for.

    Attributes:
        explicit: those with a declaration of their own.
        expansions: those of families.
    """

    def __init__(self, explicit: Mapping[str, Dataset], expansions: Sequence[Expansion] = ()) -> None:
        self.explicit, self.expansions = explicit, expansions

    def __getitem__(self, dataset_id: str) -> Dataset:
        for some in (self.explicit, *self.expansions):
            if dataset_id in some:
                return some[dataset_id]
        raise KeyError(dataset_id)

    def __iter__(self) -> Iterator[str]:
        yield from self.explicit
        for expansion in self.expansions:
            yield from expansion

    def __len__(self) -> int:
        return len(self.explicit) + sum(map(len, self.expansions))

    def __contains__(self, dataset_id: object) -> bool:
        return dataset_id in self.explicit or any(dataset_id in expansion for expansion in self.expansions)


def listing_key(family: Family) -> str:
    return f"{FAMILIES}{family.family}.json"


def stored_listing(store: ObjectStore, family: Family) -> Listing | None:
    """The list as it was stored last; None when it never was.

    Raises:
        PermanentFailure: it is damaged.
    """
    key = listing_key(family)
    info = store.head(key)
    if info is None:
        return None
    url = store.url(key)
    if _READ.get(url, ("", None))[0] != info.etag:
        try:
            _READ[url] = (info.etag, Listing.from_json(store.read(key), key))
        except NoObject:
            return None
    return _READ[url][1]


def store_listing(store: ObjectStore, family: Family, listing: Listing, *, replaces: str | None) -> None:
    """Store a list that was read from the publisher.

    Args:
        replaces: etag of the list it was made from; None when there was none.

    Raises:
        Conflict: another run stored one meanwhile.
    """
    store.put(
        listing_key(family),
        listing.to_json(),
        media_type="application/json",
        cache_control=NO_CACHE,
        if_absent=replaces is None,
        if_match=replaces,
    )
