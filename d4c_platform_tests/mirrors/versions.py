"""Published versions to mirror: a small real artifact on disk, with the digests the build would have recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from d4c_platform.mirrors.mirror import Companion, PublishedVersion
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Artifact, Changes, Manifest
from d4c_platform.storage.digests import digest

DATASET = Dataset.model_validate(
    {
        "id": "ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036",
        "version": "1.0.0",
        "package": "d4c-datapkg-statistical",
        "title": {"en": "Exchange rates <daily>", "fr": "Taux de change « quotidiens »"},
        "description": {"en": "Rates & averages.\n\nSecond paragraph.", "fr": "Taux & moyennes."},
        "publisher": {"en": "Statistics Canada", "fr": "Statistique Canada"},
        "source": {"kind": "statcan-table", "product_id": "33100036"},
        "transform": {"kind": "statcan-csv"},
        "vintage": {"rule": "release"},
        "licence": {
            "id": "other",
            "title": {"en": "Statistics Canada Open Licence", "fr": "Licence ouverte de Statistique Canada"},
            "url": {"en": "https://www.statcan.gc.ca/en/licence", "fr": "https://www.statcan.gc.ca/fr/licence"},
            "attribution": {"en": "Source: Statistics Canada.", "fr": "Source : Statistique Canada."},
        },
        "area": {
            "dguid": "2021A000011124",
            "name": {"en": "Canada", "fr": "Canada"},
            "geometry": {"type": "Polygon", "coordinates": [[[-141, 41.7], [-52.6, 41.7], [-52.6, 83.1], [-141, 41.7]]]},
        },
        "keywords": [{"en": "money", "fr": "monnaie"}, {"en": "bank", "fr": "banque"}],
    }
)
FIRST, SECOND = (f"{DATASET.id}_2025-0{month}-11_v1.0.0" for month in (6, 7))
SOURCE_URL = "https://www150.statcan.gc.ca/n1/tbl/csv/33100036-eng.zip"


def artifact_at(path: Path, role: str = "data") -> Artifact:
    return Artifact(
        role=role,
        file=path.name,
        media_type="application/vnd.apache.parquet",
        digests=digest(path)[0],
        logical_hash="0" * 64,
        rows=3,
        columns=(),
        period=("2017-01", "2025-06-11"),
    )


def published_version(
    folder: Path, version_id: str = FIRST, content: bytes = b"PAR1 rates PAR1", **fields: Any
) -> PublishedVersion:
    """A version whose artifact lies in a folder that stands for the portal."""
    path = folder / f"{version_id}.parquet"
    if not path.exists():
        path.write_bytes(content)
    artifact = artifact_at(path)

    @contextmanager
    def open_artifact(asked: Artifact) -> Iterator[BinaryIO]:
        with (folder / asked.file).open("rb") as stream:
            yield stream

    manifest = Manifest(
        version_id=version_id,
        dataset={},
        sources={},
        code_commit="c0ffee",
        lock_sha256="0" * 64,
        tools={},
        parameters={},
        checks=(),
        changes=Changes(least_bump="first"),
        logical_hash={},
    )
    defaults: dict[str, Any] = {
        "dataset": DATASET,
        "version_id": version_id,
        "item": {},
        "artifacts": (artifact,),
        "manifest": manifest,
        "release_urls": (SOURCE_URL,),
        "open": open_artifact,
        "companions": (
            Companion("manifest.json", "application/json", b"{}"),
            Companion("README.md", "text/markdown", f"# {version_id}".encode()),
        ),
    }
    return PublishedVersion(**{**defaults, **fields})
