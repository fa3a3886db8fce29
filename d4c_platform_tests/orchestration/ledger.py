"""A platform on a bare directory, for tests of what the sensors decide: releases and records are written, nothing is run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from d4c_platform import naming
from d4c_platform.model.records import Candidate, Copies, Copy, Doi, Item, Torrent, Torrents, Withdrawal, ZenodoDraft
from d4c_platform.orchestration.attempts import PARTITION_TAG
from d4c_platform.sandbox.place import OWN_DATASETS
from d4c_platform.settings import Settings
from d4c_platform.stages.outstanding import Stretch
from d4c_platform.stages.platform import Platform

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def platform_at(folder: Path) -> Platform:
    return Platform(Settings(portal_dir=folder, portal_url="http://127.0.0.1:1", datasets=OWN_DATASETS))


def noticed(platform: Platform, dataset_id: str, day: int, *, vintage: str | None = None) -> str:
    """A release of the dataset on a day of January 2026; returns its version id."""
    released = datetime(2026, 1, day, 13, 30, tzinfo=UTC)
    number = naming.SemVer.parse("1.0.0")
    version_id = naming.version_id(dataset_id, vintage or f"2026-01-{day:02}", number)
    platform.records.notice(
        Candidate(
            dataset_id=dataset_id,
            key=released.strftime("%Y%m%dT%H%M%SZ"),
            version_id=version_id,
            vintage=vintage or f"2026-01-{day:02}",
            released_at=released,
            noticed_at=released + timedelta(minutes=5),
            hint={},
        )
    )
    return version_id


def published(platform: Platform, version_id: str) -> None:
    copied(platform, version_id, "portal")
    platform.records.write(Item(version_id=version_id, item={}))


def copied(platform: Platform, version_id: str, place: str) -> str:
    url = f"http://127.0.0.1:1/{place}/{version_id}.parquet"
    copy = Copy(role="data", url=url, bytes=1, sha256="0" * 64, checked_at=NOW, verified="sha256")
    platform.records.write(Copies(version_id=version_id, place=place, copies=(copy,)))
    return url


def drafted(platform: Platform, version_id: str) -> None:
    platform.records.write(ZenodoDraft(version_id=version_id, record_id="1"))


def cited(platform: Platform, version_id: str) -> None:
    doi = Doi(version_id=version_id, doi="10.5072/zenodo.1", concept_doi=None, record_id="1", url="http://z", published_at=NOW)
    platform.records.write(doi)


def seeded(platform: Platform, version_id: str, urls: list[str], left_out: dict[str, str] | None = None) -> None:
    torrent = Torrent(
        role="data",
        file=f"{version_id}.parquet",
        url="http://t",
        sha256="0" * 64,
        info_hash="0" * 40,
        magnet="magnet:?",
        web_seeds=tuple(urls),
        trackers=(),
        piece_length=16384,
        left_out=left_out or {},
    )
    platform.records.write(Torrents(version_id=version_id, torrents=(torrent,)))


def withdrawn(platform: Platform, version_id: str) -> None:
    platform.records.write(Withdrawal(version_id=version_id, reason="a test"))


def ran(
    instance: dg.DagsterInstance,
    stretch: Stretch,
    version_id: str,
    status: dg.DagsterRunStatus,
    tags: dict[str, str] | None = None,
) -> None:
    """A run as the event log has it."""
    instance.add_run(dg.DagsterRun(job_name=stretch.value, status=status, tags={PARTITION_TAG: version_id, **(tags or {})}))
