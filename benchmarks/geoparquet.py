"""How a GeoPackage becomes a GeoParquet, and what it costs to read a small area of it over HTTP, beside geopandas and gpio.

    python -m benchmarks.geoparquet           1,500,000 polygons, several minutes
    python -m benchmarks.geoparquet --quick   50,000 polygons, under a minute on a calm machine

Everybody converts the same file in a process of its own, taking turns: seconds, peak memory and the size of the result. Then
DuckDB asks each file for windows of 0.1 % of the area, over a local server that counts what it sends; it goes by the covering
where the file has one, and by the shapes where not. All answers must agree, so nobody wins by losing shapes. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from benchmarks.geoparquet_contenders import CONTENDERS, SIDE, SPATIAL, installed, start
from benchmarks.ranges import Counting, counting
from benchmarks.watching import watched

COUNT, QUICK_COUNT = 1_500_000, 50_000
SHARE = 0.001  # of the area
WINDOWS = ((0.5, 0.5), (0.1, 0.2), (0.8, 0.3), (0.3, 0.9), (0.65, 0.7))  # where they lie in the square
_WEST, _SOUTH = 5_500_000, 1_000_000


def convert(source: Path, folder: Path, count: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Everybody in turn; the figures of each, and the file of the last round stays."""
    names = [name for name in CONTENDERS if installed(name)]
    runs: dict[str, list[tuple[float, int, str]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            target = folder / f"{name}.parquet"
            target.unlink(missing_ok=True)
            runs[name].append(watched(start(name, source, target)))
            if (rows := pq.read_metadata(target).num_rows) != count:
                raise RuntimeError(f"{name} wrote {rows:,} of {count:,} rows")
            seconds, peak, _ = runs[name][-1]
            print(f"round {turn + 1}: {name} {seconds:.1f} s, {peak >> 20} MiB, {target.stat().st_size:,} B", flush=True)
    return {
        name: {
            "seconds": round(statistics.median(run[0] for run in found), 2),
            "all_seconds": [round(run[0], 2) for run in found],
            "peak_bytes": max(run[1] for run in found),
            "file_bytes": (folder / f"{name}.parquet").stat().st_size,
            "row_groups": pq.read_metadata(folder / f"{name}.parquet").num_row_groups,
        }
        for name, found in runs.items()
    }


def query(name: str, folder: Path, server: Counting) -> tuple[dict[str, Any], list[int]]:
    """Bytes and requests of the windows, in the median, and the sum of the numbers of the shapes that were found in each."""
    geo = json.loads(pq.read_metadata(folder / f"{name}.parquet").metadata[b"geo"])
    geometry = geo["primary_column"]
    covered = "covering" in geo["columns"][geometry]
    moved, requests, answers = [], [], []
    half = SIDE * SHARE**0.5 / 2
    for x, y in WINDOWS:
        west, south = _WEST + SIDE * x - half, _SOUTH + SIDE * y - half
        east, north = west + 2 * half, south + 2 * half
        boxes = f"bbox.xmin <= {east} AND bbox.xmax >= {west} AND bbox.ymin <= {north} AND bbox.ymax >= {south}"
        exact = f"ST_Intersects_Extent({geometry}, ST_MakeEnvelope({west}, {south}, {east}, {north}))"
        where = f"{boxes} AND {exact}" if covered else exact
        server.reset()
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as sql:
            sql.execute("LOAD httpfs; LOAD spatial; SET enable_external_file_cache = false")
            # The numbers alone would be found without the shapes: their bytes are asked for, too.
            found = sql.execute(
                f"SELECT count(*), sum(id), sum(octet_length(ST_AsWKB({geometry})))"
                f" FROM read_parquet('{server.url}/{name}.parquet') WHERE {where}"
            ).fetchone()
        assert found is not None
        moved.append(server.moved)
        requests.append(server.requests)
        answers.append((int(found[0]), int(found[1] or 0)))
    told = {"bytes_moved": int(statistics.median(moved)), "requests": int(statistics.median(requests)), "covering": covered}
    return told, [numbers for _, numbers in answers]


def compare(figures: dict[str, dict[str, Any]], folder: Path) -> None:
    """Add what a window costs to everybody's figures."""
    subprocess.run([sys.executable, "-c", SPATIAL], check=True, capture_output=True)
    expected: list[int] | None = None
    with counting(folder) as server:
        for name, told in figures.items():
            found, answers = query(name, folder, server)
            expected = expected or answers
            if answers != expected:
                raise RuntimeError(f"{name} answers {answers} where the others answer {expected}")
            told["window"] = found
            print(f"window of {SHARE:.1%}: {name} {found['bytes_moved']:,} B in {found['requests']} requests", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    chosen = parser.parse_args()
    count = QUICK_COUNT if chosen.quick else COUNT
    with tempfile.TemporaryDirectory(prefix="d4c-benchmark-") as temporary:
        folder, source = Path(temporary), Path(temporary) / "buildings.gpkg"
        generator = [sys.executable, "-m", "benchmarks.geoparquet_contenders", "generate", "-", str(source), str(count)]
        subprocess.run(generator, check=True)
        print(f"{count:,} polygons, {source.stat().st_size:,} B of GeoPackage", flush=True)
        figures = convert(source, folder, count, chosen.rounds or (1 if chosen.quick else 3))
        compare(figures, folder)
        source_bytes = source.stat().st_size
    ours = figures.pop("ours")
    peers: dict[str, Any] = {n: figures.get(n, {"absent": "not installed"}) for n in CONTENDERS if n != "ours"}
    ratios = {}
    for name, peer in figures.items():
        ratios |= {
            f"seconds to {name}": round(ours["seconds"] / peer["seconds"], 2),
            f"peak memory to {name}": round(ours["peak_bytes"] / peer["peak_bytes"], 2),
            f"size to {name}": round(ours["file_bytes"] / peer["file_bytes"], 2),
            f"bytes of a window to {name}": round(ours["window"]["bytes_moved"] / peer["window"]["bytes_moved"], 3),
        }
    ours = {"polygons": count, "source_bytes": source_bytes, **ours}
    print(json.dumps({"benchmark": "geoparquet", "ours": ours, "peers": peers, "ratios": ratios}))


if __name__ == "__main__":
    main()
