"""What is noticed but not finished: the stretches of work that the records say are still missing.

Level-triggered on purpose. An event can be lost with a killed daemon; the absence of a record cannot. The caller decides how
often to try (orchestration), this module only reads: one listing for everything that is finished, documents only where
something is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from d4c_platform.model.dataset import Dataset, MirrorName
from d4c_platform.model.errors import D4CError
from d4c_platform.model.records import Candidate, Copies, Doi, Item, Torrents, Withdrawal, ZenodoDraft
from d4c_platform.stages.platform import Platform
from d4c_platform.web import without_query

RECORDS = "records/"


class Stretch(StrEnum):
    """The stretches of the flow that run as one job each."""

    BUILD = "build_and_publish"
    SOURCE_COOP = "copy_to_source_coop"
    ZENODO = "copy_to_zenodo"
    TORRENT = "publish_torrent"


STRETCH_OF_MIRROR = {MirrorName.SOURCE_COOP: Stretch.SOURCE_COOP, MirrorName.ZENODO: Stretch.ZENODO}


@dataclass(frozen=True, slots=True)
class Missing:
    """One stretch that one version still needs."""

    version_id: str
    stretch: Stretch


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What the records say.

    Attributes:
        missing: what has to be done, oldest version of a dataset first.
        reissue: torrents that leave out a copy; worth another probe now and then.
        versions: every version that was noticed and not withdrawn.
        withdrawn: versions that were withdrawn before anything of them was public.
        failures: datasets whose records could not be read, as sentences.
    """

    missing: tuple[Missing, ...]
    reissue: tuple[Missing, ...]
    versions: frozenset[str]
    withdrawn: frozenset[str]
    failures: tuple[str, ...]


@dataclass(slots=True)
class _Findings:
    missing: list[Missing] = field(default_factory=list)
    reissue: list[Missing] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)


def outstanding(platform: Platform) -> Outstanding:
    """Everything that is missing: build, then mirrors, then the torrent over them."""
    there = _documents(platform)
    found = _Findings()
    failures: list[str] = []
    for dataset in sorted(platform.datasets.values(), key=lambda d: d.id):
        try:
            _look(platform, dataset, there, found)
        except D4CError as error:
            failures.append(str(error.about(dataset=dataset.id)))
    return Outstanding(
        tuple(found.missing), tuple(found.reissue), frozenset(found.versions), frozenset(found.withdrawn), tuple(failures)
    )


def _look(platform: Platform, dataset: Dataset, there: Mapping[str, Set[str]], found: _Findings) -> None:
    zenodo_waits = False
    for candidate in sorted(platform.records.candidates(dataset.id), key=lambda c: c.released_at):
        version_id = candidate.version_id
        documents = there.get(version_id, frozenset())
        if Withdrawal.DOCUMENT in documents:
            if _copies("portal") not in documents:
                found.withdrawn.add(version_id)
            continue
        found.versions.add(version_id)
        if Item.DOCUMENT not in documents:
            found.missing.append(Missing(version_id, Stretch.BUILD))
            continue
        for mirror in dataset.mirrors:
            # A concept has one next draft: while an earlier version's draft waits, for a person or for better days, so do we.
            waits = mirror is MirrorName.ZENODO and zenodo_waits
            if _copies(mirror.value) not in documents and not waits:
                found.missing.append(Missing(version_id, STRETCH_OF_MIRROR[mirror]))
        zenodo_waits |= ZenodoDraft.DOCUMENT in documents and Doi.DOCUMENT not in documents
        _look_at_torrent(platform, dataset, candidate, documents, found)


def _look_at_torrent(platform: Platform, dataset: Dataset, candidate: Candidate, documents: Set[str], found: _Findings) -> None:
    """With one mirror there is a torrent; each later mirror re-issues it with one more web seed."""
    version_id = candidate.version_id
    places = [m.value for m in dataset.mirrors if _copies(m.value) in documents]
    if not places:
        return
    torrents = platform.records.read(Torrents, version_id) if Torrents.DOCUMENT in documents else None
    if torrents is None:
        found.missing.append(Missing(version_id, Stretch.TORRENT))
        return
    listed = {url for t in torrents.torrents for url in t.web_seeds}
    left_out = {url for t in torrents.torrents for url in t.left_out}
    urls = set(_urls(platform, version_id, places))
    if any(url not in listed and without_query(url) not in left_out for url in urls):
        found.missing.append(Missing(version_id, Stretch.TORRENT))
    elif left_out:
        found.reissue.append(Missing(version_id, Stretch.TORRENT))


def _urls(platform: Platform, version_id: str, places: list[str]) -> Iterator[str]:
    for place in places:
        copies = platform.records.read(Copies, version_id, place=place)
        yield from (copy.url for copy in copies.copies) if copies else ()


def _copies(place: str) -> str:
    return Copies.DOCUMENT.format(place=place)


def _documents(platform: Platform) -> dict[str, set[str]]:
    """Version id to the names of its documents, from one listing."""
    found: dict[str, set[str]] = defaultdict(set)
    for info in platform.portal.store.list(RECORDS):
        version_id, _, name = info.key.removeprefix(RECORDS).partition("/")
        found[version_id].add(name)
    return found
