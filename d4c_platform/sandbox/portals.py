"""The catalogue portals and map servers of the real world on one server a kind, with what the folder of releases holds of them.

The first segment of a path is the real host, as the publishers' files have it (`files`), so that one server stands in for every
portal of its kind. A portal that is asked for and nothing is recorded of is one that has no such package, dataset or layer, and
says so as a real one does. What a publisher offers as plain files on the same host is there too, and so are the files on
other hosts that a catalogue links to.

Not here: the protocols (`ckan`, `opendatasoft`, `arcgis`), where things lie in the folder (`recorded_portals`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from d4c_platform.model.dataset import Dataset
from d4c_platform.sandbox import recorded, recorded_portals
from d4c_platform.sandbox.arcgis import AsLayer, Recorded, Served, arcgis_app
from d4c_platform.sandbox.arcgis_layers import layers_in
from d4c_platform.sandbox.ckan import Catalogue, ckan_app
from d4c_platform.sandbox.faults import App, Receive, Scope, Send
from d4c_platform.sandbox.opendatasoft import OdsDataset, OdsPortal, opendatasoft_app
from d4c_platform.sandbox.ranged import FileAnswer


def ckan_portals(declared: Iterable[Dataset], releases: Path) -> App:
    """Every CKAN portal that is declared or recorded."""
    declared = list(declared)
    found = {host: Catalogue() for host in _hosts(declared, "ckan")}
    for host, packages in recorded_portals.packages(releases).items():
        found.setdefault(host, Catalogue()).add(*packages)
    return _with_files(_by_host({host: ckan_app(catalogue) for host, catalogue in found.items()}), declared, releases)


def opendatasoft_portals(declared: Iterable[Dataset], releases: Path) -> App:
    """Every Opendatasoft portal that is declared or recorded."""
    declared = list(declared)
    found = {host: OdsPortal() for host in _hosts(declared, "opendatasoft")}
    for host, exports in recorded_portals.exports(releases).items():
        portal = found.setdefault(host, OdsPortal())
        for name, file in exports.items():
            portal.add(_ods_dataset(name, file))
    return _with_files(_by_host({host: opendatasoft_app(portal) for host, portal in found.items()}), declared, releases)


def arcgis_servers(declared: Iterable[Dataset], releases: Path) -> App:
    """Every layer that is recorded."""
    folder = releases / recorded_portals.LAYERS
    layers: dict[str, AsLayer] = {address: Served(layer) for address, layer in layers_in(folder).items()}
    layers |= {address: Recorded(folder, stem) for address, stem in recorded_portals.layer_answers(releases).items()}
    return _with_files(arcgis_app(lambda: layers), list(declared), releases)


def _hosts(declared: Iterable[Dataset], kind: str) -> set[str]:
    return {urlsplit(d.source.address).netloc for d in declared if d.source.kind == kind}


def _by_host(portals: Mapping[str, Starlette]) -> Starlette:
    return Starlette(routes=[Mount(f"/{host}", portal) for host, portal in portals.items()])


def _ods_dataset(name: str, file: Path) -> OdsDataset:
    features: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["features"]
    records = [{**f["properties"], "geo_shape": f["geometry"]} for f in features]
    processed = datetime.fromtimestamp(int(file.stat().st_mtime), UTC).isoformat()
    return OdsDataset(name, records, data_processed=processed, modified=processed, title=name)


def _with_files(app: App, declared: list[Dataset], releases: Path) -> App:
    """The app, and before it the plain files under the same hosts. They are looked up again for every request."""

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            return await app(scope, receive, send)
        path, query = scope["path"].removeprefix("/"), scope["query_string"].decode("latin-1")
        offered = recorded.files_by_address(declared, releases)
        file = recorded.plain_file(path, releases) or offered.get(f"{path}?{query}" if query else path)
        answer = app if file is None else FileAnswer(file, missing=PlainTextResponse("Not Found", status_code=404))
        return await answer(scope, receive, send)

    return either
