"""How the streaming ingest of a file list does, beside rclone and beside download-hash-upload, and after three kills.

    python -m benchmarks.ingest           2,000 files, 5 GB
    python -m benchmarks.ingest --quick   200 files, 200 MB, in about a minute on a calm machine

First it is killed (kill -9) three times against a publisher on a bad day, and goes on each time: nothing that was finished is
asked for again, and every digest is compared with one that is computed here, apart from the ingest. Then it runs undisturbed
against a good publisher, in turns with the peers. The last line is one JSON object. Everything lies in a temporary folder of
the disk of TMPDIR and is removed; each bucket is removed before the next one is filled.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from benchmarks.contenders import DATASET, KEYS, WIDTH, Task, installed
from benchmarks.origin import corpus
from benchmarks.watching import peak_of, watched
from d4c_platform.sandbox.generated import Generated
from d4c_platform.sandbox.seaweed import Seaweed
from d4c_platform.storage.digests import BLOCK, merkle_root
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.store import ObjectStore
from d4c_platform.torrents.metainfo import parse

PEERS = {"rclone": "rclone", "download": "download-hash-upload"}
KILLS = 3
IN_FLIGHT = 2 * WIDTH  # files at a kill: those that are fetched, and those that are noted


@contextmanager
def origin(count: int, total_bytes: int, day: str) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.origin", str(count), str(total_bytes), day]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def bucket_of(s3: Seaweed, name: str) -> str:
    s3.create_bucket(name)
    return name


def remove(s3: Seaweed, name: str) -> None:
    client = s3.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
        if keys:
            client.delete_objects(Bucket=name, Delete={"Objects": keys})
    client.delete_bucket(Bucket=name)


def killed_run(s3: Seaweed, files: dict[str, Generated], total_bytes: int) -> dict[str, Any]:
    """The ingest against a faulty publisher, killed three times; raises when anything is not as it should be."""
    with origin(len(files), total_bytes, "faulty") as url:
        task = Task(url, s3.endpoint_url, bucket_of(s3, "killed"))
        candidate = task.candidate()
        portal = Portal(task.store())
        before: dict[str, int] = {}
        done: set[str] = set()
        twice: set[str] = set()
        peak, seconds = 0, 0.0

        def served() -> dict[str, dict[str, int]]:
            answer: dict[str, dict[str, int]] = httpx.get(f"{url}/_served", timeout=60).json()
            return answer

        def check() -> None:
            asked = served()["asked"]
            again = [path for path in done if asked.get(path, 0) != before.get(path, 0)]
            if again:
                raise RuntimeError(f"{len(again)} finished files were asked for again: {again[:3]}")
            twice.update(p for p, n in asked.items() if p not in done and before.get(p, 0) and n > before[p])
            before.clear()
            before.update(asked)

        for kill in range(1, KILLS + 1):
            process = task.start("ours")
            started = time.monotonic()
            aim = len(files) * kill // (KILLS + 1)
            while process.poll() is None and len(finished(portal, candidate.key)) < aim:
                peak = max(peak, peak_of(process.pid))
                time.sleep(0.2)
            if process.poll() is not None:
                raise RuntimeError(f"it ended before it was killed: {process.stderr.read()[-2000:] if process.stderr else ''}")
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            seconds += time.monotonic() - started
            time.sleep(1.0)  # what it was sent is counted by then
            check()
            done = finished(portal, candidate.key)
        last_s, last_peak, _ = watched(task.start("ours"))
        check()
        sent = sum(served()["sent"].values())
        if len(twice) > KILLS * IN_FLIGHT:
            raise RuntimeError(
                f"{len(twice)} files were begun in more than one run, and {KILLS * IN_FLIGHT} may have been in flight"
            )
        verify(task, candidate.key, files)
        remove(s3, "killed")
    whole = sum(file.size for file in files.values())
    return {
        "kills": KILLS,
        "seconds": round(seconds + last_s, 2),
        "peak_bytes": max(peak, last_peak),
        "bytes": whole,
        "bytes_sent_by_the_publisher": sent,
        "files_begun_in_more_than_one_run": len(twice),
        "finished_files_fetched_again": 0,
        "digests_verified": len(files),
    }


def finished(portal: Portal, release: str) -> set[str]:
    found: set[str] = set()
    for info in portal.store.list(portal.received_key(DATASET, release, "ingest/")):
        found |= {json.loads(line)["path"] for line in portal.store.read(info.key).splitlines()}
    return found


def received(store: ObjectStore, release: str, file: str) -> bytes:
    """A file of the release as it lies in the archive, under the key that its provenance names."""
    provenance = store.read(Portal.received_key(DATASET, release, f"{file}.provenance.json"))
    return store.read(json.loads(provenance)["key"])


def verify(task: Task, release: str, files: dict[str, Generated]) -> None:
    """Compare the inventory, the torrent and the bucket with digests that are computed here, naively."""
    store = task.store()
    inventory = pq.read_table(io.BytesIO(received(store, release, "inventory.parquet"))).to_pylist()
    torrent = parse(received(store, release, f"{DATASET}_{release}.torrent"))
    stored = {info.key: info for info in store.list(Portal.received_key(DATASET, release, "files/"))}
    if [row["path"] for row in inventory] != sorted(files) or len(stored) != len(files):
        raise RuntimeError("the inventory or the bucket does not hold the files of the list")
    pieces: list[bytes] = []
    for row in inventory:
        whole = b"".join(files[row["path"]].chunks(row["path"]))
        size, step = len(whole), torrent.piece_length
        filled = whole + bytes(-size % step)
        pieces += [hashlib.sha1(filled[i : i + step]).digest() for i in range(0, len(filled), step)]
        root = merkle_root(b"".join(hashlib.sha256(whole[i : i + BLOCK]).digest() for i in range(0, size, BLOCK))).hex()
        found = (size, hashlib.sha256(whole).hexdigest(), hashlib.md5(whole).hexdigest(), root, size)
        told = (row["bytes"], row["sha256"], row["md5"], row["merkle_root"], stored[row["key"]].bytes)
        if found != told or stored[row["key"]].etag != row["s3_etag"]:
            raise RuntimeError(f"{row['path']}: {told} is told and {found} is there")
    if torrent.pieces != b"".join(pieces):
        raise RuntimeError("the torrent's pieces are not those of the files")


def race(s3: Seaweed, files: dict[str, Generated], total_bytes: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Everybody undisturbed against a good publisher, taking turns."""
    names = ["ours", *(peer for peer in PEERS if installed(peer))]
    runs: dict[str, list[tuple[float, int, str]]] = {name: [] for name in names}
    with origin(len(files), total_bytes, "good") as url:
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                bucket = bucket_of(s3, f"race-{turn}-{name}")
                task = Task(url, s3.endpoint_url, bucket)
                runs[name].append(watched(task.start(name)))
                stored = sum(1 for info in task.store().list("") if info.key.endswith(".tif"))
                if stored != len(files):
                    raise RuntimeError(f"{name} stored {stored} of {len(files)} files")
                remove(s3, bucket)
                print(f"round {turn + 1}: {name} {runs[name][-1][0]:.1f} s, {runs[name][-1][1] >> 20} MiB", flush=True)
    whole = sum(file.size for file in files.values())
    return {name: _figures(found, whole) for name, found in runs.items()}


def _figures(runs: list[tuple[float, int, str]], whole: int) -> dict[str, Any]:
    seconds = statistics.median(run[0] for run in runs)
    said = [json.loads(run[2])["working_s"] for run in runs if run[2].startswith('{"working_s"')]
    return {
        "seconds": round(seconds, 2),
        "all_seconds": [round(run[0], 2) for run in runs],
        "seconds_after_start": round(statistics.median(said), 2) if said else None,
        "mb_per_s": round(whole / seconds / 1e6, 1),
        "peak_bytes": max(run[1] for run in runs),
        "bytes": whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    chosen = parser.parse_args()
    count, total_bytes = (200, 200_000_000) if chosen.quick else (2_000, 5_000_000_000)
    files = corpus(count, total_bytes)
    with (
        tempfile.TemporaryDirectory(prefix="d4c-benchmark-") as folder,
        Seaweed(Path(folder) / "s3", access_key=KEYS[0], secret_key=KEYS[1]) as s3,
    ):
        killed = killed_run(s3, files, total_bytes)
        print(f"killed three times: {killed}", flush=True)
        raced = race(s3, files, total_bytes, chosen.rounds or (1 if chosen.quick else 3))
    ours = raced.pop("ours")
    peers: dict[str, Any] = {title: raced.get(peer, {"absent": "not installed"}) for peer, title in PEERS.items()}
    ratios = {f"throughput to {t}": round(p["seconds"] / ours["seconds"], 2) for t, p in peers.items() if "seconds" in p}
    ratios |= {
        f"peak memory to {t}": round(ours["peak_bytes"] / p["peak_bytes"], 2) for t, p in peers.items() if "seconds" in p
    }
    print(json.dumps({"benchmark": "ingest", "ours": {**ours, "killed": killed}, "peers": peers, "ratios": ratios}))


if __name__ == "__main__":
    main()
