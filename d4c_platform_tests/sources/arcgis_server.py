"""An ArcGIS server with one layer, and a client of it: what the rules about layers need."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from d4c_platform.model.dataset import Dataset
from d4c_platform.sandbox.arcgis import AsLayer, Served, arcgis_app
from d4c_platform.sandbox.arcgis_layers import Abilities, SandboxLayer
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources.arcgis_layer import LayerClient
from d4c_platform.sources.arcgis_walk import Walk
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import Publisher, dataset_of

HOST = "gis.example.ca"
ADDRESS = f"{HOST}/arcgis/rest/services/Wards/FeatureServer/0"
LAYER = f"https://{ADDRESS}"


def feature(oid: int, value: Any = "a", geometry: Mapping[str, Any] | None = None) -> dict[str, Any]:
    point = {"type": "Point", "coordinates": [-79.5 + oid / 1000, 43.5]}
    return {"type": "Feature", "id": oid, "geometry": geometry or point, "properties": {"KIND": value, "n": oid * 2}}


def arcgis(layer: str = LAYER, where: str | None = None, **more: Any) -> Dataset:
    source = {"kind": "arcgis", "layer": layer} | ({"where": where} if where else {})
    return dataset_of(source, vintage={"rule": "release"}, name="wards", **more)


@dataclass
class Gis(Publisher):
    """A served ArcGIS server whose layers a test puts in place and edits."""

    url: str
    layers: dict[str, AsLayer]

    def holds(self, features: Iterable[Mapping[str, Any]] | int, address: str = ADDRESS, **how: Any) -> SandboxLayer:
        """Put a layer of these features (or of so many) in place; abilities by name, the rest as `SandboxLayer` has it."""
        rows = [feature(oid) for oid in range(1, features + 1)] if isinstance(features, int) else features
        can = {name: how.pop(name) for name in list(how) if name in Abilities.__dataclass_fields__}
        layer = SandboxLayer(rows, abilities=Abilities(**can), **how)
        self.layers[address] = Served(layer)
        return layer


@contextmanager
def serving(*, with_log: bool = True) -> Iterator[tuple[Gis, Web]]:
    """A server and a client that is led to it; with its fault switch and its log of requests."""
    layers: dict[str, AsLayer] = {}
    app = arcgis_app(lambda: layers)
    with serve(with_faults(app) if with_log else app) as served:
        gis = Gis(served.url, layers)
        origins = {f"https://{HOST}": f"{served.url}/{HOST}"}
        web = Web(origins=origins, per_host_per_s=100_000, attempts=2, first_wait_s=0.01, timeout_s=20)
        yield gis, web
        web.close()


def harvest(web: Web, where: str = "1=1", url: str = LAYER, write: Callable[[bytes], object] | None = None) -> bytes:
    """One walk with its proof."""
    out = io.BytesIO()
    client = LayerClient(web, url, where, attempts=3)
    walk = Walk(client, client.layer(), write or out.write)
    while walk.step():
        pass
    walk.prove()
    return out.getvalue()


def oids_of(document: bytes) -> list[int]:
    return [f["id"] for f in json.loads(document)["features"]]
