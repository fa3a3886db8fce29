"""The ways to get a folder of files into a bucket that are compared, each as a process of its own.

    python -m benchmarks.contenders ours|download '<Task as JSON>'

`ours` is the ingest of the platform. `download` is what one would write in an afternoon: each file to disk, hashed from there
for the same digests, and uploaded from there. rclone streams from HTTP to S3 and computes what an upload needs only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.origin import LIST
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Candidate
from d4c_platform.sources.archive import archive
from d4c_platform.sources.file_list import FileList
from d4c_platform.stages.ingest import Ingest
from d4c_platform.storage.file_digests import FileHasher
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.s3 import S3Store
from d4c_platform.web import Web

DATASET = "ca_nrcan-2021A000011124_d4c-datapkg-orthoimagery_tiles"
WIDTH = 4  # files at once, for everybody
REQUESTS_PER_S = 100_000.0  # the limit for other people's servers is not what is measured
KEYS = ("benchmark", "benchmark-secret")


@dataclass(frozen=True)
class Task:
    """From where to where."""

    origin: str
    endpoint_url: str
    bucket: str

    def store(self) -> S3Store:
        return S3Store(self.endpoint_url, self.bucket, access_key=KEYS[0], secret_key=KEYS[1])

    def dataset(self) -> Dataset:
        both = {"en": "Tiles", "fr": "Tuiles"}
        source = {"kind": "file-list", "url": f"{self.origin}/{LIST}", "base": f"{self.origin}/files/", "concurrency": WIDTH}
        area = {"dguid": "2021A000011124", "name": both, "geometry": {"type": "Polygon", "coordinates": []}}
        return Dataset.model_validate(
            {
                "id": DATASET,
                "version": "1.0.0",
                "package": "d4c-datapkg-orthoimagery",
                **dict.fromkeys(("title", "description", "publisher"), both),
                "source": source,
                "transform": {"kind": "inventory"},
                "vintage": {"rule": "release"},
                "licence": {"id": "other", "title": both, "url": both, "attribution": both},
                "area": area,
            }
        )

    def candidate(self) -> Candidate:
        """The release; the same for everyone who looks at the same files."""
        web = Web(per_host_per_s=REQUESTS_PER_S)
        (noticed,) = FileList(web).detect(self.dataset(), None, [], datetime.now(UTC))
        web.close()
        return Candidate(
            dataset_id=DATASET,
            key=noticed.key,
            version_id=f"{DATASET}_2025-06-11_v1.0.0",
            vintage="2025-06-11",
            released_at=noticed.released_at,
            noticed_at=noticed.released_at,
            hint=dict(noticed.hint),
        )

    def start(self, contender: str) -> subprocess.Popen[str]:
        if contender == "rclone":
            return subprocess.Popen(_rclone(self), env=_rclone_env(self), text=True, stderr=subprocess.PIPE)
        arguments = [sys.executable, "-m", "benchmarks.contenders", contender, json.dumps(dataclasses.asdict(self))]
        return subprocess.Popen(arguments, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def installed(contender: str) -> bool:
    return contender != "rclone" or shutil.which("rclone") is not None


def ours(task: Task) -> None:
    web = Web(per_host_per_s=REQUESTS_PER_S)
    dataset, candidate, portal = task.dataset(), task.candidate(), Portal(task.store())
    with tempfile.TemporaryDirectory() as work, Ingest(dataset, candidate, web, portal, candidate.key, Path(work)) as offer:
        archive(candidate, dataset, offer, web, portal, Path(work))


def download_hash_upload(task: Task) -> None:
    store, piece_length = task.store(), 1 << 20
    with httpx.Client(timeout=60) as client, tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(WIDTH) as pool:
        urls = client.get(f"{task.origin}/{LIST}").text.split()

        def one(number: int, url: str) -> dict[str, Any]:
            path = Path(work) / str(number)
            with client.stream("GET", url) as response, path.open("wb") as out:
                response.raise_for_status()
                for chunk in response.iter_raw(1 << 20):
                    out.write(chunk)
            hasher = FileHasher(piece_length)
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    hasher.update(chunk)
            found = hasher.finish()
            store.put(url.removeprefix(f"{task.origin}/"), path, sha256=found.sha256)
            path.unlink()
            return {"url": url, "sha256": found.sha256}

        rows = list(pool.map(one, range(len(urls)), urls))
        store.put("inventory.json", json.dumps(rows).encode())


def _rclone(task: Task) -> list[str]:
    names = httpx.get(f"{task.origin}/{LIST}").text.replace(f"{task.origin}/", "")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write(names)
    options = [
        "--files-from-raw",
        file.name,
        "--no-traverse",
        "--transfers",
        str(WIDTH),
        "--checkers",
        str(WIDTH),
        "--config",
        "",
    ]
    return ["rclone", "copy", *options, "origin:", f"bucket:{task.bucket}"]


def _rclone_env(task: Task) -> dict[str, str]:
    said = {
        "RCLONE_CONFIG_ORIGIN_TYPE": "http",
        "RCLONE_CONFIG_ORIGIN_URL": f"{task.origin}/",
        "RCLONE_CONFIG_BUCKET_TYPE": "s3",
        "RCLONE_CONFIG_BUCKET_PROVIDER": "Other",
        "RCLONE_CONFIG_BUCKET_ENDPOINT": task.endpoint_url,
        "RCLONE_CONFIG_BUCKET_ACCESS_KEY_ID": KEYS[0],
        "RCLONE_CONFIG_BUCKET_SECRET_ACCESS_KEY": KEYS[1],
        "RCLONE_CONFIG_BUCKET_NO_CHECK_BUCKET": "true",
        "RCLONE_CONFIG_BUCKET_FORCE_PATH_STYLE": "true",
    }
    ours = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}  # Debian's rclone cannot take it
    return {**ours, **said}


def main() -> None:
    contender, task = sys.argv[1], Task(**json.loads(sys.argv[2]))
    started = time.monotonic()
    {"ours": ours, "download": download_hash_upload}[contender](task)
    print(json.dumps({"working_s": round(time.monotonic() - started, 2)}), file=sys.stderr)


if __name__ == "__main__":
    main()
