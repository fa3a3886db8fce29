"""The ways from a GeoPackage to a GeoParquet that are compared, each as a process of its own.

    python -m benchmarks.geoparquet_contenders generate|ours|geopandas|geopandas-tuned INPUT OUTPUT [COUNT]

`geopandas` is what one writes first. `geopandas-tuned` is what the format's guide asks for: Hilbert order, covering, zstd 15,
row groups of 20,000. gpio (geoparquet-io) does the like by itself; it is told to leave invalid shapes as they are, as we do.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CONTENDERS = ("ours", "geopandas", "geopandas-tuned", "gpio")
CRS, SIDE = 3347, 3_000_000.0  # metres of the square that the shapes are in
SEED = 20260601
ROWS_PER_GROUP = 20_000
SPATIAL = "from duckdb_extensions import import_extension; import_extension('spatial'); import_extension('httpfs')"


def start(contender: str, source: Path, target: Path) -> subprocess.Popen[str]:
    """Begin; `watched` waits for it."""
    if contender == "gpio":
        command = [_gpio(), "convert", "geoparquet", str(source), str(target), "--no-repair-geometry"]
    else:
        command = [sys.executable, "-m", "benchmarks.geoparquet_contenders", contender, str(source), str(target)]
    return subprocess.Popen(command, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def installed(contender: str) -> bool:
    return contender != "gpio" or Path(_gpio()).exists()


def _gpio() -> str:
    return str(Path(sys.executable).with_name("gpio"))


def generate(target: Path, count: int) -> None:
    """Polygons of nine vertices anywhere in a square, in no order, with a number, a text and two figures."""
    import numpy as np
    import pyogrio.raw
    import shapely

    random = np.random.default_rng(SEED)
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    centre = random.random((count, 1, 2)) * SIDE + [5_500_000, 1_000_000]
    around = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (20 + random.random((count, 8, 1)) * 30)
    rings = shapely.linearrings((centre + around).reshape(-1, 2), indices=np.repeat(np.arange(count), 8))
    fields = [
        np.arange(count),
        np.array([f"Bâtiment {i:07d}" for i in range(count)], dtype=object),
        np.round(random.random(count) * 40, 1),
        random.integers(1850, 2026, count, dtype=np.int32),
    ]
    names = ["id", "name", "height", "year"]
    pyogrio.raw.write(
        target,
        shapely.to_wkb(shapely.polygons(rings)),
        fields,
        names,
        geometry_type="Polygon",
        crs=f"EPSG:{CRS}",
        driver="GPKG",
        layer="buildings",
        SPATIAL_INDEX="NO",
    )


def ours(source: Path, target: Path) -> None:
    from d4c_platform.model.dataset import Dataset
    from d4c_platform.transforms import build

    both = {"en": "Buildings", "fr": "Bâtiments"}
    name = "ca_benchmark-2021A000011124_d4c-datapkg-foundation_buildings"
    dataset = Dataset.model_validate(
        {
            "id": name,
            "version": "1.0.0",
            "package": "d4c-datapkg-foundation",
            **dict.fromkeys(("title", "description", "publisher"), both),
            "source": {"kind": "http-file", "url": "https://example.org/buildings.gpkg"},
            "transform": {"kind": "vector"},
            "vintage": {"rule": "release"},
            "licence": {"id": "other", "title": both, "url": both, "attribution": both},
            "area": {"dguid": "2021A000011124", "name": both, "geometry": {"type": "Polygon", "coordinates": []}},
        }
    )
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        built = build(dataset, f"{name}_2026-06-01_v1.0.0", {source.name: source}, Path(work))
        shutil.move(built.path, target)


def geopandas(source: Path, target: Path, *, tuned: bool) -> None:
    import geopandas as gpd

    frame = gpd.read_file(source, use_arrow=True)
    if not tuned:
        frame.to_parquet(target)
        return
    frame = frame.iloc[frame.hilbert_distance().argsort()]
    options = {"compression": "zstd", "compression_level": 15, "row_group_size": ROWS_PER_GROUP}
    frame.to_parquet(target, index=False, write_covering_bbox=True, **options)


def main() -> None:
    contender, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if contender == "generate":
        generate(target, int(sys.argv[4]))
    elif contender == "ours":
        ours(source, target)
    else:
        geopandas(source, target, tuned=contender == "geopandas-tuned")


if __name__ == "__main__":
    main()
