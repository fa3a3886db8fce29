"""What the machine cannot do is the machine's: never told as the publisher's mistake, never a bare traceback."""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.transforms import archive, build, changes, engine
from d4c_platform.transforms.machine import machine_troubles
from d4c_platform_tests.disk import disk_full_beyond
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.transforms import releases as r


def large_table(folder: Path, rows: int = 60_000) -> dict[str, Path]:
    chance = random.Random(1)
    return r.by_name(r.english_zip(folder, [r.row(value=str(chance.random()), vector=f"v{i}") for i in range(rows)]))


def large_layer(folder: Path) -> dict[str, Path]:
    ring = shapely.Point(500_000, 600_000).buffer(1000, quad_segs=20_000)
    return r.by_name(r.shapefile_zip(folder / "z.zip", [ring, shapely.affinity.translate(ring, 5000)], {"A": [1, 2]}))


def room_is_asked_for(failure: TransientFailure) -> bool:
    said = str(failure)
    assert "D4C_WORK_DIR" in said
    assert "previous latest stays" in said
    assert "publisher" not in said
    return True


@pytest.mark.parametrize("most", [10_000, 1_000_000])
def test_a_disk_that_fills_while_a_table_is_built_asks_for_room(tmp_path, most):
    raw = large_table(tmp_path)
    with disk_full_beyond(most), pytest.raises(TransientFailure) as caught:
        build(r.table_dataset(), r.TABLE_VERSION, raw, tmp_path / "work")
    assert room_is_asked_for(caught.value)


@pytest.mark.parametrize("most", [10_000, 1_000_000])
def test_a_disk_that_fills_while_a_layer_is_built_asks_for_room(tmp_path, most):
    raw = large_layer(tmp_path)
    with disk_full_beyond(most), pytest.raises(TransientFailure) as caught:
        build(r.layer_dataset(), r.LAYER_VERSION, raw, tmp_path / "work")
    assert room_is_asked_for(caught.value)


def test_too_little_memory_is_told_as_that(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "MEMORY_LIMIT", "4MB")
    with pytest.raises(TransientFailure, match="more memory") as caught:
        build(r.table_dataset(), r.TABLE_VERSION, large_table(tmp_path), tmp_path / "work")
    assert "publisher" not in str(caught.value)


def test_a_disk_that_is_really_full_asks_for_room(tmp_path):
    """In a small file system of its own, for which no rights are needed."""
    for folder in ("small", "raw"):
        (tmp_path / folder).mkdir()
    (zipped,) = large_table(tmp_path / "raw").values()
    program = (
        "import sys, pathlib; from d4c_platform.transforms import build\n"
        "from d4c_platform_tests.transforms import releases as r\n"
        "try: build(r.table_dataset(), r.TABLE_VERSION, r.by_name(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2], 'w'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    mounted = f'mount -t tmpfs -o size=4m none "{tmp_path}/small" || exit 77; exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh"]
    try:
        done = subprocess.run(
            [*inside, sys.executable, "-c", program, zipped, tmp_path / "small"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
    except FileNotFoundError:
        pytest.skip("this machine has no unshare")
    if done.returncode and "TransientFailure" not in done.stdout:
        pytest.skip(f"this machine mounts nothing for its users ({done.stderr.strip()[-100:]})")
    assert done.stdout.startswith("TransientFailure"), done.stdout
    assert "No space left on device" in done.stdout
    assert "D4C_WORK_DIR" in done.stdout


def test_a_disk_that_fills_while_versions_are_compared_asks_for_room(tmp_path):
    paths = []
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        paths.append(build(r.table_dataset(), r.TABLE_VERSION, large_table(tmp_path / name, 9 + len(paths)), tmp_path / name))
    with disk_full_beyond(1000), pytest.raises(TransientFailure) as caught:
        changes.compare(r.table_dataset(), r.TABLE_VERSION, paths[1].path, r.TABLE_VERSION, paths[0].path)
    assert room_is_asked_for(caught.value)


def test_a_member_that_does_not_fit_asks_for_room(tmp_path):
    (zipped,) = large_table(tmp_path, 1000).values()
    with (
        archive.opened(zipped) as opened,
        disk_full_beyond(1000),
        pytest.raises(TransientFailure) as caught,
        machine_troubles(),
    ):
        archive.unpack(opened, archive.members(opened)[0], tmp_path / "member")
    assert room_is_asked_for(caught.value)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "Make room"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "Make room"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Look at the disk"),
        (OSError("IO Error: Could not write file: No space left on device"), "Make room"),
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), "Make room"),
        (duckdb.IOException("IO Error: Could not read file"), "Look at the disk"),
        (duckdb.OutOfMemoryException("Out of Memory Error: max_temp_directory_size"), "Make room"),
        (duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"), "raise MEMORY_LIMIT"),
        (duckdb.FatalException("FATAL Error: the autocheckpoint failed: failed to pin block"), "raise MEMORY_LIMIT"),
        (MemoryError(), "more memory"),
        (pa.ArrowMemoryError("malloc"), "more memory"),
    ],
)
def test_each_trouble_of_the_machine_has_its_remedy(error, remedy):
    with pytest.raises(TransientFailure, match=remedy), machine_troubles():
        raise error


def test_a_working_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "work").write_text("x")
    with pytest.raises(PermanentFailure, match="D4C_WORK_DIR"):
        build(r.table_dataset(), r.TABLE_VERSION, large_table(tmp_path, 1), tmp_path / "work")


@pytest.mark.parametrize("error", [duckdb.InvalidInputException("a"), duckdb.ConversionException("b"), ValueError("c")])
def test_what_is_not_the_machines_is_left_to_who_knows(error):
    with pytest.raises(type(error)), machine_troubles():
        raise error


def test_a_large_shape_is_written_in_pieces_and_read_back(tmp_path):
    built = build(r.layer_dataset(), r.LAYER_VERSION, large_layer(tmp_path), tmp_path / "work")
    assert built.rows == 2
    assert np.isfinite(built.bbox).all()
    assert [p.name for p in (tmp_path / "work").iterdir()] == [built.path.name]
