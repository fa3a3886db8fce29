"""The members of a table's dimensions and how they lie under each other: a small table beside the large one.

The large table names a member by its text, a million times. What that text cannot say is here once: which member it belongs
under (a province under Canada, a kind of spending under its total), its code in the publisher's classification, and whether
its series have ended. `dimension` and `member` are the places and numbers of which a COORDINATE is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from d4c_platform.model.dataset import Dataset
from d4c_platform.transforms import parquet
from d4c_platform.transforms.logical_hash import canonical_order
from d4c_platform.transforms.parquet import Column
from d4c_platform.transforms.statcan_metadata import TableMetadata

MEMBERS = "members.parquet"
"""Name of the file among a version's small files."""

KEY = ("dimension", "member")
COLUMNS = (
    Column("dimension", pa.int32(), "Place of the dimension in a coordinate", "Place de la dimension dans une coordonnée"),
    Column("dimension_en", pa.string(), "Dimension (English)", "Dimension (anglais)"),
    Column("dimension_fr", pa.string(), "Dimension (French)", "Dimension (français)"),
    Column("member", pa.int32(), "Number of the member in a coordinate", "Numéro du membre dans une coordonnée"),
    Column("parent", pa.int32(), "Number of the member it belongs under", "Numéro du membre dont il relève"),
    Column("depth", pa.int32(), "How many members it belongs under", "Nombre de membres dont il relève"),
    Column("member_en", pa.string(), "Member (English)", "Membre (anglais)"),
    Column("member_fr", pa.string(), "Member (French)", "Membre (français)"),
    Column("code", pa.string(), "Code in the publisher's classification", "Code dans la classification de l’éditeur"),
    Column("geo_level", pa.int32(), "Geographic level", "Niveau géographique"),
    Column("vintage", pa.int32(), "Vintage of the classification", "Millésime de la classification"),
    Column("terminated", pa.bool_(), "Whether its series are terminated", "Si ses séries sont terminées"),
)


def write(path: Path, dataset: Dataset, version_id: str, metadata: TableMetadata) -> Path:
    """Write the members of all dimensions, by their numbers."""
    rows = list(_rows(metadata))
    arrays = [pa.array([row[i] for row in rows], column.type) for i, column in enumerate(COLUMNS)]
    parquet.write(
        path,
        COLUMNS,
        [pa.record_batch(arrays, schema=pa.schema([c.field for c in COLUMNS]))],
        expected_rows=len(rows),
        order=canonical_order(KEY, [c.name for c in COLUMNS]),
        facts=parquet.describe(dataset, version_id),
        sorted_by=KEY,
    )
    return path


def _rows(metadata: TableMetadata) -> Iterator[tuple[object, ...]]:
    for dimension in metadata.dimensions:
        parents = {m.id: m.parent for m in dimension.members}
        for m in sorted(dimension.members, key=lambda member: int(member.id)):
            above = int(m.parent) if m.parent in parents else None
            named = (dimension.position, dimension.en, dimension.fr, int(m.id), above, _depth(m.id, parents))
            yield (*named, m.en or None, m.fr or None, m.code, m.geo_level, m.vintage, m.terminated)


def _depth(member: str, parents: dict[str, str | None]) -> int | None:
    """How far down a member lies; None when its chain of parents leads nowhere or around in a circle."""
    for depth in range(len(parents)):
        parent = parents[member]
        if parent is None:
            return depth
        if parent not in parents:
            return None
        member = parent
    return None
