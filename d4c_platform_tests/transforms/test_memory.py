"""Memory is bounded by bytes, not by rows: a few enormous shapes cost no more than a million small rows.

Each release is built in a process of its own whose greatest resident memory is read at the end.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from d4c_platform.transforms import build, geometry_file, parquet
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.transforms import releases as r

MIB = 1 << 20
LAYER_BOUND = 1000 * MIB  # measured: 720; 1,670 when rows alone bounded a batch
TABLE_BOUND = 1000 * MIB  # measured: 690, of which DuckDB may take the most
PROGRAM = """
import json, pathlib, sys
from d4c_platform.storage.digests import digest
from d4c_platform.transforms import artifact_of, build, changes, checks, parquet
from d4c_platform.transforms.preview import preview
from d4c_platform_tests.transforms import releases as r
parquet.COMPRESSION_LEVEL = 1  # the time it saves is not what is measured
kind, zipped, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
made = {"layer": r.layer_dataset, "vector": r.vector_dataset, "table": lambda: r.table_dataset(key=())}
dataset, version = made[kind](), r.TABLE_VERSION if kind == "table" else r.LAYER_VERSION
built = build(dataset, version, r.by_name(zipped), work)
if kind != "table":
    artifact = artifact_of(built, version, digest(built.path)[0])
    len(preview(dataset, artifact, built.path))
    checks.check(dataset, artifact, built.path, None)
    changes.compare(dataset, version, built.path, version, built.path)
# Not ru_maxrss: it survives fork and exec, and would tell the peak of the process that started this one.
peak_kib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"rows": built.rows, "rss": peak_kib * 1024}))
"""


def built_elsewhere(kind: str, zipped: Path, work: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, zipped, work], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("ending", ["shp", "fgb", "gpkg"])
def test_forty_shapes_of_two_hundred_thousand_vertices_stay_in_bounds(tmp_path, ending):
    turn = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)[::-1] * 1000
    shapes = [shapely.Polygon(circle + np.array([3000 * (i % 8), 3000 * (i // 8)])) for i in range(40)]
    fields = {"A": list(range(40))}
    if ending == "shp":
        found = built_elsewhere("layer", r.shapefile_zip(tmp_path / "z.zip", shapes, fields, level=1), tmp_path / "work")
    else:
        found = built_elsewhere("vector", r.vector_file(tmp_path / f"z.{ending}", shapes, fields), tmp_path / "work")
    assert found["rows"] == 40
    assert found["rss"] < LAYER_BOUND
    groups = pq.read_metadata(tmp_path / "work" / f"{r.LAYER_VERSION}.parquet")
    assert groups.num_row_groups == 2  # 20 shapes of 3.2 MB in each 64 MiB


def test_a_table_of_many_rows_stays_in_bounds(tmp_path):
    zipped = tmp_path / "98100001-eng.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("98100001.csv", "w") as file:
            file.write(r.csv_bytes(r.HEADER_EN, []))
            for start in range(0, 400_000, 50_000):
                rows = (r.row(value=f"{i}.5", vector=f"v{i}") for i in range(start, start + 50_000))
                file.write("".join(",".join(f'"{v}"' for v in row) + "\n" for row in rows).encode())
        archive.writestr("98100001_MetaData.csv", "Cube Title\n")
    found = built_elsewhere("table", zipped, tmp_path / "work")
    assert found["rows"] == 400_000
    assert found["rss"] < TABLE_BOUND


@pytest.mark.parametrize("most", [1, 500, 1 << 20])
def test_the_bytes_of_a_file_do_not_depend_on_how_its_shapes_travelled(tmp_path, monkeypatch, most):
    def made(name):
        (tmp_path / name).mkdir()
        shapes = [r.square(1000 * (i * 7 % 30), 0) for i in range(30)]
        zipped = r.shapefile_zip(tmp_path / name / "z.zip", shapes, {"A": [1] * 30})
        return build(r.layer_dataset(), r.LAYER_VERSION, r.by_name(zipped), tmp_path / name / "w").path.read_bytes()

    monkeypatch.setattr(parquet, "GROUP_BYTES", 1000)
    whole = made("whole")
    monkeypatch.setattr(geometry_file, "BATCH_BYTES", most)
    monkeypatch.setattr("d4c_platform.transforms.gdal_layer.BATCH_BYTES", most)
    assert made("parts") == whole


def test_shapes_that_begin_alike_are_sorted_by_all_their_bytes(tmp_path):
    with geometry_file.GeometryFile(tmp_path / "shapes") as shapes:
        alike = [b"x" * 300 + end for end in (b"c", b"", b"b", b"bb")]
        places, sizes, beginnings = shapes.append(alike)
        assert len(set(beginnings)) == 1
        order = shapes.sorted(zip(range(4), places, sizes, strict=True))
    assert [alike[i] for i in order] == sorted(alike)


def test_spans_hold_neighbours_up_to_the_bound_and_lose_none(monkeypatch):
    monkeypatch.setattr(geometry_file, "BATCH_BYTES", 10)
    assert list(geometry_file.spans([4, 4, 4, None, 25, 1])) == [(0, 2), (2, 4), (4, 5), (5, 6)]
    assert list(geometry_file.spans([])) == []
