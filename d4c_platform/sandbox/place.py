"""Where a sandbox lives and how clients reach it: its folder, its ports, its URLs, the settings that point at it.

It is written to `sandbox.json` in the folder, so that the services, and a second process, read the same. The ports in it
outlive a restart: URLs inside records, torrents and catalogs of a kept folder stay true.

Not here: the processes (`up`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from d4c_platform import datasets
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sandbox import recorded, stand_ins
from d4c_platform.sandbox.serving import HOST, is_free
from d4c_platform.sandbox.statcan import REAL_HOST

SERVICES = ("statcan", "files", "portal", "mirror", "zenodo", "tracker")  # those that the main job needs
PORTALS = tuple(known.service for known in stand_ins.STAND_INS.values() if known.service not in SERVICES)
EVERY_SERVICE = (*SERVICES, *PORTALS)
STATE = "sandbox.json"
# Below the range that Linux takes ports of outgoing connections from, so that nothing else gets a stopped service's port, and
# below those that the S3 server picks for its parts. It listens 10,000 higher, too.
PORTS = range(12_000, 19_900)
COMPANION = 10_000

# Not secrets: they open nothing but servers on this machine, and `d4c sandbox up` prints them.
ACCESS_KEY = "sandbox"
SECRET_KEY = "sandbox-secret"  # noqa: S105
TOKEN = "sandbox-token"  # noqa: S105
BUCKET = "dataforcanada"

EVERY_DATASET = Path(__file__).with_name("datasets")
OWN_DATASETS = EVERY_DATASET / "census"  # those that the main job is shown with


@dataclass(frozen=True)
class Place:
    """A sandbox's folder and ports.

    Attributes:
        recorded_releases: a folder of recorded real releases; None for the ones the sandbox ships.
    """

    folder: Path
    recorded_releases: Path | None
    ports: Mapping[str, int]

    @classmethod
    def at(cls, folder: Path, recorded_releases: Path | None, services: Iterable[str] = SERVICES) -> Place:
        """The place in a folder: with the ports it had before, or fresh ones, for the main job's services and those named."""
        folder = folder.absolute()
        known = read_state(folder)
        ports = known.ports if known else {}
        return cls(folder, recorded_releases and recorded_releases.absolute(), _ports(ports, (*SERVICES, *services)))

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://{HOST}:{port}" for name, port in self.ports.items()}

    @property
    def releases(self) -> Path:
        """The folder of releases the source servers show."""
        return self.recorded_releases or self.folder / "releases"

    @property
    def portal(self) -> Path:
        return self.folder / "portal"

    @property
    def clock_file(self) -> Path:
        return self.folder / "statcan" / "clock.json"

    @property
    def datasets(self) -> Path:
        """The folder of declarations: the real ones for real releases; otherwise the sandbox's own, as far as servers run."""
        if self.recorded_releases is not None:
            return datasets.PACKAGED
        return OWN_DATASETS if self.ports.keys().isdisjoint(PORTALS) else EVERY_DATASET

    @cached_property
    def declared(self) -> Mapping[str, Dataset]:
        return datasets.load(self.datasets)

    def recorded(self, dataset_id: str) -> bool:
        """Whether the sandbox has a release of a declared dataset; where it has none, it answers 404."""
        dataset = self.declared.get(dataset_id)
        return dataset is not None and stand_ins.is_recorded(dataset, self.releases)

    def origins(self) -> dict[str, str]:
        """Real origin to the server that stands in for it: of all that is declared, so that nothing asks the real one.

        Where a portal does not run, the file server answers in its place that there is no such thing. An origin that is a
        portal's and has plain files is led to the portal's server, which has the files too.
        """
        urls, stand_in = self.urls, stand_ins.stand_in
        services = {recorded.origin(d.source.address): stand_ins.PLAIN_FILES.service for d in self.declared.values()}
        for known in stand_ins.STAND_INS.values():
            services |= dict.fromkeys(known.origins(self.releases) if known.service in urls else (), known.service)
        for dataset in self.declared.values():
            if (service := stand_in(dataset).service) in PORTALS and service in urls:
                services[recorded.origin(dataset.source.address)] = service
        found = {real: f"{urls[service]}/{real.partition('://')[2]}" for real, service in sorted(services.items())}
        return {**found, REAL_HOST: urls["statcan"]}

    def env(self) -> dict[str, str]:
        """The settings that point every client at this sandbox."""
        urls = self.urls
        return {
            "D4C_DATASETS": str(self.datasets),
            "D4C_ORIGINS": json.dumps(self.origins()),
            "D4C_PORTAL_DIR": str(self.portal),
            "D4C_PORTAL_URL": urls["portal"],
            "D4C_SOURCE_COOP_ENDPOINT": urls["mirror"],
            "D4C_SOURCE_COOP_BUCKET": BUCKET,
            "D4C_SOURCE_COOP_URL": f"{urls['mirror']}/{BUCKET}",
            "D4C_SOURCE_COOP_ACCESS_KEY": ACCESS_KEY,
            "D4C_SOURCE_COOP_SECRET_KEY": SECRET_KEY,
            "D4C_ZENODO_URL": urls["zenodo"],
            "D4C_ZENODO_TOKEN": TOKEN,
            "D4C_ZENODO_PUBLISH": "yes",
            "D4C_TRACKERS": json.dumps([f"{urls['tracker']}/announce"]),
        }

    def write(self, pid: int | None) -> None:
        """Keep it for other processes. `pid` is the owner's while the sandbox runs."""
        document = {
            "pid": pid,
            "releases": str(self.recorded_releases) if self.recorded_releases else None,
            "ports": dict(self.ports),
            "urls": self.urls,
        }
        fresh = self.folder / f".{STATE}"
        fresh.write_text(json.dumps(document, indent=2) + "\n")
        fresh.replace(self.folder / STATE)


def read_state(folder: Path) -> Place | None:
    """The place that was kept in a folder, if there is one."""
    document = _document(folder)
    if document is None:
        return None
    releases, ports = document.get("releases"), document["ports"]
    assert isinstance(ports, dict)
    return Place(folder.absolute(), Path(str(releases)) if releases else None, ports)


def owner(folder: Path) -> int | None:
    """The process that last owned the folder's sandbox and has not said goodbye. Whether it lives, its lock tells."""
    document = _document(folder)
    pid = document.get("pid") if document else None
    return pid if isinstance(pid, int) else None


def _document(folder: Path) -> dict[str, object] | None:
    try:
        document: dict[str, object] = json.loads((folder / STATE).read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PermanentFailure(
            "is not readable", where="sandbox", file=str(folder / STATE), remedy="Remove the file, or the folder"
        ) from error
    return document


def _ports(known: Mapping[str, int], services: Iterable[str]) -> dict[str, int]:
    names = tuple(dict.fromkeys(services))
    ports = {name: known[name] for name in names if name in known}
    while len(ports) < len(names):
        port = random.choice(PORTS)
        if port not in ports.values() and is_free(port) and is_free(port + COMPANION):
            ports[next(name for name in names if name not in ports)] = port
    return ports
