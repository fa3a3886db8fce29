"""Where a sandbox lives and how clients reach it: its folder, its ports, its URLs, the settings that point at it.

It is written to `sandbox.json` in the folder, so that the services, and a second process, read the same. The ports in it
outlive a restart: URLs inside records, torrents and catalogs of a kept folder stay true.

Not here: the processes (`up`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from d4c_platform import datasets
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sandbox import recorded, stand_ins
from d4c_platform.sandbox.serving import HOST, is_free
from d4c_platform.sandbox.statcan import REAL_HOST

SERVICES = ("statcan", "files", "portal", "mirror", "zenodo", "tracker")
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

OWN_DATASETS = Path(__file__).with_name("datasets")


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
    def at(cls, folder: Path, recorded_releases: Path | None) -> Place:
        """The place in a folder: with the ports it had before, or fresh ones."""
        folder = folder.absolute()
        known = read_state(folder)
        ports = known.ports if known else {}
        return cls(folder, recorded_releases and recorded_releases.absolute(), _ports(ports))

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
        """The folder of declarations: the real ones for real releases, the sandbox's own otherwise."""
        return OWN_DATASETS if self.recorded_releases is None else datasets.PACKAGED

    @cached_property
    def declared(self) -> Mapping[str, Dataset]:
        return datasets.load(self.datasets)

    def recorded(self, dataset_id: str) -> bool:
        """Whether the sandbox has a release of a declared dataset; where it has none, it answers 404."""
        dataset = self.declared.get(dataset_id)
        return dataset is not None and stand_ins.is_recorded(dataset, self.releases)

    def origins(self) -> dict[str, str]:
        """Real origin to the server that stands in for it."""
        urls = self.urls
        found = {}
        for dataset in self.declared.values():
            real = recorded.origin(dataset.source.address)
            found[real] = f"{urls[stand_ins.stand_in(dataset).service]}/{real.partition('://')[2]}"
        return {**dict(sorted(found.items())), REAL_HOST: urls["statcan"]}

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


def _ports(known: Mapping[str, int]) -> dict[str, int]:
    ports = {name: known[name] for name in SERVICES if name in known}
    while len(ports) < len(SERVICES):
        port = random.choice(PORTS)
        if port not in ports.values() and is_free(port) and is_free(port + COMPANION):
            ports[next(name for name in SERVICES if name not in ports)] = port
    return ports
