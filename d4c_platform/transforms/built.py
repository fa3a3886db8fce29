"""What a transform hands over: one file and everything that is known of it before its digests.

A `BuiltFile` lives in a working directory and has no place yet; `artifact_of` names it for its version once the one pass of
digests is done.

Not here: how the file was made (statcan_csv, shapefile, cog), whether it may be published (checks).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from d4c_platform.model.records import Artifact, ColumnInfo, Digests, Part

PARQUET = "application/vnd.apache.parquet"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
PMTILES = "application/vnd.pmtiles"

EXTENSIONS = MappingProxyType({"data": "parquet", "cog": "tif", "pmtiles": "pmtiles"})
"""An artifact's role to the extension of its published name."""


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One systems-ready file, built but not yet digested.

    Attributes:
        path: the file in the working directory.
        counts: kept, never hidden: source rows, suppressed values, invalid DGUIDs, null geometries…
        beside: small files that belong to it, by the name they are published under: rejected rows, members of dimensions.

    The other attributes are those of `Artifact`.
    """

    path: Path
    rows: int
    columns: tuple[ColumnInfo, ...]
    logical_hash: str
    role: str = "data"
    media_type: str = PARQUET
    key: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    crs: str | None = None
    geometry_types: tuple[str, ...] = ()
    period: tuple[str, str] | None = None
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    beside: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_table(self) -> bool:
        return self.media_type == PARQUET


def artifact_of(
    built: BuiltFile, version_id: str, digests: Digests, parts: Iterable[tuple[Path, int, Digests]] = ()
) -> Artifact:
    """The built file as the artifact of a version, under its published name.

    Args:
        parts: what is published of it when it is large (parquet_parts): each file, its rows and its digests.
    """
    return Artifact(
        role=built.role,
        file=f"{version_id}.{EXTENSIONS[built.role]}",
        media_type=built.media_type,
        digests=digests,
        logical_hash=built.logical_hash,
        rows=built.rows,
        columns=built.columns,
        key=built.key,
        bbox=built.bbox,
        crs=built.crs,
        geometry_types=built.geometry_types,
        period=built.period,
        counts=dict(built.counts),
        facts=dict(built.facts),
        parts=tuple(Part(file=f"{version_id}.{path.name}", digests=d, rows=rows) for path, rows, d in parts),
    )
