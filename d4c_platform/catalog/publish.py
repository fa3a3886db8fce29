"""Publish the catalog: fold all records, and replace the published files by compare-and-swap.

The etag of the published file is read *before* the records, and the new file is written only while that etag still stands. So a
publisher that loses the race starts again from the records, which by then hold what the winner published: no row is lost,
whoever is killed when. Readers see the old file or the new one, because the store replaces objects whole.

`mirrors.parquet` goes first: a reader who joins it to the catalog finds rows for every version it knows.

Not here: declarations. The catalog is a pure function of the records, so that it can be rebuilt from object storage alone.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d4c_platform.catalog.fold import Facts, Lineage, dataset_of, fold, lineages
from d4c_platform.catalog.mirrors_table import MirrorsWriter
from d4c_platform.catalog.vocabulary import CATALOG_KEY, MIRRORS_KEY, PARQUET, PLACES, PORTAL
from d4c_platform.catalog.write import write_catalog
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Copies, Doi, Item, Manifest, Torrents, Withdrawal
from d4c_platform.storage.records import Records
from d4c_platform.storage.store import NO_CACHE, Conflict, ObjectInfo, ObjectStore

ATTEMPTS = 25  # each lost race means that another publisher won one
LONGEST_PAUSE_S = 0.5  # between two attempts, so that equal publishers fall out of step
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Published:
    """The catalog as it is after publishing.

    Attributes:
        rows: number of versions in it.
        sha256: of `catalog.parquet`.
        mirrors_sha256: of `mirrors.parquet`.
        versions: their ids, in catalog order.
    """

    rows: int
    sha256: str
    mirrors_sha256: str
    versions: tuple[str, ...]


def publish(records: Records, portal_store: ObjectStore) -> Published:
    """Fold all records into the published catalog. Repeating it without new records changes nothing.

    Raises:
        PermanentFailure: a record does not fit the catalog; the published catalog stays.
        TransientFailure: other publishers kept winning.
    """
    with tempfile.TemporaryDirectory(prefix="d4c-catalog-") as folder:
        for _ in range(ATTEMPTS):
            mirrors_before, catalog_before = portal_store.head(MIRRORS_KEY), portal_store.head(CATALOG_KEY)
            mirrors, catalog = Path(folder, "mirrors.parquet"), Path(folder, "catalog.parquet")
            order = lineages(_published_versions(records))
            with MirrorsWriter(mirrors) as writer:
                rows = write_catalog(catalog, _items(records, portal_store, order, writer))
            try:
                mirrors_sha256 = _replace(portal_store, MIRRORS_KEY, mirrors, mirrors_before)
                sha256 = _replace(portal_store, CATALOG_KEY, catalog, catalog_before)
            except Conflict:
                time.sleep(random.uniform(0, LONGEST_PAUSE_S))
                continue
            return Published(rows, sha256, mirrors_sha256, tuple(order))
    raise TransientFailure(
        f"other publishers replaced it {ATTEMPTS} times in a row",
        where="catalog",
        file=CATALOG_KEY,
        kept="The catalog they published has their rows",
        remedy="Publish again",
    )


def _published_versions(records: Records) -> Iterator[tuple[str, str]]:
    """Dataset and id of every version that stands on the portal, has an item and was not withdrawn."""
    for version in records.versions():
        if records.read(Copies, version, place=PORTAL) is None or records.read(Withdrawal, version) is not None:
            continue
        item = records.read(Item, version)
        if item is not None:
            yield dataset_of(item), version


def _items(records: Records, store: ObjectStore, order: dict[str, Lineage], mirrors: MirrorsWriter) -> Iterator[dict[str, Any]]:
    for version, lineage in order.items():
        facts = read_facts(records, store, version)
        mirrors.add((facts.portal, *facts.mirrors))
        yield fold(facts, lineage)


def read_facts(records: Records, store: ObjectStore, version: str) -> Facts:
    """What the records say of one version."""
    item, portal = records.read(Item, version), records.read(Copies, version, place=PORTAL)
    if item is None or portal is None:
        raise PermanentFailure("its item or its portal copies are missing", where="catalog", version=version)
    found = (records.read(Copies, version, place=place) for place in PLACES)
    return Facts(
        item=item,
        portal=portal,
        mirrors=tuple(copies for copies in found if copies is not None),
        doi=records.read(Doi, version),
        torrents=records.read(Torrents, version),
        manifest_url=store.url(records.key(Manifest, version)),
    )


def _replace(store: ObjectStore, key: str, path: Path, before: ObjectInfo | None) -> str:
    """Write the file unless it is there already; raise Conflict when the object is no longer the one that was seen."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    sha256 = digest.hexdigest()
    if before is not None and before.sha256 == sha256:
        return sha256
    store.put(
        key,
        path,
        media_type=PARQUET,
        cache_control=NO_CACHE,
        sha256=sha256,
        if_absent=before is None,
        if_match=before.etag if before else None,
    )
    return sha256
