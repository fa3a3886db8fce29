"""Publish a version's torrents: born seeded by every mirror that was seen to serve the right bytes.

The same call publishes for the first time and re-issues: it composes the torrent from the recorded digests, probes every copy,
and replaces the `.torrent` and its record when something changed. The info-hash depends on the artifact alone, so a swarm
outlives every re-issue. The `.torrent` is the one object under `versions/` that may be replaced; it is written under its own
condition (nobody replaced it since we looked) and never cached.

A release that is a folder of files was given its torrent when it was archived; the public one, beside the artifact's, differs
from it in what was probed: the folder's web seed is the portal, where the files are.

Not here: when copies are checked again (the reconciler), or who seeds (swarm).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import SOURCE_FOLDER, Artifact, Build, Copies, Copy, CopyState, Torrent, Torrents
from d4c_platform.storage.portal import PLACE as PORTAL
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import NO_CACHE, Conflict, ObjectStore
from d4c_platform.torrents.metainfo import Metainfo, compose, parse, reissue
from d4c_platform.torrents.web_seeds import Probe, probe
from d4c_platform.web import Web, without_query

MEDIA_TYPE = "application/x-bittorrent"
REPLACE_ATTEMPTS = 5  # lost races before we conclude that something writes in a loop


@dataclass(frozen=True, slots=True)
class Candidates:
    """The copies of one artifact, by who serves them."""

    mirrors: tuple[Copy, ...]
    portal: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """A release that is a folder of files.

    Attributes:
        torrent: as it was archived with the release.
        parent: URL of what the folder lies in, ending with a slash.
    """

    torrent: bytes
    parent: str


@dataclass(frozen=True, slots=True)
class _Ready:
    """A torrent that may be written, and what its seeds were found to be."""

    role: str
    torrent: bytes
    meta: Metainfo
    verdicts: tuple[Probe, ...]


def publish_torrents(
    build: Build,
    copies: Sequence[Copies],
    portal: Portal,
    web: Web,
    trackers: Sequence[str],
    *,
    comment: str = "",
    folder: Folder | None = None,
) -> Torrents:
    """Write the `.torrent` of every artifact of a version and of its folder, and the version's record of them.

    Args:
        copies: where the version is; mirrors are listed in this order, the portal always last.
        trackers: announce URLs, most trusted first; each is a tier of its own.
        comment: what a client shows beside the name, for instance the DOI's link.

    Raises:
        PermanentFailure: an artifact has no mirror that can be a web seed, or the folder none; nothing was written.
        TransientFailure: the same, and at least one may only be down for now.
    """
    ready = [_compose(artifact, build.version_id, copies, web, trackers, comment) for artifact in build.files]
    if folder is not None:
        ready.append(_compose_folder(folder, build.version_id, web, trackers, comment))
    torrents = []
    for one in ready:
        key = portal.version_key(build.version_id, f"{one.meta.name}.torrent")
        _replace(portal.store, key, one.torrent)
        torrents.append(_describe(one, portal.store.url(key)))
    document = Torrents(version_id=build.version_id, torrents=tuple(torrents))
    portal.records.write(document)
    return document


def _compose(
    artifact: Artifact, version_id: str, copies: Sequence[Copies], web: Web, trackers: Sequence[str], comment: str
) -> _Ready:
    bare = compose(artifact.file, artifact.digests)
    meta = parse(bare)
    candidates = _candidates(artifact, copies)
    mirrors = [_judge(copy, artifact, meta, web) for copy in candidates.mirrors]
    if not any(verdict.ok for verdict in mirrors):
        raise _no_seed("no mirror can be a web seed", artifact.file, version_id, mirrors)
    verdicts = (*mirrors, *(_judge(copy, artifact, meta, web) for copy in candidates.portal))
    return _ready(artifact.role, bare, verdicts, trackers, comment)


def _compose_folder(folder: Folder, version_id: str, web: Web, trackers: Sequence[str], comment: str) -> _Ready:
    meta = parse(folder.torrent)
    verdict = probe(web, folder.parent, meta)
    if not verdict.ok:
        raise _no_seed("the portal cannot be the folder's web seed", meta.name, version_id, [verdict])
    return _ready(SOURCE_FOLDER, folder.torrent, (verdict,), trackers, comment)


def _ready(role: str, torrent: bytes, verdicts: tuple[Probe, ...], trackers: Sequence[str], comment: str) -> _Ready:
    seeds = [verdict.url for verdict in verdicts if verdict.ok]
    issued = reissue(torrent, web_seeds=seeds, trackers=[[tracker] for tracker in trackers], comment=comment)
    return _Ready(role, issued, parse(issued), verdicts)


def _candidates(artifact: Artifact, copies: Iterable[Copies]) -> Candidates:
    mirrors: dict[str, Copy] = {}  # by URL, first one wins: two places may record the same copy
    portal: dict[str, Copy] = {}
    for place in copies:
        for copy in place.copies:
            if copy.role == artifact.role:
                (portal if place.place == PORTAL else mirrors).setdefault(copy.url, copy)
    return Candidates(tuple(mirrors.values()), tuple(c for c in portal.values() if c.url not in mirrors))


def _judge(copy: Copy, artifact: Artifact, meta: Metainfo, web: Web) -> Probe:
    if copy.state is CopyState.BAD:
        return Probe(copy.url, ok=False, reason="its copy is recorded as bad")
    if copy.sha256 != artifact.digests.sha256:
        return Probe(copy.url, ok=False, reason="its copy is recorded with another sha-256 than the artifact's")
    return probe(web, copy.url, meta)


def _no_seed(what: str, file: str, version_id: str, verdicts: Sequence[Probe]) -> PermanentFailure | TransientFailure:
    kind = TransientFailure if any(verdict.transient for verdict in verdicts) else PermanentFailure
    told = "; ".join(f"{without_query(verdict.url)} {verdict.reason}" for verdict in verdicts) or "no mirror has a copy"
    return kind(
        f"{what}: {told}",
        where="torrent",
        version=version_id,
        file=file,
        kept="No torrent was written; an earlier one stays as it is",
        remedy="Publish or repair a copy there, then materialize the torrent again",
    )


def _replace(store: ObjectStore, key: str, torrent: bytes) -> None:
    """Make the object these bytes, unless somebody else replaces it at the same time; then look again."""
    for _ in range(REPLACE_ATTEMPTS):
        present = store.head(key)
        if present is not None and present.bytes == len(torrent) and store.read(key) == torrent:
            return
        condition = {"if_absent": True} if present is None else {"if_match": present.etag}
        try:
            sha256 = hashlib.sha256(torrent).hexdigest()
            store.put(key, torrent, media_type=MEDIA_TYPE, cache_control=NO_CACHE, sha256=sha256, **condition)
        except Conflict:
            continue
        return
    raise TransientFailure(
        f"others replaced it {REPLACE_ATTEMPTS} times while it was written",
        where="torrent",
        file=key,
        remedy="Try again",
    )


def _describe(ready: _Ready, url: str) -> Torrent:
    meta = ready.meta
    return Torrent(
        role=ready.role,
        file=meta.name,
        url=url,
        sha256=hashlib.sha256(ready.torrent).hexdigest(),
        info_hash=meta.info_hash,
        magnet=meta.magnet(torrent_url=url),
        web_seeds=meta.web_seeds,
        trackers=tuple(tracker for tier in meta.trackers for tracker in tier),
        piece_length=meta.piece_length,
        left_out={without_query(p.url): p.reason for p in ready.verdicts if not p.ok},
    )
