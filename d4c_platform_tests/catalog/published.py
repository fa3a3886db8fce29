"""Versions as the other rooms leave them: real records in a folder store, ready to be folded into a catalog."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from d4c_platform.catalog.item import item
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import (
    Artifact,
    Build,
    Changes,
    ColumnInfo,
    Copies,
    Copy,
    CopyState,
    Digests,
    Doi,
    Manifest,
    RawFile,
    Release,
    Torrent,
    Torrents,
    Verdict,
)
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.records import Records

PORTAL_URL = "https://data.example.org"
CANADA = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[-141.0, 41.7], [-52.6, 41.7], [-52.6, 70.0], [-141.0, 70.0], [-141.0, 41.7]]],
        [[[-95.0, 74.0], [-61.0, 74.0], [-61.0, 83.1], [-95.0, 83.1], [-95.0, 74.0]]],
    ],
}
BOTH = {"en": "words", "fr": "des mots"}
LICENCE = {
    "id": "other",
    "title": {"en": "Statistics Canada Open Licence", "fr": "Licence ouverte de Statistique Canada"},
    "url": {"en": "https://www.statcan.gc.ca/en/reference/licence", "fr": "https://www.statcan.gc.ca/fr/reference/licence"},
    "attribution": {"en": "Source: Statistics Canada", "fr": "Source : Statistique Canada"},
}
AREA = {"dguid": "2021A000011124", "name": {"en": "Canada", "fr": "Canada"}, "geometry": CANADA}


def declared(**fields: Any) -> Dataset:
    return Dataset.model_validate(
        {
            "version": "1.0.0",
            "publisher": {"en": "Statistics Canada", "fr": "Statistique Canada"},
            "licence": LICENCE,
            "area": AREA,
            "keywords": [{"en": "money", "fr": "monnaie"}],
            **fields,
        }
    )


TABLE = declared(
    id="ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036",
    package="d4c-datapkg-statistical",
    title={"en": "Daily average foreign exchange rates [CAD]", "fr": "Taux de change quotidiens moyens (é)"},
    description=BOTH,
    source={"kind": "statcan-table", "product_id": "33100036"},
    transform={"kind": "statcan-csv"},
    vintage={"rule": "release"},
)
PROVINCES = declared(
    id="ca_statcan-2021A000011124_d4c-datapkg-foundation_provinces-digital_2021",
    package="d4c-datapkg-foundation",
    title={"en": "Provinces and territories", "fr": "Provinces et territoires"},
    description=BOTH,
    source={"kind": "http-file", "url": "https://www12.statcan.gc.ca/lpr_000a21a_e.zip"},
    transform={"kind": "shapefile"},
    vintage={"rule": "fixed", "date": "2021"},
)

SPATIAL: dict[str, Any] = {"bbox": (-141.0, 41.7, -52.6, 83.1), "crs": "EPSG:3347", "geometry_types": ("MultiPolygon",)}
TABULAR: dict[str, Any] = {"period": ("2017-01-03", "2025-06-10")}


class Archive:
    """A portal's store with records, written as the stages would."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root, PORTAL_URL)
        self.records = Records(self.store)

    def version(
        self,
        dataset: Dataset,
        version_id: str,
        *,
        vintage: str = "2025-06-11",
        doi: bool = False,
        torrent: bool = False,
        mirrors: tuple[str, ...] = (),
        portal: bool = True,
        **artifact_fields: Any,
    ) -> str:
        """Write the records of one version and return its id."""
        artifact = self.artifact(version_id, **artifact_fields)
        build = Build(version_id=version_id, artifacts=(artifact,))
        copies = self.copies(version_id, artifact, "portal")
        manifest = Manifest(
            version_id=version_id,
            dataset=dataset.model_dump(mode="json"),
            sources={"raw/x": "0" * 64},
            code_commit="c0ffee",
            lock_sha256="1" * 64,
            tools={"pyarrow": "26.0.1", "d4c-platform": "0.1.0", "something-else": "1"},
            parameters={},
            checks=(Verdict(check="rows", passed=True, evidence="3 of 3 rows"),),
            changes=Changes(least_bump="first", rows_added=3),
            logical_hash={"data": artifact.logical_hash},
        )
        document = item(dataset, version_id, self.release(dataset, version_id, vintage), build, manifest, portal_copies=copies)
        self.records.write(manifest)
        self.records.write(document)
        for place in mirrors:
            self.records.write(self.copies(version_id, artifact, place))
        if doi:
            self.records.write(
                Doi(
                    version_id=version_id,
                    doi="10.5281/zenodo.283548",
                    concept_doi="10.5281/zenodo.283547",
                    record_id="283548",
                    url="https://zenodo.org/records/283548",
                    published_at=datetime(2025, 6, 12, tzinfo=UTC),
                )
            )
        if torrent:
            self.records.write(self.torrents(version_id, artifact))
        if portal:
            self.records.write(copies)
        return version_id

    def release(self, dataset: Dataset, version_id: str, vintage: str) -> Release:
        moment = datetime(2025, 6, 11, 12, 30, tzinfo=UTC)
        return Release(
            version_id=version_id,
            dataset_id=dataset.id,
            key="2025-06-11T123000Z",
            vintage=vintage,
            released_at=moment,
            noticed_at=moment + timedelta(hours=1),
            hint={},
            content_sha256="2" * 64,
            files=(
                RawFile(
                    name="33100036-eng.zip",
                    key=f"raw/{dataset.id}/x/33100036-eng.zip",
                    url="https://www150.statcan.gc.ca/n1/tbl/csv/33100036-eng.zip",
                    bytes=12,
                    sha256="3" * 64,
                    content_sha256="4" * 64,
                    fetched_at=moment,
                    status=200,
                    headers={"content-type": "application/zip"},
                ),
            ),
        )

    def artifact(self, version_id: str, **fields: Any) -> Artifact:
        body = version_id.encode()
        known: dict[str, Any] = {
            "role": "data",
            "file": f"{version_id}.parquet",
            "media_type": "application/vnd.apache.parquet",
            "digests": Digests(
                bytes=len(body),
                sha256=hashlib.sha256(body).hexdigest(),
                md5=hashlib.md5(body).hexdigest(),
                piece_length=16384,
                pieces=base64.b64encode(hashlib.sha1(body).digest()).decode(),
                merkle_root=hashlib.sha256(b"m" + body).hexdigest(),
            ),
            "logical_hash": hashlib.sha256(b"l" + body).hexdigest(),
            "rows": 90086,
            "columns": (
                ColumnInfo(
                    name="ref_date", type="string", nulls=0, title_en="Reference period", title_fr="Période de référence"
                ),
                ColumnInfo(name="value", type="double", nulls=2),
            ),
        }
        return Artifact.model_validate(known | fields)

    def copies(self, version_id: str, artifact: Artifact, place: str, **fields: Any) -> Copies:
        origins = {"portal": PORTAL_URL, "source-coop": "https://data.source.coop", "zenodo": "https://zenodo.org"}
        known: dict[str, Any] = {
            "role": artifact.role,
            "url": f"{origins[place]}/versions/{version_id}/{artifact.file}",
            "bytes": artifact.digests.bytes,
            "sha256": artifact.digests.sha256,
            "checked_at": datetime(2025, 6, 12, tzinfo=UTC),
            "state": CopyState.FRESH,
            "verified": "sha256",
        }
        return Copies(version_id=version_id, place=place, copies=(Copy.model_validate(known | fields),))

    def torrents(self, version_id: str, artifact: Artifact) -> Torrents:
        info_hash = hashlib.sha1(version_id.encode()).hexdigest()
        torrent = Torrent(
            role=artifact.role,
            file=artifact.file,
            url=f"{PORTAL_URL}/versions/{version_id}/{artifact.file}.torrent",
            sha256="5" * 64,
            info_hash=info_hash,
            magnet=f"magnet:?xt=urn:btih:{info_hash}",
            web_seeds=(),
            trackers=(),
            piece_length=16384,
        )
        return Torrents(version_id=version_id, torrents=(torrent,))


def table_version(vintage: str, semver: str = "1.0.0") -> str:
    return f"{TABLE.id}_{vintage}_v{semver}"


def provinces_version(semver: str = "1.0.0") -> str:
    return f"{PROVINCES.id}_v{semver}"


def filled(root: Path) -> Archive:
    """Two datasets, five versions: with and without DOI, torrent, mirrors, geometry."""
    archive = Archive(root)
    archive.version(TABLE, table_version("2025-06-11"), **TABULAR, doi=True, torrent=True, mirrors=("source-coop", "zenodo"))
    archive.version(TABLE, table_version("2025-06-11", "1.0.1"), **TABULAR, torrent=True, mirrors=("source-coop",))
    archive.version(TABLE, table_version("2025-07-11"), vintage="2025-07-11", **TABULAR)
    archive.version(PROVINCES, provinces_version(), vintage="2021", **SPATIAL, mirrors=("zenodo",))
    archive.version(PROVINCES, provinces_version("1.10.0"), vintage="2021", **SPATIAL, doi=True, torrent=True)
    return archive
