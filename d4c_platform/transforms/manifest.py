"""What a version was built from, so that it can be built again: source hashes, code, environment, tools, parameters.

A function of its inputs and of the environment alone – no clock – so that a repeated step writes the same document.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata

import duckdb
import pyarrow as pa
import pyogrio
import pyproj
import rasterio
import shapely

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Build, Changes, MadeWith, Manifest, Release, Verdict
from d4c_platform.transforms import engine, logical_hash, parquet
from d4c_platform.transforms.method import PACKAGE, PROJECT, lock_sha256, method

CODE_COMMIT = "D4C_CODE_COMMIT"  # set in the image of the code location, which has no .git


def manifest(
    dataset: Dataset, version_id: str, release: Release, build: Build, verdicts: Sequence[Verdict], changes: Changes
) -> Manifest:
    """The manifest of a built version."""
    made = build.made_with or made_with()
    return Manifest(
        version_id=version_id,
        dataset=dataset.model_dump(mode="json"),
        sources={f.key: f.sha256 for f in release.files},
        code_commit=made.code_commit,
        method_sha256=made.method_sha256,
        lock_sha256=made.lock_sha256,
        tools=made.tools,
        parameters={
            "release": release.key,
            "transform": dataset.transform.kind,
            "row_group_rows": ", ".join(
                str(parquet.rows_per_group(a.rows, spatial=bool(a.geometry_types))) for a in build.artifacts if a.role == "data"
            ),
            **made.parameters,
        },
        checks=tuple(verdicts),
        changes=changes,
        logical_hash={a.role: a.logical_hash for a in build.artifacts},
    )


def made_with() -> MadeWith:
    """The code, the tools and the fixed parameters of this process.

    Recorded when the artifact is built: the manifest is written by a later step, perhaps of a newer release of the platform.
    """
    return MadeWith(
        code_commit=code_commit(),
        method_sha256=method().sha256,
        lock_sha256=lock_sha256(),
        tools=tools(),
        parameters={
            "compression": f"{parquet.COMPRESSION} {parquet.COMPRESSION_LEVEL}",
            "logical_hash_recipe": str(logical_hash.RECIPE),
            "duckdb_threads": str(engine.THREADS),
            "duckdb_memory_limit": engine.MEMORY_LIMIT,
        },
    )


def code_commit() -> str:
    """The commit of the code: from the image, from git (marked when files differ from it), or the installed package."""
    if said := os.environ.get(CODE_COMMIT):
        return said
    if (PROJECT / ".git").exists() and (head := _git("rev-parse", "HEAD")):
        return f"{head}-dirty" if _git("status", "--porcelain") else head
    try:
        return f"{PACKAGE} {metadata.version(PACKAGE)}"
    except metadata.PackageNotFoundError:
        return "unknown"


def tools() -> dict[str, str]:
    """The libraries whose version can show in a file's bytes."""
    return {
        "python": platform.python_version(),
        "pyarrow": pa.__version__,
        "duckdb": duckdb.__version__,
        "geopandas": _version("geopandas"),
        "numpy": _version("numpy"),
        "shapely": shapely.__version__,
        "geos": ".".join(map(str, shapely.geos_version)),
        "pyproj": pyproj.__version__,
        "proj": pyproj.proj_version_str,
        "pyogrio": pyogrio.__version__,
        "gdal": pyogrio.__gdal_version_string__,
        "rasterio": rasterio.__version__,
        "rasterio-gdal": rasterio.__gdal_version__,  # each wheel brings a GDAL of its own
        "rio-cogeo": _version("rio-cogeo"),
        PACKAGE: _version(PACKAGE),
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
