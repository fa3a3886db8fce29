"""From a checked artifact to the public: portal, catalog item, mirrors, torrent, catalog.

Each function may be repeated at any time and in any state; each raises a sentence when what it needs is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

from d4c_platform import naming
from d4c_platform.catalog import item as items
from d4c_platform.catalog.publish import Published, publish
from d4c_platform.mirrors.mirror import PublishedVersion
from d4c_platform.model.dataset import MirrorName
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Artifact, Build, Copies, Document, Doi, Item, Manifest, Release, Severity, Torrents
from d4c_platform.stages.build import refuse_withdrawn
from d4c_platform.stages.companions import PREVIEW, companions_of, method_of, torrents_of
from d4c_platform.stages.ingest import folder_of
from d4c_platform.stages.platform import Platform
from d4c_platform.torrents.publish import publish_torrents
from d4c_platform.transforms.rejects import REJECTS
from d4c_platform.transforms.statcan_members import MEMBERS

D = TypeVar("D", bound=Document)


def publish_on_portal(platform: Platform, version_id: str) -> Copies:
    """Put the version under `versions/` and make `processed/` serve the newest version."""
    refuse_withdrawn(platform, version_id)
    build = _need(platform, Build, version_id, "artifact")
    manifest = _need(platform, Manifest, version_id, "version_manifest")
    failed = [v for v in manifest.checks if not v.passed and v.severity is Severity.BLOCKING]
    if failed:
        raise PermanentFailure(
            f"{failed[0].check} did not pass: {failed[0].evidence}",
            where="portal",
            version=version_id,
            kept="The previous latest stays",
            remedy="Fix the source or the declaration and build again",
        )
    copies = platform.portal.publish(build, _beside(platform, version_id, build, manifest))
    platform.portal.switch_latest(platform.dataset_of(version_id))
    return copies


def describe_version(platform: Platform, version_id: str) -> Item:
    """Write the immutable part of the version's STAC item."""
    recorded = platform.records.read(Item, version_id)
    if recorded is not None:
        return recorded
    document = items.item(
        platform.dataset_of(version_id),
        version_id,
        _need(platform, Release, version_id, "raw_release"),
        _need(platform, Build, version_id, "artifact"),
        _need(platform, Manifest, version_id, "version_manifest"),
        portal_copies=_need(platform, Copies, version_id, "portal_version", place="portal"),
    )
    platform.records.write(document)
    return document


def copy_to(platform: Platform, mirror: MirrorName, version_id: str) -> Copies:
    """Put the version on one mirror and verify it there."""
    refuse_withdrawn(platform, version_id)
    dataset = platform.dataset_of(version_id)
    if mirror not in dataset.mirrors:
        raise PermanentFailure(
            "the declaration does not ask for this mirror", where=mirror.value, version=version_id, remedy="Add it to `mirrors`"
        )
    return platform.mirror(mirror).publish(_published_version(platform, version_id))


def publish_torrent(platform: Platform, version_id: str) -> Torrents:
    """Write the version's torrents, with every mirror that serves the right bytes as a web seed."""
    refuse_withdrawn(platform, version_id)
    build = _need(platform, Build, version_id, "artifact")
    dataset = platform.dataset_of(version_id)
    places = [m.value for m in dataset.mirrors] + ["portal"]
    copies = [c for place in places if (c := platform.records.read(Copies, version_id, place=place)) is not None]
    doi = platform.records.read(Doi, version_id)
    return publish_torrents(
        build,
        copies,
        platform.portal,
        platform.web,
        platform.settings.trackers,
        comment=doi.url if doi else "",
        folder=folder_of(platform.portal, _need(platform, Release, version_id, "raw_release")),
    )


def publish_catalog(platform: Platform) -> Published:
    """Fold all records into the one catalog."""
    return publish(platform.records, platform.portal.store)


def _published_version(platform: Platform, version_id: str) -> PublishedVersion:
    dataset = platform.dataset_of(version_id)
    build = _need(platform, Build, version_id, "artifact")
    manifest = _need(platform, Manifest, version_id, "version_manifest")
    item = _need(platform, Item, version_id, "catalog_item")
    release = _need(platform, Release, version_id, "raw_release")
    _need(platform, Copies, version_id, "portal_version", place="portal")

    @contextmanager
    def open_artifact(artifact: Artifact) -> Iterator[BinaryIO]:
        with platform.portal.open(version_id, artifact) as stream:
            yield stream

    # The torrent that travels with the version lists the mirror every version goes to, at the address it will have there.
    there = MirrorName.SOURCE_COOP in dataset.mirrors and platform.settings.source_coop_endpoint
    seeds = {a.role: platform.source_coop.url(dataset, a) for a in build.files} if there else {}
    companions = (
        *companions_of(dataset, release, build, manifest),
        *method_of(platform.portal, manifest),
        *torrents_of(build, web_seeds=seeds, trackers=platform.settings.trackers),
    )
    return PublishedVersion(
        dataset=dataset,
        version_id=version_id,
        item=item.item,
        artifacts=build.files,
        manifest=manifest,
        release_urls=tuple(f.url for f in release.files),
        previous_record_id=_previous_record(platform, version_id),
        open=open_artifact,
        companions=companions,
    )


def _beside(platform: Platform, version_id: str, build: Build, manifest: Manifest) -> dict[str, bytes]:
    """The small files that are not yet published beside the version; those that are stay as they are."""
    release = _need(platform, Release, version_id, "raw_release")
    files = {c.name: c.content for c in companions_of(platform.dataset_of(version_id), release, build, manifest)}
    for name in (PREVIEW, REJECTS, MEMBERS):
        staged = platform.portal.staged_companion(version_id, name)
        if staged is not None:
            files[name] = staged
    return {name: body for name, body in files.items() if platform.portal.lacks(version_id, name)}


def _previous_record(platform: Platform, version_id: str) -> str | None:
    """The Zenodo record whose concept this version joins: the nearest earlier version's, else the nearest later one's."""
    published = [v for v in platform.published(platform.dataset_of(version_id)) if v != version_id]
    earlier = [v for v in published if naming.order_key(v) < naming.order_key(version_id)]
    for version in (*reversed(earlier), *published[len(earlier) :]):
        doi = platform.records.read(Doi, version)
        if doi is not None:
            return doi.record_id
    return None


def _need(platform: Platform, kind: type[D], version_id: str, asset: str, place: str | None = None) -> D:
    document = platform.records.read(kind, version_id, place=place)
    if document is None:
        raise PermanentFailure(
            f"it has no {kind.DOCUMENT} yet", where="records", version=version_id, remedy=f"Materialize {asset} first"
        )
    return document
