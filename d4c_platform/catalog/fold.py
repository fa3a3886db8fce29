"""From the records of a version to its whole STAC item. Pure: the same records give the same item, on any machine.

A version's place among the versions of its dataset (`Lineage`) is computed from ids alone: a dataset has one latest version,
and every other is deprecated by its successor.

Not here: reading records (publish) or the time anything was checked: that is volatile and lies in `mirrors_table`.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from d4c_platform.catalog.vocabulary import (
    DATA_ROLES,
    EXTENSIONS,
    PARQUET,
    PLACE_TITLES,
    PLACES,
    PORTAL,
    STORAGE_TYPES,
    multihash,
    within_catalog,
)
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import SOURCE_FOLDER, Copies, Copy, CopyState, Doi, Item, Torrents, part_role
from d4c_platform.naming import order_key


@dataclass(frozen=True, slots=True)
class Facts:
    """What the records say of one version."""

    item: Item
    portal: Copies
    mirrors: tuple[Copies, ...] = ()
    doi: Doi | None = None
    torrents: Torrents | None = None
    manifest_url: str | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version's place among the versions of its dataset, by order key."""

    latest: str
    predecessor: str | None = None
    successor: str | None = None


def lineages(versions: Iterable[tuple[str, str]]) -> dict[str, Lineage]:
    """The lineage of every version, in catalog order: by dataset id, then from the oldest version to the newest.

    Args:
        versions: pairs of dataset id and version id, in any order.
    """
    by_dataset: defaultdict[str, list[str]] = defaultdict(list)
    for dataset, version in versions:
        by_dataset[dataset].append(version)
    found: dict[str, Lineage] = {}
    for dataset in sorted(by_dataset):
        chain = sorted(by_dataset[dataset], key=order_key)
        for version, before, after in zip(chain, [None, *chain[:-1]], [*chain[1:], None], strict=True):
            found[version] = Lineage(chain[-1], before, after)
    return found


def dataset_of(item: Item) -> str:
    """The dataset a version belongs to, as its record says: declarations may come and go."""
    dataset = item.item.get("properties", {}).get("d4c:dataset")
    if not isinstance(dataset, str) or not dataset:
        raise PermanentFailure("item.json does not say its dataset", where="catalog", version=item.version_id)
    return dataset


def fold(facts: Facts, lineage: Lineage) -> dict[str, Any]:
    """The whole STAC item of one version."""
    item = copy.deepcopy(facts.item.item)
    version = facts.item.version_id
    properties, assets = item["properties"], item["assets"]
    properties |= {"deprecated": lineage.successor is not None, "d4c:latest": lineage.successor is None}
    extensions = {*item["stac_extensions"], EXTENSIONS["storage"]}
    item["links"] += _catalog_links(item, lineage)
    schemes = {PORTAL: _scheme(PORTAL, next(iter(facts.portal.copies)).url)} if facts.portal.copies else {}

    portal = {c.role: c.url for c in facts.portal.copies}
    for role, asset in assets.items():
        parts = asset.get("d4c:parts", ())
        for number, part in enumerate(parts, 1):
            part["href"] = portal.get(part_role(role, number), part["href"])
        asset["href"] = parts[0]["href"] if parts else portal.get(role, asset["href"])
        if role not in DATA_ROLES:
            continue
        asset["storage:refs"] = [PORTAL]
        alternates = _alternates(role, asset, facts.mirrors)
        if alternates:
            asset["alternate"] = alternates
            extensions.add(EXTENSIONS["alternate"])
        schemes |= {key: _scheme(key, alternate["href"]) for key, alternate in alternates.items()}
    properties["storage:schemes"] = schemes

    if facts.doi:
        properties["sci:doi"] = facts.doi.doi
        properties["sci:citation"] = citation(properties, version, facts.doi.doi)
        doi_url = f"https://doi.org/{facts.doi.doi}"
        item["links"].append({"rel": "cite-as", "href": doi_url, "type": "text/html", "title": f"DOI {facts.doi.doi}"})
        extensions.add(EXTENSIONS["sci"])
        if facts.doi.concept_doi:
            properties["d4c:concept_doi"] = facts.doi.concept_doi
    if facts.torrents:
        _join_torrents(facts.torrents, properties, assets)
    if facts.manifest_url:
        assets["metadata"] = {
            "href": facts.manifest_url,
            "type": "application/json",
            "title": "Manifest: what the version was built from",
            "roles": ["metadata"],
        }
    item["stac_extensions"] = sorted(extensions)
    return item


def citation(properties: Mapping[str, Any], version_id: str, doi: str) -> str:
    """How to cite a version, in one sentence (after DataCite: creator, year, title, version, publisher, identifier)."""
    producer = next((p["name"] for p in properties["providers"] if "producer" in p["roles"]), "Data for Canada")
    year = properties["d4c:released_at"][:4]
    return (
        f"{producer} ({year}). {properties['title']} (Version {properties['version']}, {version_id}) [Data set]. "
        f"Data for Canada. https://doi.org/{doi}"
    )


def _catalog_links(item: Mapping[str, Any], lineage: Lineage) -> list[dict[str, Any]]:
    named = (
        ("collection", item["collection"], "Data package"),
        ("predecessor-version", lineage.predecessor, "The version before"),
        ("successor-version", lineage.successor, "The version after"),
        ("latest-version", lineage.latest, "The latest version"),
    )
    return [
        {"rel": rel, "href": within_catalog(name), "type": PARQUET, "title": f"{title}: {name}"}
        for rel, name, title in named
        if name is not None
    ]


def _alternates(role: str, asset: Mapping[str, Any], mirrors: Iterable[Copies]) -> dict[str, dict[str, Any]]:
    """The other places that have exactly these bytes: an alternate asset that differs would be a lie."""
    good = {
        PLACES[copies.place]: found
        for copies in mirrors
        for found in copies.copies
        if copies.place in PLACES and found.role in (role, part_role(role, 1)) and _is_right(found, asset)
    }
    return {
        key: {"href": good[key].url, "alternate:name": PLACE_TITLES[key], "storage:refs": [key]}
        for key in PLACES.values()
        if key in good
    }


def _is_right(found: Copy, asset: Mapping[str, Any]) -> bool:
    return found.state is not CopyState.BAD and multihash(found.sha256) == asset["file:checksum"]


def _scheme(place: str, url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {"type": STORAGE_TYPES[place], "platform": f"{parts.scheme}://{parts.netloc}", "title": PLACE_TITLES[place]}


def _join_torrents(torrents: Torrents, properties: dict[str, Any], assets: dict[str, Any]) -> None:
    """A version is known by its data: their torrent is the `torrent` asset and stands at the top, others at their asset.

    The files of a folder are in no asset, so their torrent is one.
    """
    for torrent in torrents.torrents:
        swarm = {"d4c:info_hash": torrent.info_hash, "d4c:magnet": torrent.magnet}
        if torrent.role == "data":
            properties |= swarm
            assets["torrent"] = {
                "href": torrent.url,
                "type": "application/x-bittorrent",
                "title": "Torrent of the data",
                "roles": ["torrent"],
                "file:checksum": multihash(torrent.sha256),
            }
        elif torrent.role == SOURCE_FOLDER:
            assets[SOURCE_FOLDER] = swarm | {
                "href": torrent.url,
                "type": "application/x-bittorrent",
                "title": "Torrent of the publisher's files",
                "roles": ["source", "torrent"],
                "file:checksum": multihash(torrent.sha256),
            }
        elif torrent.role in assets:
            assets[torrent.role] |= swarm | {"d4c:torrent": torrent.url}
        elif part := _part(torrent.role, assets):
            part |= swarm | {"d4c:torrent": torrent.url}


def _part(role: str, assets: Mapping[str, Any]) -> dict[str, Any] | None:
    """The part of a large table that a role such as `data-0002` names."""
    whole, _, number = role.rpartition("-")
    parts = assets.get(whole, {}).get("d4c:parts", [])
    return parts[int(number) - 1] if number.isdecimal() and 0 < int(number) <= len(parts) else None
