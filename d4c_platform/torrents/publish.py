"""Publish a version's torrents: born seeded by every mirror that was seen to serve the right bytes.

The same call publishes for the first time and re-issues: it composes the torrent from the recorded digests, probes every copy,
and replaces the `.torrent` and its record when something changed. The info-hash depends on the artifact alone, so a swarm
outlives every re-issue. The `.torrent` is the one object under `versions/` that may be replaced; it is written under its own
condition (nobody replaced it since we looked) and never cached.

Not here: when copies are checked again (the reconciler), or who seeds (swarm).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Artifact, Build, Copies, Copy, CopyState, Torrent, Torrents
from d4c_platform.storage.portal import PLACE as PORTAL
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import NO_CACHE, Conflict, ObjectStore
from d4c_platform.torrents.metainfo import Metainfo, compose, parse
from d4c_platform.torrents.web_seeds import Probe, probe
from d4c_platform.web import Web, without_query

MEDIA_TYPE = "application/x-bittorrent"
REPLACE_ATTEMPTS = 5  # lost races before we conclude that something writes in a loop


@dataclass(frozen=True, slots=True)
class Candidates:
    """The copies of one artifact, by who serves them."""

    mirrors: tuple[Copy, ...]
    portal: tuple[Copy, ...]


def publish_torrents(
    build: Build,
    copies: Sequence[Copies],
    portal: Portal,
    web: Web,
    trackers: Sequence[str],
    *,
    comment: str = "",
) -> Torrents:
    """Write the `.torrent` of every artifact of a version, and the version's record of them.

    Args:
        copies: where the version is; mirrors are listed in this order, the portal always last.
        trackers: announce URLs, most trusted first; each is a tier of its own.
        comment: what a client shows beside the name, for instance the DOI's link.

    Raises:
        PermanentFailure: an artifact has no mirror that can be a web seed; nothing was written.
        TransientFailure: the same, and at least one mirror may only be down for now.
    """
    ready = [_compose(artifact, build.version_id, copies, web, trackers, comment) for artifact in build.artifacts]
    torrents = []
    for artifact, torrent, probes in ready:
        key = portal.version_key(build.version_id, f"{artifact.file}.torrent")
        _replace(portal.store, key, torrent)
        torrents.append(_describe(artifact, torrent, portal.store.url(key), probes))
    document = Torrents(version_id=build.version_id, torrents=tuple(torrents))
    portal.records.write(document)
    return document


def _compose(
    artifact: Artifact, version_id: str, copies: Sequence[Copies], web: Web, trackers: Sequence[str], comment: str
) -> tuple[Artifact, bytes, tuple[Probe, ...]]:
    tiers = [[tracker] for tracker in trackers]
    meta = parse(compose(artifact.file, artifact.digests))
    candidates = _candidates(artifact, copies)
    mirrors = [_judge(copy, artifact, meta, web) for copy in candidates.mirrors]
    if not any(verdict.ok for verdict in mirrors):
        raise _no_mirror(artifact, version_id, mirrors)
    verdicts = (*mirrors, *(_judge(copy, artifact, meta, web) for copy in candidates.portal))
    seeds = [verdict.url for verdict in verdicts if verdict.ok]
    return artifact, compose(artifact.file, artifact.digests, web_seeds=seeds, trackers=tiers, comment=comment), verdicts


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


def _no_mirror(artifact: Artifact, version_id: str, verdicts: Sequence[Probe]) -> PermanentFailure | TransientFailure:
    kind = TransientFailure if any(verdict.transient for verdict in verdicts) else PermanentFailure
    told = "; ".join(f"{without_query(verdict.url)} {verdict.reason}" for verdict in verdicts) or "no mirror has a copy"
    return kind(
        f"no mirror can be a web seed: {told}",
        where="torrent",
        version=version_id,
        file=artifact.file,
        kept="No torrent was written; an earlier one stays as it is",
        remedy="Publish or repair a mirror copy, then materialize the torrent again",
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


def _describe(artifact: Artifact, torrent: bytes, url: str, probes: Iterable[Probe]) -> Torrent:
    meta = parse(torrent)
    return Torrent(
        role=artifact.role,
        file=artifact.file,
        url=url,
        sha256=hashlib.sha256(torrent).hexdigest(),
        info_hash=meta.info_hash,
        magnet=meta.magnet(torrent_url=url),
        web_seeds=meta.web_seeds,
        trackers=tuple(tracker for tier in meta.trackers for tracker in tier),
        piece_length=meta.piece_length,
        left_out={without_query(p.url): p.reason for p in probes if not p.ok},
    )
