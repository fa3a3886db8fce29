"""The small files that travel with a version: README in both languages, changelog, manifest, map, torrent.

A record that is found alone, years from now, must explain itself: what it is, where it came from, how to check it, how to get
it from peers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from d4c_platform.mirrors.mirror import Companion
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Artifact, Build, Manifest, Release
from d4c_platform.storage.portal import GZIP, Portal
from d4c_platform.torrents.metainfo import compose
from d4c_platform.torrents.publish import MEDIA_TYPE
from d4c_platform.transforms.changelog import changelog_json, changelog_markdown

PREVIEW = "preview.svg"
METHOD = "method.tar.gz"


def companions_of(dataset: Dataset, release: Release, build: Build, manifest: Manifest) -> tuple[Companion, ...]:
    """The companions that say what a version is, in the order a person reads them."""
    return (
        Companion("README.md", "text/markdown", readme(dataset, release, build, manifest).encode()),
        Companion("CHANGELOG.md", "text/markdown", changelog_markdown(build.changes).encode()),
        Companion("changelog.json", "application/json", changelog_json(build.version_id, build.changes).encode()),
        Companion("manifest.json", "application/json", manifest.model_dump_json(indent=2).encode()),
    )


def method_of(portal: Portal, manifest: Manifest) -> tuple[Companion, ...]:
    """The packed code that made a version, for a record that has to stand alone; none for versions older than the packing.

    Beside the versions of the portal it lies once for all of them.
    """
    if not manifest.method_sha256:
        return ()
    return (Companion(METHOD, GZIP, portal.store.read(portal.method_key(manifest.method_sha256))),)


def torrents_of(build: Build, *, web_seeds: Mapping[str, str], trackers: Sequence[str]) -> tuple[Companion, ...]:
    """The version's torrents as they can be before all mirrors are known: the info-hash is the final one already.

    Args:
        web_seeds: where a file is already, or will be, by its role.
    """
    tiers = [[tracker] for tracker in trackers]
    return tuple(
        Companion(
            f"{a.file}.torrent",
            MEDIA_TYPE,
            compose(a.file, a.digests, web_seeds=[web_seeds[a.role]] if a.role in web_seeds else [], trackers=tiers),
        )
        for a in build.files
    )


def readme(dataset: Dataset, release: Release, build: Build, manifest: Manifest) -> str:
    """What a person who finds this version alone needs to know, English first, then French."""
    sources = "\n".join(f"- <{f.url}> (sha-256 `{f.sha256}`)" for f in release.files)
    files = "\n".join(_file(a) for a in build.files)
    method = f"methods/{manifest.method_sha256}.tar.gz"
    packed_en, packed_fr = ("", "")
    if manifest.method_sha256:
        packed_en = f"\n\nThe code that built it and its locked environment are `{METHOD}`, on the portal `{method}`."
        packed_fr = f"\n\nLe code qui l'a construit et son environnement figé sont `{METHOD}`, sur le portail `{method}`."
    return f"""# {dataset.title.en}

{dataset.description.en}

- Version: `{build.version_id}`
- Published by {dataset.publisher.en}, released {release.released_at:%Y-%m-%d}; re-engineered by Data for Canada
- Licence: [{dataset.licence.title.en}]({dataset.licence.url.en}). {dataset.licence.attribution.en}

## Files

{files}

## Made from

{sources}

Check a file with `sha256sum`; get it from peers with the `.torrent` beside it. `manifest.json` says how it was
built.{packed_en}

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
comment il a été construit.{packed_fr}
"""


def _file(a: Artifact) -> str:
    return f"- `{a.file}`: {a.digests.bytes} bytes / octets, {a.rows} rows / lignes, sha-256 `{a.digests.sha256}`"
