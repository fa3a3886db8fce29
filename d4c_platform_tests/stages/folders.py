"""A publisher of thousands of files and an ingest of them: in this process, or in one that a test may kill.

    python -m d4c_platform_tests.stages.folders '<Job as JSON>'

archives the release and prints what came of it as one line of JSON, with the peak of its memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Candidate, Release
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.generated import Generated, generated_app, list_of
from d4c_platform.sandbox.serving import serve
from d4c_platform.sources.archive import archive
from d4c_platform.sources.file_list import FileList
from d4c_platform.stages.ingest import Ingest, free_folder
from d4c_platform.storage.file_digests import FileDigests, FileHasher
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import ObjectStore
from d4c_platform.web import Web
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.storage.stores import Stores

NAME = "ca_nrcan-2021A000011124_d4c-datapkg-orthoimagery_tiles"
LIST = "tiles.txt"


def folder_dataset(url: str, **source: Any) -> Dataset:
    both = {"en": "Tiles", "fr": "Tuiles"}
    return Dataset.model_validate(
        {
            "id": NAME,
            "version": "1.0.0",
            "package": "d4c-datapkg-orthoimagery",
            "title": both,
            "description": both,
            "publisher": both,
            "source": {"kind": "file-list", "url": f"{url}/{LIST}", "base": f"{url}/files/", "probes": 3, **source},
            "transform": {"kind": "inventory"},
            "vintage": {"rule": "release"},
            "licence": {"id": "other", "title": both, "url": both, "attribution": both},
            "area": {"dguid": "2021A000011124", "name": both, "geometry": {"type": "Polygon", "coordinates": []}},
            "columns": [{"name": "path", "title": both, "type": "string", "nullable": False}],
            "key": ["path"],
            "mirrors": ["source-coop"],
        }
    )


@dataclass
class Publisher:
    """A served list and its files; a test changes both.

    Attributes:
        declared: the origin that stands in the list, when this server is a stand-in.
    """

    url: str
    files: dict[str, Generated]
    lists: dict[str, bytes] = field(default_factory=dict)
    declared: str = ""

    def publish(self, files: Mapping[str, Generated]) -> None:
        self.files.clear()
        self.files.update(files)
        self.lists[LIST] = list_of(self.declared or self.url, self.files)

    def fault(self, **fault: Any) -> None:
        httpx.post(f"{self.url}/_sandbox/faults", json=fault).raise_for_status()

    def log(self) -> list[dict[str, Any]]:
        """Everything that was asked for, in order."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/_sandbox/requests").json()
        return found

    def asked(self) -> list[dict[str, Any]]:
        """The GETs of files, in order."""
        return [r for r in self.log() if r["method"] == "GET" and r["path"].startswith("/files/")]

    def forget(self) -> None:
        httpx.delete(f"{self.url}/_sandbox/requests").raise_for_status()


@contextmanager
def publisher(files: Mapping[str, Generated]) -> Iterator[Publisher]:
    served = Publisher("", {})
    with serve(with_faults(generated_app(lambda: served.files, lambda: served.lists))) as where:
        served.url = where.url
        served.publish(files)
        yield served


@dataclass(frozen=True)
class Job:
    """An ingest that another process can do."""

    dataset: dict[str, Any]
    candidate: dict[str, Any]
    stores: dict[str, str]

    def process(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "d4c_platform_tests.stages.folders", json.dumps(dataclasses.asdict(self))],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )


def candidate_of(dataset: Dataset, web: Web) -> Candidate:
    now = datetime.now(UTC)
    (noticed,) = FileList(web).detect(dataset, None, [], now)
    return Candidate(
        dataset_id=dataset.id,
        key=noticed.key,
        version_id=f"{dataset.id}_{noticed.vintage_time}_v1.0.0",
        vintage=str(noticed.vintage_time),
        released_at=noticed.released_at,
        noticed_at=now,
        hint=dict(noticed.hint),
    )


def job_of(dataset: Dataset, candidate: Candidate, stores: Stores) -> Job:
    return Job(dataset.model_dump(mode="json"), candidate.model_dump(mode="json"), dataclasses.asdict(stores))


def ingest(dataset: Dataset, candidate: Candidate, store: ObjectStore, web: Web, *, again: bool = False) -> Release:
    """Archive the release into a store, as the stage does."""
    portal = Portal(store)
    folder = free_folder(dataset.id, candidate.key, portal) if again else candidate.key
    with tempfile.TemporaryDirectory() as work, Ingest(dataset, candidate, web, portal, folder, Path(work)) as offer:
        return archive(candidate, dataset, offer, web, portal, Path(work), again=again)


def digests_of(path: str, file: Generated, piece_length: int) -> FileDigests:
    hasher = FileHasher(piece_length)
    for chunk in file.chunks(path):
        hasher.update(chunk)
    return hasher.finish()


def sha256_of(path: str, file: Generated) -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def step(number: int) -> dict[str, Any]:
    """A finished file as the inventory is given it; no two have anything in common that a compressor could use."""
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    path = f"{number // 40:04}/{number:07}.tif"
    return {
        "path": path,
        "url": f"https://tiles.example.ca/files/{path}",
        "bytes": 100,
        "sha256": sha256,
        "md5": sha256[:32],
        "merkle_root": sha256[::-1],
        "s3_etag": sha256[32:],
        "part_bytes": None,
        "content_type": "image/tiff",
        "key": f"raw/{NAME}/files/{path}",
        "etag": sha256[:20],
        "last_modified": "Thu, 12 Jun 2025 12:00:00 GMT",
        "fetched_at": "2026-11-24T00:00:00+00:00",
        "resumed": 0,
    }


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    dataset, candidate = Dataset.model_validate(job.dataset), Candidate.model_validate(job.candidate)
    web = Web(per_host_per_s=10_000, attempts=3, first_wait_s=0.01, timeout_s=20)
    release = ingest(dataset, candidate, Stores(**job.stores).open(), web)
    # Not getrusage: across fork and exec it keeps the peak of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    print(json.dumps({"files": [f.name for f in release.files], "content": release.content_sha256, "peak": peak}))


if __name__ == "__main__":
    main()
