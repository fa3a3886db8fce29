"""Which files on this disk stand in for the publishers' releases. They are read in place, never copied.

Two layouts are understood:

    shipped    statcan/<product id>/<release time>/{<product id>-eng.zip, -fra.zip, <product id>.json}   (`releases` writes it)
               files/<host>/<path of the URL>
    recorded   statcan/{<product id>-eng.zip, [-fra.zip], <product id>.json}     one release, at the metadata's releaseTime
               shapefiles/<source>_<name>_<vintage>.zip                          after the declared dataset's own name

A declared dataset without such a file is not an error: the sandbox answers 404 for it, and `stand_ins.is_recorded` says so
beforehand.

Not here: what lies there of catalogues and layers (`recorded_portals`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from d4c_platform import naming
from d4c_platform.model.dataset import Dataset
from d4c_platform.sandbox.clock import EASTERN

RELEASE_TIME = "%Y%m%dT%H%M"  # a release's folder, Eastern time
LANGUAGES = ("eng", "fra")


@dataclass(frozen=True, slots=True)
class TableRelease:
    """One release of a Statistics Canada table.

    Attributes:
        zips: language (`eng`, `fra`) to the full-table zip.
        metadata_file: the `getCubeMetadata` object.
    """

    product_id: str
    released_at: datetime
    zips: Mapping[str, Path]
    metadata_file: Path

    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.metadata_file.read_text(encoding="utf-8"))
        return document


def table_releases(releases: Path) -> list[TableRelease]:
    """Every release of every table in a folder, oldest first."""
    root = releases / "statcan"
    found = [_table(file, datetime.strptime(file.parent.name, RELEASE_TIME)) for file in root.glob("*/*T*/*.json")]  # noqa: DTZ007
    for file in root.glob("*.json"):
        text = json.loads(file.read_text(encoding="utf-8"))["releaseTime"]
        found.append(_table(file, datetime.fromisoformat(text)))
    return sorted(found, key=lambda r: (r.released_at, r.product_id))


def _table(metadata: Path, eastern: datetime) -> TableRelease:
    product_id = metadata.stem
    zips = {lang: metadata.with_name(f"{product_id}-{lang}.zip") for lang in LANGUAGES}
    return TableRelease(product_id, eastern.replace(tzinfo=EASTERN), {k: v for k, v in zips.items() if v.is_file()}, metadata)


def address(url: str) -> str:
    """A URL as the file server is asked for it: host, then path and query, without the scheme."""
    parts = urlsplit(url)
    return unquote(f"{parts.netloc}{parts.path}") + (f"?{parts.query}" if parts.query else "")


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def file_of(dataset: Dataset, releases: Path) -> Path | None:
    """The file that stands in for a dataset's declared URL; None when there is none."""
    if dataset.source.only_file is None:
        return None
    parts = urlsplit(dataset.source.only_file)
    name = naming.parse(dataset.id)
    recorded = "_".join([name.source, *name.name, *([name.date] if name.date else [])])
    for file in (
        releases / "files" / parts.netloc / unquote(parts.path).lstrip("/"),
        releases / "shapefiles" / f"{recorded}.zip",
    ):
        if file.is_file():
            return file
    return None


def files_by_address(datasets: Iterable[Dataset], releases: Path) -> dict[str, Path]:
    """What the file server offers: address to file."""
    return {
        address(d.source.only_file): file
        for d in datasets
        if d.source.only_file is not None and (file := file_of(d, releases)) is not None
    }


def plain_file(path: str, releases: Path) -> Path | None:
    """The file that lies under a host and a path, declared or not: what a catalogue links to."""
    root = releases / "files"
    file = root / path
    inside = path.isprintable() and file.is_relative_to(root) and ".." not in file.parts
    return file if inside and file.is_file() else None
