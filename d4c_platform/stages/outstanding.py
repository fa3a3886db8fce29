"""What is noticed but not finished: the stretches of work that the records say are still missing.

Level-triggered on purpose. An event can be lost with a killed daemon; the absence of a record cannot. The caller decides how
often to try (orchestration), this module only reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from d4c_platform.model.dataset import Dataset, MirrorName
from d4c_platform.model.records import Copies, Item, Torrents, Withdrawal
from d4c_platform.stages.platform import Platform
from d4c_platform.web import without_query


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


def outstanding(platform: Platform) -> list[Missing]:
    """Everything that is missing, oldest version first: build, then mirrors, then the torrent over them."""
    return [m for dataset in sorted(platform.datasets.values(), key=lambda d: d.id) for m in _of(platform, dataset)]


def _of(platform: Platform, dataset: Dataset) -> Iterator[Missing]:
    records = platform.records
    for candidate in sorted(records.candidates(dataset.id), key=lambda c: c.released_at):
        version_id = candidate.version_id
        if records.read(Withdrawal, version_id) is not None:
            continue
        if records.read(Item, version_id) is None:
            yield Missing(version_id, Stretch.BUILD)
            continue
        copies = {m: records.read(Copies, version_id, place=m.value) for m in dataset.mirrors}
        yield from (Missing(version_id, STRETCH_OF_MIRROR[m]) for m, copy in copies.items() if copy is None)
        there = [copy.url for found in copies.values() if found for copy in found.copies]
        torrents = records.read(Torrents, version_id)
        judged = {url for t in torrents.torrents for url in (*t.web_seeds, *t.left_out)} if torrents else set()
        # With one mirror there is a torrent; each later mirror re-issues it with one more web seed. A copy that was probed and
        # left out is the reconciler's to repair, not a reason to issue the same torrent again and again.
        if any(url not in judged and without_query(url) not in judged for url in there):
            yield Missing(version_id, Stretch.TORRENT)
