"""How long does it take to know what Statistics Canada released, with all of its tables?

Eight thousand made-up tables in a local server that speaks the Web Data Service, in a process of its own; a portal in a local
folder, in memory where there is /dev/shm. Measured are the daily reading of the list, the sweeps that fill a new installation,
catching up after five days, a busy day and a quiet tick, the last two through the real Dagster sensors, in a process that
remembers nothing and in one that does.

The peer is the way clients of the service go about it: one getCubeMetadata for each table, as `stats_can` and `cansim` do. It
is measured one by one on a sample, and extrapolated; and, kindly, in arrays of a hundred, which the service accepts.

Neither side waits between requests here. With the service's own limit of 25 requests a second a sweep cannot take less than its
requests divided by 25: `at_25_per_s`.

    python -m benchmarks.sweep [--quick] [--tables 8000]

The last line is one JSON object: {"benchmark", "ours", "peers", "ratios"}.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import uvicorn

from d4c_platform import datasets
from d4c_platform.definitions import defs
from d4c_platform.model.records import Candidate
from d4c_platform.orchestration.sensors import SWEEP_BUDGET_S
from d4c_platform.sandbox.clock import Clock
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import configured, listening
from d4c_platform.sandbox.statcan import REAL_HOST, statcan_app
from d4c_platform.sandbox.tables import Tables
from d4c_platform.settings import Settings
from d4c_platform.stages import outstanding as pass_over
from d4c_platform.stages.notice import FIRST_LOOKS, notice
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.refresh import refresh_families
from d4c_platform.storage import ledger as ledgers
from d4c_platform.storage.local import LocalStore
from d4c_platform.web import Web

MEMORY = Path("/dev/shm")  # a file system in memory: measured is the sweep, and not this disk with its 60,000 small files
SEED = 7
BUSY = 300  # tables a busy day releases; the mean of a recorded week is 25
DAYS_OFFLINE = 5
LIMIT_PER_S = 25.0  # of the service, for one address
TICK_S = 60.0  # a Dagster sensor tick is cut here
SAMPLE = 200  # tables that the peer asks one by one
ARRAY = 100
DOCUMENTS = ("item.json", "copies.portal.json", "copies.source-coop.json", "copies.zenodo.json", "doi.json", "torrent.json")


def tables_at(origin: datetime, count: int, clock: Clock) -> Tables:
    """All tables with their pasts, and six busy days ahead of the origin. The same in every process."""
    draw = random.Random(SEED)
    shelf = Tables(clock.now)
    living = []
    for n in range(count):
        archived = n % 2 == 1  # about half of the real ones are
        table = shelf.add(f"{10100001 + n}", archived=archived, subjects=(f"{draw.choice((10, 14, 18, 33))}",))
        table.release(origin - timedelta(days=draw.randint(400, 4000) if archived else draw.randint(1, 300)), "1")
        if not archived:
            living.append(table)
    for day in range(1, DAYS_OFFLINE + 2):
        for table in draw.sample(living, min(BUSY, len(living))):
            table.release(origin + timedelta(days=day, hours=-2), f"{day}")
    return shelf


def serve_tables(folder: Path, port: int, count: int, origin: str) -> None:
    clock = Clock(folder / "clock.json")
    app = with_faults(statcan_app(tables_at(datetime.fromisoformat(origin), count, clock), clock))
    uvicorn.Server(configured(app)).run(sockets=[listening(port)])


@contextmanager
def server(folder: Path, count: int, origin: datetime) -> Iterator[str]:
    with listening() as probe:
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "benchmarks.sweep", "--serve", str(folder), str(port), str(count), origin.isoformat()]
    child = subprocess.Popen(words)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(httpx.HTTPError):
                httpx.get(f"{url}/_sandbox/requests")
                break
            time.sleep(0.1)
        yield url
    finally:
        child.terminate()
        child.wait()


class Portal:
    """Counts what is asked of the portal, as an S3 service would count it: a listing is a request for every thousand keys."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        for name in ("read", "put", "head"):
            self._count(name)
        whole = LocalStore.list

        def listing(store: LocalStore, prefix: str) -> Iterator[object]:
            for n, info in enumerate(whole(store, prefix)):
                self.asked["list"] += n % 1000 == 0
                yield info

        LocalStore.list = listing

    def _count(self, name: str) -> None:
        whole = getattr(LocalStore, name)

        def counted(store: LocalStore, *args: object, **options: object) -> object:
            self.asked[name] += 1
            return whole(store, *args, **options)

        setattr(LocalStore, name, counted)


class Bench:
    def __init__(self, folder: Path, url: str, count: int, origin: datetime) -> None:
        self.folder, self.url, self.count, self.origin = folder, url, count, origin
        self.clock, self.portal = Clock(folder / "clock.json"), Portal()
        declared = folder / "datasets"
        declared.mkdir()
        [family] = datasets.families_in(datasets.PACKAGED)
        (declared / family.name).write_text(family.read_text(encoding="utf-8"), encoding="utf-8")
        self.settings = Settings(
            datasets=declared,
            families=("statcan-tables",),
            origins={REAL_HOST: url},
            requests_per_s=1_000_000,
            portal_dir=folder / "portal",
            portal_url="http://127.0.0.1:1/",
            work_dir=folder / "work",
        )

    def measure(self, name: str, act: Callable[[], str]) -> dict[str, float]:
        httpx.delete(f"{self.url}/_sandbox/requests")
        self.portal.asked.clear()
        started = time.perf_counter()
        told = act()
        seconds = time.perf_counter() - started
        requests = len(httpx.get(f"{self.url}/_sandbox/requests", timeout=60).json())
        asked = dict(self.portal.asked)
        print(f"{name:58} {seconds:8.2f} s {requests:7,} requests  portal {sum(asked.values()):6,} {asked}  {told}", flush=True)
        noticed = int(told.partition(" ")[0].replace(",", ""))
        return {"seconds": round(seconds, 3), "requests": requests, "portal_requests": sum(asked.values()), "noticed": noticed}

    def at(self, day: float) -> datetime:
        """Set the sandbox's clock to days after the origin."""
        now = self.origin + timedelta(days=day)
        self.clock.set(now)
        return now

    def refresh(self, now: datetime) -> str:
        with Platform(self.settings) as platform:
            [found] = refresh_families(platform, now)
        return f"{found.datasets:,} datasets, {found.new:,} new, {found.released:,} released"

    def sweep(self, now: datetime) -> str:
        with Platform(self.settings) as platform:
            found = notice(platform, now, budget_s=SWEEP_BUDGET_S)
        assert not found.failures, found.failures[:3]
        return f"{len(found.candidates):,} releases noticed"

    def sensor(self, name: str, instance: dg.DagsterInstance) -> str:
        with (
            Platform(self.settings) as platform,
            dg.build_sensor_context(instance=instance, definitions=defs, resources={"platform": platform}) as context,
        ):
            context.log.setLevel(logging.CRITICAL)
            tick = defs.resolve_sensor_def(name)(context)
        for request in tick.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return f"{len(tick.run_requests or []):,} runs requested, {tick.skip_reason.skip_message if tick.skip_reason else ''}"

    def finish(self) -> int:
        """Write what finished versions leave in the portal, straight into the folder. Returns how many there are."""
        with Platform(self.settings) as platform:
            ledger = platform.records.ledger()
            versions = [c.version_id for d in ledger.datasets() for c in ledger.candidates(d)]
        for version_id in versions:
            folder = self.folder / "portal" / "records" / version_id
            if folder.exists():
                continue
            folder.mkdir(parents=True)
            for name in DOCUMENTS:
                (folder / name).write_text(_document(version_id, name))
        return len(versions)

    def enter_rest(self) -> None:
        """Enter what the sweeps of a whole day would, straight into the folder: for a quick run."""
        with Platform(self.settings) as platform:
            [expansion] = platform.datasets.expansions
            ledger = platform.records.ledger()
            for dataset_id, product_id in expansion.tables.items():
                if ledger.newest(dataset_id) is None:
                    key = expansion.listing.tables[product_id].released
                    folder = self.folder / "portal" / "releases" / dataset_id
                    folder.mkdir(parents=True)
                    (folder / f"{key}.json").write_text(_entry(dataset_id, key, self.origin).model_dump_json())


def _entry(dataset_id: str, key: str, now: datetime) -> Candidate:
    released = datetime.strptime(key, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    vintage = f"{released:%Y-%m-%d}"
    version_id = f"{dataset_id}_{vintage}_v1.0.0"
    return Candidate(
        dataset_id=dataset_id,
        key=key,
        version_id=version_id,
        vintage=vintage,
        released_at=released,
        noticed_at=now,
        hint={"signal": "getAllCubesListLite"},
    )


def _document(version_id: str, name: str) -> str:
    place = name.removeprefix("copies.").removesuffix(".json")
    url = f"http://127.0.0.1:1/{place}/{version_id}.parquet"
    if name.startswith("copies."):
        copy = {
            "role": "data",
            "url": url,
            "bytes": 1,
            "sha256": "0" * 64,
            "checked_at": "2026-01-01T00:00:00Z",
            "verified": "sha256",
        }
        return json.dumps({"version_id": version_id, "place": place, "copies": [copy]})
    seeds = [f"http://127.0.0.1:1/{place}/{version_id}.parquet" for place in ("source-coop", "zenodo")]
    torrent = {
        "role": "data",
        "file": "x",
        "url": "http://t",
        "sha256": "0" * 64,
        "info_hash": "0" * 40,
        "magnet": "m",
        "web_seeds": seeds,
        "trackers": [],
        "piece_length": 16384,
    }
    return json.dumps(
        {"version_id": version_id, "torrents": [torrent]} if name == "torrent.json" else {"version_id": version_id}
    )


def forget() -> None:
    """What a process remembers that has just started: nothing."""
    ledgers._MEMORY.clear()  # noqa: SLF001
    pass_over._TORRENTS.clear()  # noqa: SLF001


def peers(url: str, count: int) -> dict[str, dict[str, float]]:
    """One getCubeMetadata a table, as clients of the service do it, without waiting between requests."""
    asked = [{"productId": 10100001 + n} for n in range(count)]
    address = f"{REAL_HOST}/t1/wds/rest/getCubeMetadata"
    web = Web(origins={REAL_HOST: url}, per_host_per_s=1_000_000)
    try:
        started = time.perf_counter()
        for one in asked[:SAMPLE]:
            web.request("POST", address, where="peer", json=[one])
        alone = (time.perf_counter() - started) / min(SAMPLE, count) * count
        started = time.perf_counter()
        for start in range(0, count, ARRAY):
            web.request("POST", address, where="peer", json=asked[start : start + ARRAY])
        arrays = time.perf_counter() - started
    finally:
        web.close()
    print(f"{f'peer: one request a table (extrapolated from {SAMPLE})':58} {alone:8.2f} s {count:7,} requests")
    print(f"{f'peer: arrays of {ARRAY}':58} {arrays:8.2f} s {-(-count // ARRAY):7,} requests")
    return {
        "one_request_a_table": {"seconds": round(alone, 3), "requests": count, "extrapolated_from": min(SAMPLE, count)},
        f"arrays_of_{ARRAY}": {"seconds": round(arrays, 3), "requests": -(-count // ARRAY)},
    }


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve_tables(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
        return
    options = argparse.ArgumentParser(description="Sweeping all tables of Statistics Canada.")
    options.add_argument("--quick", action="store_true", help="fill the installation by hand after three sweeps")
    options.add_argument("--tables", type=int, default=8_000)
    chosen = options.parse_args()
    origin = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS_OFFLINE + 1)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
        server(Path(folder), chosen.tables, origin) as url,
    ):
        ours = run(Bench(Path(folder), url, chosen.tables, origin), quick=chosen.quick)
        others = peers(url, chosen.tables)
    for measured in (*ours.values(), *others.values()):
        if isinstance(measured, dict):
            measured["at_25_per_s"] = round(measured["requests"] / LIMIT_PER_S, 2)
    ticks = [m["seconds"] for name, m in ours.items() if isinstance(m, dict) and not name.startswith("reading_the_list")]
    ours["slowest_tick_s"] = max(ticks)
    ours["within_a_tick"] = max(ticks) < TICK_S
    quiet = ours["quiet_sensor_tick"]
    ratios = {
        f"{name}_{figure}": round(peer[figure] / max(quiet[figure], 1e-3), 1)
        for name, peer in others.items()
        for figure in ("seconds", "requests")
    }
    print(json.dumps({"benchmark": "sweep", "tables": chosen.tables, "ours": ours, "peers": others, "ratios": ratios}))


def run(bench: Bench, *, quick: bool) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    now = bench.at(0)
    ours["reading_the_list_first"] = bench.measure(
        "the daily job: reading the list, every table new", lambda: bench.refresh(now)
    )
    ours["reading_the_list"] = bench.measure("the daily job: reading the list again", lambda: bench.refresh(now))
    sweeps = -(-bench.count // FIRST_LOOKS)
    slowest: dict[str, float] = {"seconds": 0.0, "requests": 0, "portal_requests": 0}
    for n in range(min(3, sweeps) if quick else sweeps):
        forget()
        with quietly(n % 20 != 0):
            one = bench.measure(f"first install: sweep {n + 1} of {sweeps}", lambda: bench.sweep(now))
        slowest = max(slowest, one, key=lambda m: m["seconds"])
    ours["first_install_slowest_sweep"] = slowest
    ours["first_install_sweeps"] = sweeps
    if quick:
        bench.enter_rest()
    print(f"{bench.finish():,} finished versions in the portal")
    ours["quiet_sweep"] = bench.measure("quiet sweep", lambda: bench.sweep(now))
    now = bench.at(DAYS_OFFLINE)
    forget()
    ours["catching_up"] = bench.measure(f"catching up after {DAYS_OFFLINE} days: first sweep", lambda: bench.sweep(now))
    for n in range(2, 9):
        extra = bench.measure(f"catching up: sweep {n}", lambda: bench.sweep(now))
        if extra["noticed"] == 0:
            break
        ours["catching_up_sweeps"] = n
        ours["catching_up"] = max(ours["catching_up"], extra, key=lambda m: m["seconds"])
    bench.measure("the daily job after five days", lambda: bench.refresh(now))
    bench.finish()
    bench.clock.set(None)
    with dg.DagsterInstance.ephemeral() as instance:
        forget()
        ours["busy_day_sensor_tick"] = bench.measure(
            f"Dagster sensor `releases`, {BUSY} tables released, cold", lambda: bench.sensor("releases", instance)
        )
        ours["busy_day_outstanding_tick"] = bench.measure(
            "Dagster sensor `outstanding` right after", lambda: bench.sensor("outstanding", instance)
        )
        forget()
        ours["quiet_sensor_tick_cold"] = bench.measure(
            "Dagster sensor `releases`, nothing new, cold", lambda: bench.sensor("releases", instance)
        )
        ours["quiet_sensor_tick"] = bench.measure(
            "Dagster sensor `releases`, nothing new, warm", lambda: bench.sensor("releases", instance)
        )
        forget()
        ours["outstanding_tick_cold"] = bench.measure(
            "Dagster sensor `outstanding`, cold", lambda: bench.sensor("outstanding", instance)
        )
        ours["outstanding_tick"] = bench.measure(
            "Dagster sensor `outstanding`, warm", lambda: bench.sensor("outstanding", instance)
        )
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours["memory_mb_before"], ours["memory_mb_peak"] = before // 1024, after // 1024
    print(f"memory: {before // 1024} MB before, {after // 1024} MB at most")
    return ours


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Print nothing within the block."""
    if not quiet:
        yield
        return
    with Path(os.devnull).open("w") as nowhere:
        shown, sys.stdout = sys.stdout, nowhere
        try:
            yield
        finally:
            sys.stdout = shown


if __name__ == "__main__":
    main()
