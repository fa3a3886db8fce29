"""Which server of the sandbox stands in for which kind of source, and how to tell whether it has a release.

A kind that is not registered here publishes plain files: the file server stands in for it, and nothing has to be done. A kind
with a protocol of its own has a module with its server, and one line in `STAND_INS`.

Not here: where the servers are (`place`), what lies in the folder of releases (`recorded`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.sources import StatCanTableSource
from d4c_platform.sandbox.recorded import file_of, table_releases


@dataclass(frozen=True, slots=True)
class StandIn:
    """A server that stands in for a kind.

    Attributes:
        service: its name among the sandbox's services.
        has: whether a folder of releases holds one of the dataset.
    """

    service: str
    has: Callable[[Dataset, Path], bool]


def is_recorded(dataset: Dataset, releases: Path) -> bool:
    """Whether the folder has a release of the dataset."""
    return stand_in(dataset).has(dataset, releases)


def stand_in(dataset: Dataset) -> StandIn:
    """What stands in for the dataset's publisher."""
    return STAND_INS.get(dataset.source.kind, PLAIN_FILES)


def _has_file(dataset: Dataset, releases: Path) -> bool:
    return file_of(dataset, releases) is not None


def _has_table(dataset: Dataset, releases: Path) -> bool:
    source = dataset.source
    return isinstance(source, StatCanTableSource) and any(
        release.product_id == source.product_id for release in table_releases(releases)
    )


PLAIN_FILES = StandIn("files", _has_file)
STAND_INS = MappingProxyType({"statcan-table": StandIn("statcan", _has_table)})
