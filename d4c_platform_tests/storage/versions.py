"""Versions of one dataset, small and told apart by their bytes."""

from __future__ import annotations

import random
from pathlib import Path

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Artifact, Build, Changes
from d4c_platform.storage.digests import digest
from d4c_platform.storage.portal import Portal

BILINGUAL = {"en": "x", "fr": "x"}
DATASET = Dataset.model_validate(
    {
        "id": "ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036",
        "version": "1.0.0",
        "package": "d4c-datapkg-statistical",
        "title": BILINGUAL,
        "description": BILINGUAL,
        "publisher": BILINGUAL,
        "source": {"kind": "statcan-table", "product_id": "33100036"},
        "transform": {"kind": "statcan-csv"},
        "vintage": {"rule": "release"},
        "licence": {"id": "x", "title": BILINGUAL, "url": BILINGUAL, "attribution": BILINGUAL},
        "area": {
            "dguid": "2021A000011124",
            "name": BILINGUAL,
            "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        },
    }
)


def version_id(number: int) -> str:
    """Ordered by number – and not by text: 9 comes before 10 within a vintage."""
    return f"ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036_2025-06-11_v1.{number}.0"


def content(number: int, size: int = 40_000) -> bytes:
    return f"version {number}\n".encode() + random.Random(number).randbytes(size)


def built(folder: Path, number: int, exts: tuple[str, ...] = ("parquet",), size: int = 40_000) -> tuple[Build, list[Path]]:
    """A build and its files, not staged."""
    paths, artifacts = [], []
    for ext in exts:
        path = folder / f"{version_id(number)}.{ext}"
        path.write_bytes(ext.encode() + content(number, size))
        digests, _ = digest(path)
        paths.append(path)
        artifacts.append(
            Artifact(
                role="data" if ext == "parquet" else ext,
                file=path.name,
                media_type="application/vnd.apache.parquet",
                digests=digests,
                logical_hash="0" * 64,
                rows=1,
                columns=(),
            )
        )
    return (
        Build(version_id=version_id(number), artifacts=tuple(artifacts), checks=(), changes=Changes(least_bump="first")),
        paths,
    )


def staged(portal: Portal, folder: Path, number: int, exts: tuple[str, ...] = ("parquet",), size: int = 40_000) -> Build:
    build, paths = built(folder, number, exts, size)
    for artifact, path in zip(build.artifacts, paths, strict=True):
        portal.stage(build.version_id, path, artifact)
    return build


def processed(ext: str = "parquet") -> str:
    return Portal.processed_key(DATASET.id, ext)
