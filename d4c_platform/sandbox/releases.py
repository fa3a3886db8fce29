"""Write the small source releases that the sandbox ships: from `census`, `outlines` and `shipped_portals`.

Deterministic: the same code writes the same bytes, members in a fixed order with the times of a real release (Statistics
Canada's members are stamped 00:34 Eastern on release day). A folder that this code has already filled is left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from d4c_platform.sandbox import census, census_metadata
from d4c_platform.sandbox.clock import EASTERN
from d4c_platform.sandbox.recorded import RELEASE_TIME

BOUNDARIES_URL_PATH = "www12.statcan.gc.ca/census-recensement/2021/geo/sip-pis/boundary-limites/files-fichiers"
LANGUAGES: tuple[census.Language, ...] = ("eng", "fra")
RECIPE = ".recipe"  # in the folder: a digest of the code that filled it


def build(folder: Path) -> None:
    """Fill a folder with the shipped releases, in the layout of `recorded`."""
    done = folder / RECIPE
    recipe = _recipe()
    if done.is_file() and done.read_text() == recipe:
        return
    for release in census.RELEASES:
        _write_table(folder, release)
    _write_boundaries(folder)
    _write_portals(folder)
    done.write_text(recipe)


def _write_table(folder: Path, release: census.CensusRelease) -> None:
    place = folder / "statcan" / census.PRODUCT_ID / release.released_at.strftime(RELEASE_TIME)
    rebuilt = release.released_at.replace(hour=0, minute=34)
    for language in LANGUAGES:
        members = [
            (f"{census.PRODUCT_ID}.csv", census.data_csv(release, language).encode()),
            (f"{census.PRODUCT_ID}_MetaData.csv", census_metadata.metadata_csv(release, language).encode()),
        ]
        _pack(place / f"{census.PRODUCT_ID}-{language}.zip", members, rebuilt)
    _put(
        place / f"{census.PRODUCT_ID}.json", json.dumps(census_metadata.metadata(release), ensure_ascii=False).encode(), rebuilt
    )


def _write_boundaries(folder: Path) -> None:
    from d4c_platform.sandbox import outlines  # loads GDAL: only when the folder is not filled yet

    with tempfile.TemporaryDirectory() as scratch:
        parts = [(part.name, part.read_bytes()) for part in outlines.write_shapefile(Path(scratch))]
    at = datetime.fromisoformat(outlines.DATED).replace(hour=0, minute=34, tzinfo=EASTERN)
    _pack(folder / "files" / BOUNDARIES_URL_PATH / f"{outlines.STEM}.zip", parts, at)


def _write_portals(folder: Path) -> None:
    from d4c_platform.sandbox import shipped_portals  # loads GDAL, too

    for path, content in shipped_portals.files():
        _put(folder / path, content, shipped_portals.UPDATED)


def _pack(file: Path, members: Sequence[tuple[str, bytes]], at: datetime) -> None:
    """Write a zip; its members' times are local times, as zips have no zones."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}")
    with zipfile.ZipFile(fresh, "w") as packed:
        for name, content in members:
            entry = zipfile.ZipInfo(name, at.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, content)
    _finish(fresh, file, at)


def _put(file: Path, content: bytes, at: datetime) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}")
    fresh.write_bytes(content)
    _finish(fresh, file, at)


def _finish(fresh: Path, file: Path, at: datetime) -> None:
    os.utime(fresh, (at.timestamp(), at.timestamp()))  # what the servers say as Last-Modified
    fresh.replace(file)


def _recipe() -> str:
    names = ("census", "census_metadata", "outlines", "recorded", "releases", "ckan", "shipped_portals")
    return hashlib.sha256(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in names)).hexdigest()
