"""What is noticed but not finished: the stretches of work that the records say are still missing.

Level-triggered on purpose. An event can be lost with a killed daemon; the absence of a record cannot. The caller decides how
often to try (orchestration), this module only reads: two listings for everything that is finished, documents only where
something is not.

With thousands of versions even that can be much for a new process, which remembers nothing. So reading has a budget; what it
does not reach is reached by the next look, because what was read is remembered.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum, StrEnum, auto
from functools import lru_cache

from d4c_platform import naming
from d4c_platform.model.dataset import Dataset, MirrorName
from d4c_platform.model.errors import D4CError
from d4c_platform.model.records import Copies, Doi, Item, Torrents, Withdrawal, ZenodoDraft
from d4c_platform.stages.listings import Datasets
from d4c_platform.stages.platform import Platform
from d4c_platform.web import without_query

RECORDS = "records/"
READING_BUDGET_S = 20.0  # of documents, in one look: a sensor tick is cut at 60 s, and has to list and to request as well
LATE = timedelta(days=7)
REMEMBERED = 200_000  # versions


class Stretch(StrEnum):
    """The stretches of the flow that run as one job each."""

    BUILD = "build_and_publish"
    SOURCE_COOP = "copy_to_source_coop"
    ZENODO = "copy_to_zenodo"
    TORRENT = "publish_torrent"


STRETCH_OF_MIRROR = {MirrorName.SOURCE_COOP: Stretch.SOURCE_COOP, MirrorName.ZENODO: Stretch.ZENODO}


@dataclass(frozen=True, slots=True)
class Missing:
    """One stretch that one version still needs.

    Attributes:
        late: its release was long out when it was noticed: the back-catalogue, which gives way to what is new.
    """

    version_id: str
    stretch: Stretch
    late: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What the records say.

    Attributes:
        missing: what has to be done, oldest version of a dataset first.
        reissue: torrents that leave out a copy; worth another probe now and then.
        versions: every version that was noticed and not withdrawn.
        withdrawn: versions that were withdrawn before anything of them was public.
        failures: datasets whose records could not be read, as sentences.
        unread: datasets that the budget did not reach.
    """

    missing: tuple[Missing, ...]
    reissue: tuple[Missing, ...]
    versions: frozenset[str]
    withdrawn: frozenset[str]
    failures: tuple[str, ...]
    unread: int = 0


class _Seeds(Enum):
    """What a torrent says of the copies there are."""

    ALL = auto()
    LACKING = auto()
    LEFT_OUT = auto()


_TORRENTS: dict[tuple[str, str, tuple[str, ...]], _Seeds] = {}
"""What was found of a version's torrent, by where its store is and the etags of the documents that were compared."""


@dataclass(slots=True)
class _Findings:
    where: str
    missing: list[Missing] = field(default_factory=list)
    reissue: list[Missing] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)


def outstanding(platform: Platform, *, budget_s: float = READING_BUDGET_S, only: Collection[str] | None = None) -> Outstanding:
    """Everything that is missing: build, then mirrors, then the torrent over them.

    Args:
        budget_s: for reading documents.
        only: ids of the datasets to look at; all by default.
    """
    there = _documents(platform, only)
    ledger = platform.records.ledger()
    versions = _by_dataset(platform.datasets, there)
    started = time.monotonic()
    found = _Findings(platform.portal.store.url(RECORDS.rstrip("/")))
    failures: list[str] = []
    unread = 0
    for dataset_id in ledger.datasets():
        if dataset_id not in platform.datasets or (only is not None and dataset_id not in only):
            continue
        mine = {version_id: there[version_id] for version_id in versions.get(dataset_id, ())}
        try:
            dataset = platform.datasets[dataset_id]
            if len(mine) == ledger.releases(dataset_id) and all(_has_all(dataset, d) for d in mine.values()):
                candidates = [(version_id, False) for version_id in mine]
            elif ledger.is_read(dataset_id) or time.monotonic() - started < budget_s:
                in_order = sorted(ledger.candidates(dataset_id), key=lambda c: c.released_at)
                candidates = [(c.version_id, c.noticed_at - c.released_at > LATE) for c in in_order]
            else:
                unread += 1
                continue
            _look(platform, dataset, candidates, there, found, time.monotonic() - started < budget_s)
        except D4CError as error:
            failures.append(str(error.about(dataset=dataset_id)))
    return Outstanding(
        tuple(found.missing),
        tuple(found.reissue),
        frozenset(found.versions),
        frozenset(found.withdrawn),
        tuple(failures),
        unread,
    )


def _has_all(dataset: Dataset, documents: Mapping[str, str]) -> bool:
    """Whether the names of a version's documents alone say that nothing is missing, but perhaps a newer torrent."""
    if Withdrawal.DOCUMENT in documents:
        return True
    mirrored = all(_copies(mirror.value) in documents for mirror in dataset.mirrors)
    return Item.DOCUMENT in documents and mirrored and (Torrents.DOCUMENT in documents or not dataset.mirrors)


def _look(
    platform: Platform,
    dataset: Dataset,
    candidates: Iterable[tuple[str, bool]],
    there: Mapping[str, Mapping[str, str]],
    found: _Findings,
    may_read: bool,
) -> None:
    zenodo_waits = False
    for version_id, late in candidates:
        documents = there.get(version_id, {})
        if Withdrawal.DOCUMENT in documents:
            if _copies("portal") not in documents:
                found.withdrawn.add(version_id)
            continue
        found.versions.add(version_id)
        if Item.DOCUMENT not in documents:
            found.missing.append(Missing(version_id, Stretch.BUILD, late))
            continue
        for mirror in dataset.mirrors:
            # A concept has one next draft: while an earlier version's draft waits, for a person or for better days, so do we.
            waits = mirror is MirrorName.ZENODO and zenodo_waits
            if _copies(mirror.value) not in documents and not waits:
                found.missing.append(Missing(version_id, STRETCH_OF_MIRROR[mirror], late))
        zenodo_waits |= ZenodoDraft.DOCUMENT in documents and Doi.DOCUMENT not in documents
        _look_at_torrent(platform, dataset, version_id, documents, found, may_read)


def _look_at_torrent(
    platform: Platform, dataset: Dataset, version_id: str, documents: Mapping[str, str], found: _Findings, may_read: bool
) -> None:
    """With one mirror there is a torrent; each later mirror re-issues it with one more web seed."""
    places = [m.value for m in dataset.mirrors if _copies(m.value) in documents]
    if not places:
        return
    if Torrents.DOCUMENT not in documents:
        found.missing.append(Missing(version_id, Stretch.TORRENT))
        return
    # The comparison says the same until one of the documents is replaced.
    tags = (documents[Torrents.DOCUMENT], *(documents[_copies(place)] for place in places))
    known = (found.where, version_id, tags)
    if known not in _TORRENTS:
        if not may_read:
            return
        if len(_TORRENTS) >= REMEMBERED:
            _TORRENTS.clear()
        _TORRENTS[known] = _torrent_lacks(platform, version_id, places)
    match _TORRENTS[known]:
        case _Seeds.LACKING:
            found.missing.append(Missing(version_id, Stretch.TORRENT))
        case _Seeds.LEFT_OUT:
            found.reissue.append(Missing(version_id, Stretch.TORRENT))


def _torrent_lacks(platform: Platform, version_id: str, places: list[str]) -> _Seeds:
    torrents = platform.records.read(Torrents, version_id)
    if torrents is None:
        return _Seeds.LACKING
    listed = {url for t in torrents.torrents for url in t.web_seeds}
    left_out = {url for t in torrents.torrents for url in t.left_out}
    urls = set(_urls(platform, version_id, places))
    if any(url not in listed and without_query(url) not in left_out for url in urls):
        return _Seeds.LACKING
    return _Seeds.LEFT_OUT if left_out else _Seeds.ALL


def _urls(platform: Platform, version_id: str, places: list[str]) -> Iterator[str]:
    for place in places:
        copies = platform.records.read(Copies, version_id, place=place)
        yield from (copy.url for copy in copies.copies) if copies else ()


def _copies(place: str) -> str:
    return Copies.DOCUMENT.format(place=place)


def _documents(platform: Platform, only: Collection[str] | None) -> dict[str, dict[str, str]]:
    """Version id to the names of its documents and their etags; of all versions from one listing."""
    prefixes = [RECORDS] if only is None else [f"{RECORDS}{dataset_id}_" for dataset_id in only]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for info in (info for prefix in prefixes for info in platform.portal.store.list(prefix)):
        version_id, _, name = info.key.removeprefix(RECORDS).partition("/")
        found[version_id][name] = info.etag
    return dict(found)


def _by_dataset(declared: Datasets, version_ids: Iterable[str]) -> dict[str, list[str]]:
    """The versions of each declared dataset, oldest first."""
    found: dict[str, list[str]] = defaultdict(list)
    for version_id in version_ids:
        for dataset_id in _ids_of(version_id):
            if dataset_id in declared:
                found[dataset_id].append(version_id)
    return {dataset_id: sorted(ids, key=_order_key) for dataset_id, ids in found.items()}


@lru_cache(maxsize=REMEMBERED)
def _ids_of(version_id: str) -> tuple[str, ...]:
    """The ids of the datasets a version can belong to: with its date, and without. A folder that is no version has none."""
    try:
        name = replace(naming.parse(version_id), version=None, ext=None)
        return (name.stem,) if name.date is None else (name.stem, replace(name, date=None).stem)
    except naming.BadName:
        return ()


_order_key = lru_cache(maxsize=REMEMBERED)(naming.order_key)
