"""The small files that travel with a version: README in both languages, changelog, manifest, map, torrent.

A record that is found alone, years from now, must explain itself: what it is, where it came from, how to check it, how to get
it from peers.
"""

from __future__ import annotations

from collections.abc import Sequence

from d4c_platform.mirrors.mirror import Companion
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Artifact, Build, Manifest, Release
from d4c_platform.torrents.metainfo import compose
from d4c_platform.torrents.publish import MEDIA_TYPE
from d4c_platform.transforms.changes import changelog_markdown

PREVIEW = "preview.svg"


def companions_of(dataset: Dataset, release: Release, build: Build, manifest: Manifest) -> tuple[Companion, ...]:
    """The companions that say what a version is, in the order a person reads them."""
    return (
        Companion("README.md", "text/markdown", readme(dataset, release, build).encode()),
        Companion("CHANGELOG.md", "text/markdown", changelog_markdown(build.changes).encode()),
        Companion("manifest.json", "application/json", manifest.model_dump_json(indent=2).encode()),
    )


def torrents_of(build: Build, *, web_seeds: Sequence[str], trackers: Sequence[str]) -> tuple[Companion, ...]:
    """The version's torrents as they can be before all mirrors are known: the info-hash is the final one already."""
    tiers = [[tracker] for tracker in trackers]
    return tuple(
        Companion(f"{a.file}.torrent", MEDIA_TYPE, compose(a.file, a.digests, web_seeds=web_seeds, trackers=tiers))
        for a in build.artifacts
    )


def readme(dataset: Dataset, release: Release, build: Build) -> str:
    """What a person who finds this version alone needs to know, English first, then French."""
    sources = "\n".join(f"- <{f.url}> (sha-256 `{f.sha256}`)" for f in release.files)
    files = "\n".join(_file(a) for a in build.artifacts)
    return f"""# {dataset.title.en}

{dataset.description.en}

- Version: `{build.version_id}`
- Published by {dataset.publisher.en}, released {release.released_at:%Y-%m-%d}; re-engineered by Data for Canada
- Licence: [{dataset.licence.title.en}]({dataset.licence.url.en}). {dataset.licence.attribution.en}

## Files

{files}

## Made from

{sources}

Check a file with `sha256sum`; get it from peers with the `.torrent` beside it. `manifest.json` says how it was built.

---

# {dataset.title.fr}

{dataset.description.fr}

- Version : `{build.version_id}`
- Publié par {dataset.publisher.fr}, diffusé le {release.released_at:%Y-%m-%d}; restructuré par Données pour le Canada
- Licence : [{dataset.licence.title.fr}]({dataset.licence.url.fr}). {dataset.licence.attribution.fr}

## Fichiers

{files}

## Fait à partir de

{sources}

Vérifiez un fichier avec `sha256sum`; obtenez-le auprès de pairs avec le `.torrent` qui l'accompagne. `manifest.json` dit
comment il a été construit.
"""


def _file(a: Artifact) -> str:
    return f"- `{a.file}`: {a.digests.bytes} bytes / octets, {a.rows} rows / lignes, sha-256 `{a.digests.sha256}`"
