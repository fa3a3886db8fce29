"""A publisher, a portal and a dataset: what most rules of this room need."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Candidate
from d4c_platform.sandbox.clock import Clock, instant
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.files import files_app
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import statcan_app
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal
from d4c_platform.web import Web

RECORDED = Path(__file__).parents[3] / "shared" / "data"
STATCAN = "https://www150.statcan.gc.ca"
FILES = "https://files.example.ca"
PID = "33100036"
CSV = '﻿"REF_DATE","GEO","VALUE"\n"2025-06-09","Canada","{}"\n'


def zip_of(*members: tuple[str, bytes], stamp: tuple[int, int, int, int, int, int] = (2025, 6, 11, 0, 34, 0)) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, stamp), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def table_zip(value: str, pid: str = PID, **how: Any) -> bytes:
    return zip_of((f"{pid}.csv", CSV.format(value).encode()), (f"{pid}_MetaData.csv", b'"Cube Title"\n"Rates"\n'), **how)


def dataset_of(source: dict[str, Any], *, vintage: dict[str, Any], name: str, **more: Any) -> Dataset:
    both = {"en": "Words", "fr": "Mots"}
    declared = {
        "id": f"ca_statcan-2021A000011124_d4c-datapkg-statistical_{name}",
        "version": "1.0.0",
        "package": "d4c-datapkg-statistical",
        "title": both,
        "description": both,
        "publisher": both,
        "source": source,
        "transform": {"kind": "statcan-csv"},
        "vintage": vintage,
        "licence": {"id": "other", "title": both, "url": both, "attribution": both},
        "area": {"dguid": "2021A000011124", "name": both, "geometry": {"type": "Polygon", "coordinates": []}},
    }
    return Dataset.model_validate(declared | more)


def table(pid: str = PID, languages: tuple[str, ...] = ("en", "fr"), **more: Any) -> Dataset:
    source = {"kind": "statcan-table", "product_id": pid, "languages": languages}
    return dataset_of(source, vintage={"rule": "release"}, name=pid, **more)


def http_file(path: str = "/wards.zip", **more: Any) -> Dataset:
    source = {"kind": "http-file", "url": f"{FILES}{path}"}
    return dataset_of(
        source, vintage={"rule": "fixed", "date": "2021"}, name="wards_2021", **({"transform": {"kind": "shapefile"}} | more)
    )


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def candidate_of(dataset: Dataset, key: str, released_at: datetime, **hint: str) -> Candidate:
    return Candidate(
        dataset_id=dataset.id,
        key=key,
        version_id=f"{dataset.id}_2025-06-11_v1.0.0",
        vintage="2025-06-11",
        released_at=released_at,
        noticed_at=released_at,
        hint=hint,
    )


SWITCH = httpx.Client(verify=False)  # plain HTTP on this machine: reading all certificates takes a while


class Publisher:
    """A served sandbox app with its fault switch."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fault(self, **fault: Any) -> None:
        SWITCH.post(f"{self.url}/_sandbox/faults", json=fault).raise_for_status()

    def asked(self, method: str = "", path: str = "") -> list[str]:
        """The requests that were made, as `METHOD path`."""
        log = SWITCH.get(f"{self.url}/_sandbox/requests").json()
        return [f"{r['method']} {r['path']}" for r in log if r["method"].startswith(method) and r["path"].startswith(path)]


class StatCanPublisher(Publisher):
    """Statistics Canada, with releases that a test puts out."""

    def __init__(self, url: str, releases: Path, clock: Clock) -> None:
        super().__init__(url)
        self._releases, self._clock = releases, clock

    def release(self, eastern: str, value: str = "1", pid: str = PID, french: bool = True, **how: Any) -> None:
        folder = self._releases / "statcan" / pid / instant(eastern).strftime("%Y%m%dT%H%M")
        folder.mkdir(parents=True)
        for language in ("eng", "fra") if french else ("eng",):
            (folder / f"{pid}-{language}.zip").write_bytes(table_zip(value, pid, **how))
        metadata = {"responseStatusCode": 0, "productId": pid, "releaseTime": eastern, "cubeTitleFr": "Taux de change, été"}
        (folder / f"{pid}.json").write_text(json.dumps(metadata))

    def files(self, name: str) -> list[Path]:
        """Where the releases' files of this name lie, oldest first: a test may replace one."""
        return sorted(self._releases.glob(f"statcan/*/*/{name}"))

    def at(self, eastern: str) -> datetime:
        """Set the publisher's clock; returns the time in UTC."""
        self._clock.set(instant(eastern))
        return instant(eastern).astimezone(UTC)


@pytest.fixture
def statcan(tmp_path: Path) -> Iterator[StatCanPublisher]:
    clock = Clock(tmp_path / "clock.json")
    (tmp_path / "releases").mkdir()
    with serve(with_faults(statcan_app(tmp_path / "releases", clock))) as served:
        yield StatCanPublisher(served.url, tmp_path / "releases", clock)


@pytest.fixture
def offered() -> dict[str, Path]:
    """Path on the files' host (without its slash) to file."""
    return {}


@pytest.fixture
def files(offered: dict[str, Path]) -> Iterator[Publisher]:
    with serve(with_faults(files_app(lambda: offered))) as served:
        yield Publisher(served.url)


@pytest.fixture
def web_to() -> Iterator[Callable[[str, str], Web]]:
    opened: list[Web] = []

    def to(origin: str, url: str) -> Web:
        opened.append(Web(origins={origin: url}, per_host_per_s=10_000, attempts=2, first_wait_s=0.01, timeout_s=20))
        return opened[-1]

    yield to
    for web in opened:
        web.close()


@pytest.fixture
def portal(tmp_path: Path) -> Portal:
    return Portal(LocalStore(tmp_path / "portal", "http://127.0.0.1:1/"))
