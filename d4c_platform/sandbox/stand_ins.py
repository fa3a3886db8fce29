"""Which server of the sandbox stands in for which kind of source, and how to tell whether it has a release.

A kind that is not registered here publishes plain files: the file server stands in for it, and nothing has to be done. A kind
with a protocol of its own has a module with its server, and one line in `STAND_INS`.

Not here: where the servers are (`place`), what lies in the folder of releases (`recorded`, `recorded_portals`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.sources import ArcgisSource, CkanSource, OpendatasoftSource, StatCanTableSource
from d4c_platform.sandbox.arcgis_layers import addresses_in
from d4c_platform.sandbox.recorded import address, file_of, origin, plain_file, table_releases
from d4c_platform.sandbox.recorded_portals import LAYERS, exports, layer_answers, packages


def _nowhere(releases: Path) -> set[str]:
    return set()


@dataclass(frozen=True, slots=True)
class StandIn:
    """A server that stands in for a kind.

    Attributes:
        service: its name among the sandbox's services.
        has: whether a folder of releases holds one of the dataset.
        origins: the origins that a folder of releases holds something of, declared or not.
    """

    service: str
    has: Callable[[Dataset, Path], bool]
    origins: Callable[[Path], set[str]] = _nowhere


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


def _has_package(dataset: Dataset, releases: Path) -> bool:
    """A package with the declared resources, and their files: a package alone is no release."""
    source = dataset.source
    if not isinstance(source, CkanSource):
        return False
    host = urlsplit(source.portal).netloc
    named = [p for p in packages(releases).get(host, []) if source.package in {p["id"], p.get("name")}]
    paths = {r["id"]: address(str(r["url"])).partition("?")[0] for package in named for r in package["resources"]}
    return all(name in paths and plain_file(paths[name], releases) is not None for name in source.resources)


def _has_export(dataset: Dataset, releases: Path) -> bool:
    source = dataset.source
    return isinstance(source, OpendatasoftSource) and source.dataset in exports(releases).get(
        urlsplit(source.portal).netloc, {}
    )


def _has_layer(dataset: Dataset, releases: Path) -> bool:
    source = dataset.source
    return isinstance(source, ArcgisSource) and address(source.layer) in addresses_in(releases / LAYERS)


def _of_packages(releases: Path) -> set[str]:
    """The portals, and wherever their resources lie: a link must not lead out of the sandbox either."""
    found = packages(releases)
    linked = (str(r.get("url") or "") for shown in found.values() for package in shown for r in package["resources"])
    return {f"https://{host}" for host in found} | {origin(url) for url in linked if "://" in url}


def _of_exports(releases: Path) -> set[str]:
    return {f"https://{host}" for host in exports(releases)}


def _of_layers(releases: Path) -> set[str]:
    known = [*addresses_in(releases / LAYERS), *layer_answers(releases)]
    return {f"https://{layer.partition('/')[0]}" for layer in known}


PLAIN_FILES = StandIn("files", _has_file)
STAND_INS = MappingProxyType(
    {
        "statcan-table": StandIn("statcan", _has_table),
        "ckan": StandIn("ckan", _has_package, _of_packages),
        "opendatasoft": StandIn("opendatasoft", _has_export, _of_exports),
        "arcgis": StandIn("arcgis", _has_layer, _of_layers),
    }
)
