"""Tiles that a publisher made: PMTiles as they are, MBTiles as PMTiles, both read from end to end and described.

A PMTiles archive passes through byte for byte, because its bytes may be cited already; it is only judged. What is said of it
comes from its header, its directories and its metadata.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import ColumnInfo
from d4c_platform.transforms import archive, mbtiles, pmtiles_file
from d4c_platform.transforms.built import PMTILES, BuiltFile
from d4c_platform.transforms.pmtiles_file import Contents

WEB_MERCATOR = "EPSG:3857"  # PMTiles knows no other
MOST_NAMES = 200  # layers and fields that are listed; a hostile file may have millions
_MOST_TEXT = 200


def build(version_id: str, raw: Mapping[str, Path], workdir: Path) -> BuiltFile:
    """Build the tiles.

    Raises:
        PermanentFailure: the release is not one sound PMTiles or MBTiles.
    """
    source, name = _tiles_of(raw, workdir)
    path = workdir / f"{version_id}.pmtiles"
    converted = _begins(source, mbtiles.MAGIC)
    if converted:
        mbtiles.convert(source, path, workdir, name)
    else:
        shutil.copyfile(source, path)
    return described(path, pmtiles_file.read(path, name), {"source_format": "MBTiles" if converted else "PMTiles"})


def described(path: Path, contents: Contents, facts: Mapping[str, str], counts: Mapping[str, int] | None = None) -> BuiltFile:
    """A sound archive with everything that it says of itself."""
    header = contents.header
    layers, columns = _layers(contents.metadata)
    return BuiltFile(
        path=path,
        role="pmtiles",
        media_type=PMTILES,
        rows=contents.tiles,
        columns=columns,
        logical_hash=contents.logical_hash,
        bbox=contents.bbox,
        crs=WEB_MERCATOR,
        counts=MappingProxyType(
            {
                "different_tiles": contents.contents,
                "max_zoom": header["max_zoom"],
                "min_zoom": header["min_zoom"],
                "source_rows": contents.tiles,
                **(counts or {}),
            }
        ),
        facts=MappingProxyType(
            {
                "layers": ", ".join(layers) or "none",
                "tile_compression": header["tile_compression"].name.lower(),
                "tile_type": header["tile_type"].name.lower(),
                **facts,
            }
        ),
    )


def problems(path: Path) -> list[str]:
    """What is wrong with a PMTiles archive; empty when it is sound."""
    try:
        pmtiles_file.read(path)
    except PermanentFailure as error:
        return [error.what]
    return []


def _tiles_of(raw: Mapping[str, Path], workdir: Path) -> tuple[Path, str]:
    found: list[tuple[Path, str]] = []
    for name, path in sorted(raw.items()):
        if _begins(path, b"PK"):
            with archive.opened(path) as zipped:
                members = archive.members(zipped)
                if len(members) == 1:
                    found.append(
                        (archive.unpack(zipped, members[0], workdir / "source.tiles"), f"{name}/{members[0].filename}")
                    )
        else:
            found.append((path, name))
    known = [(path, name) for path, name in found if _begins(path, pmtiles_file.MAGIC) or _begins(path, mbtiles.MAGIC)]
    if len(known) != 1:
        raise PermanentFailure(
            "the release holds several tile archives" if known else "the release holds no PMTiles and no MBTiles",
            file=", ".join(sorted(raw)) or None,
            remedy="Declare one dataset for each" if known else "Look at what the publisher serves",
        )
    return known[0]


def _layers(metadata: Mapping[str, Any]) -> tuple[list[str], tuple[ColumnInfo, ...]]:
    """The layers of vector tiles, and their fields as `layer/field`, sorted, as far as the metadata can be believed."""
    said = metadata.get("vector_layers")
    fields: dict[str, str] = {}
    layers: set[str] = set()
    for layer in said if isinstance(said, list) else ():
        if not isinstance(layer, dict) or not isinstance(layer.get("id"), str):
            continue
        name = layer["id"][:_MOST_TEXT]
        layers.add(name)
        inner = layer.get("fields")
        for field, kind in inner.items() if isinstance(inner, dict) else ():
            fields[f"{name}/{field[:_MOST_TEXT]}"] = str(kind)[:_MOST_TEXT]
    columns = tuple(ColumnInfo(name=name, type=kind, nulls=0) for name, kind in sorted(fields.items())[:MOST_NAMES])
    return sorted(layers)[:MOST_NAMES], columns


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
