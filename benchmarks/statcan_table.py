"""How a large Statistics Canada table becomes Parquet, beside what others do with the same CSV.

    python -m benchmarks.statcan_table           5 GB of CSV
    python -m benchmarks.statcan_table --quick   100 MB, in about a minute on a calm machine

The input is a real table, recorded, repeated with new vectors until it is large: the same texts, periods and missing values.
`ours` begins with the zip as it was received, proves the shape of every row, types, sorts, labels in both languages, hashes
and compresses with zstd 15. The peers read the unpacked CSV and do less: pandas with zstd 22 is what D4C did by hand,
`statcan-dl` reads with Arrow, DuckDB and Polars copy plainly with their defaults. Whoever is not installed is told as absent.

The last line is one JSON object. Everything lies in a temporary folder of the disk of TMPDIR and is removed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.watching import watched
from d4c_platform.model.dataset import Dataset
from d4c_platform.transforms.statcan_members import MEMBERS

RECORDED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "statcan"
PRODUCT = "33100036"
DATASET = f"ca_statcan-2021A000011124_d4c-datapkg-statistical_{PRODUCT}"
VERSION = f"{DATASET}_2025-06-10_v1.0.0"
VALUE = re.compile(r'(","[0-9.]+",")(\d+)\.(\d+)"(?=,"[^"]*","[^"]*","[^"]*","\d+"\n)')
FULL_BYTES, QUICK_BYTES = 5_000_000_000, 100_000_000


def enlarged(folder: Path, aim_bytes: int) -> tuple[Path, Path, int]:
    """The table again and again with other vectors: its CSV, the zip it came in, and how many rows there are."""
    with zipfile.ZipFile(RECORDED / f"{PRODUCT}-eng.zip") as recorded:
        text = recorded.read(f"{PRODUCT}.csv").decode("utf-8-sig")
        described = recorded.read(f"{PRODUCT}_MetaData.csv")
    header, _, body = text.partition("\n")
    rows = 0
    csv = folder / PRODUCT / f"{PRODUCT}.csv"
    csv.parent.mkdir()
    (folder / PRODUCT / f"{PRODUCT}_MetaData.csv").write_bytes(described)
    with csv.open("wb") as out:
        out.write(b"\xef\xbb\xbf" + header.encode() + b"\n")
        number = 0
        while out.tell() < aim_bytes:
            out.write(again(body, number).encode())
            rows, number = rows + body.count("\n"), number + 1
    zipped = folder / f"{PRODUCT}-eng.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.write(csv, csv.name)
        packed.writestr(f"{PRODUCT}_MetaData.csv", described)
    return csv, zipped, rows


def again(body: str, number: int) -> str:
    """The rows with vectors of their own and figures of their own: the recorded ones times a factor, as precise as before.

    So a series moves from day to day as it does in the world, and a compressor finds no copy of it elsewhere.
    """
    if not number:
        return body
    factor = random.Random(number).uniform(0.5, 2)

    def other(match: re.Match[str]) -> str:
        return f'{match[1]}{float(f"{match[2]}.{match[3]}") * factor:.{len(match[3])}f}"'

    return VALUE.sub(other, body.replace('"v', f'"v{number:03}'))


def dataset() -> Dataset:
    both = {"en": "A table", "fr": "Un tableau"}
    return Dataset.model_validate(
        {
            "id": DATASET,
            "version": "1.0.0",
            "package": "d4c-datapkg-statistical",
            "title": both,
            "description": both,
            "publisher": both,
            "source": {"kind": "statcan-table", "product_id": PRODUCT},
            "transform": {"kind": "statcan-csv"},
            "vintage": {"rule": "release"},
            "licence": {"id": "other", "title": both, "url": both, "attribution": both},
            "area": {"dguid": "2021A000011124", "name": both, "geometry": {"type": "Polygon", "coordinates": []}},
            "key": ["vector", "ref_date"],
        }
    )


def ours(csv: Path, zipped: Path, out: Path) -> None:
    from d4c_platform.transforms import build

    described = RECORDED / f"{PRODUCT}.json"
    build(dataset(), VERSION, {zipped.name: zipped, described.name: described}, out)


def pandas(csv: Path, zipped: Path, out: Path) -> None:
    import pandas as pd

    pd.read_csv(csv, encoding="utf-8-sig", low_memory=False).to_parquet(
        out / "table.parquet", compression="zstd", compression_level=22, index=False
    )


def statcan_dl(csv: Path, zipped: Path, out: Path) -> None:
    from statcan_dl.combine import convert_table

    if convert_table(csv.parent, out) is None:
        raise RuntimeError("statcan-dl could not read the table")


def duckdb(csv: Path, zipped: Path, out: Path) -> None:
    import duckdb as engine

    engine.sql(f"COPY (FROM read_csv('{csv}')) TO '{out / 'table.parquet'}' (COMPRESSION zstd)")


def polars(csv: Path, zipped: Path, out: Path) -> None:
    import polars as pl

    pl.scan_csv(csv, infer_schema_length=None).sink_parquet(out / "table.parquet", compression="zstd")


CONTENDERS: dict[str, tuple[str, str, Callable[[Path, Path, Path], None]]] = {
    "ours": ("ours", "d4c_platform", ours),
    "pandas": ("pandas + zstd 22", "pandas", pandas),
    "statcan_dl": ("statcan-dl", "statcan_dl", statcan_dl),
    "duckdb": ("DuckDB copy", "duckdb", duckdb),
    "polars": ("Polars copy", "polars", polars),
}


def run(name: str, csv: Path, zipped: Path, folder: Path, rows: int) -> dict[str, float]:
    """One contender in a process of its own: seconds, the peak of its resident memory, and bytes of its file."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "benchmarks.statcan_table", "--one", name, str(csv), str(zipped), out]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            seconds, peak, _ = watched(process)
        (made,) = (path for path in Path(out).glob("*.parquet") if path.name != MEMBERS)
        if pq.read_metadata(made).num_rows != rows:
            raise RuntimeError(f"{name} wrote {pq.read_metadata(made).num_rows} of {rows} rows")
        return {"seconds": seconds, "peak_bytes": peak, "bytes": made.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--bytes", type=int, default=0, help="of CSV")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=[], choices=CONTENDERS, help="leave these out")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        CONTENDERS[chosen.one[0]][2](*map(Path, chosen.one[1:]))
        return
    if not RECORDED.exists():
        raise SystemExit("The recorded table is not there: ../shared/data/statcan")
    names = [n for n, (_, module, _) in CONTENDERS.items() if importlib.util.find_spec(module) and n not in chosen.without]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="d4c-benchmark-") as folder:
        csv, zipped, rows = enlarged(Path(folder), chosen.bytes or (QUICK_BYTES if chosen.quick else FULL_BYTES))
        print(f"{rows:,} rows, {csv.stat().st_size:,} bytes of CSV, {zipped.stat().st_size:,} zipped", flush=True)
        for turn in range(chosen.rounds or (1 if chosen.quick else 3)):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                runs[name].append(run(name, csv, zipped, Path(folder), rows))
                last = runs[name][-1]
                print(f"round {turn + 1}: {name} {last['seconds']:.1f} s, {int(last['peak_bytes']) >> 20} MiB", flush=True)
        size = csv.stat().st_size
    figures = {CONTENDERS[n][0]: _figures(found, size, rows) for n, found in runs.items()}
    mine = figures.pop("ours")
    absent = {title: {"absent": "not installed or left out"} for n, (title, _, _) in CONTENDERS.items() if n not in names}
    ratios = {
        f"{what} to {title}": round(mine[key] / peer[key], 2)
        for title, peer in figures.items()
        for what, key in (("time", "seconds"), ("memory", "peak_bytes"), ("size", "bytes"))
    }
    print(json.dumps({"benchmark": "statcan_table", "ours": mine, "peers": figures | absent, "ratios": ratios}))


def _figures(runs: list[dict[str, float]], csv_bytes: int, rows: int) -> dict[str, Any]:
    return {
        "seconds": round(statistics.median(run["seconds"] for run in runs), 2),
        "all_seconds": [round(run["seconds"], 2) for run in runs],
        "peak_bytes": max(int(run["peak_bytes"]) for run in runs),
        "bytes": int(runs[-1]["bytes"]),
        "csv_bytes": csv_bytes,
        "rows": rows,
    }


if __name__ == "__main__":
    main()
