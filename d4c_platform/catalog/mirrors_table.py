"""`mirrors.parquet`: what is known of every copy, and when it was last seen to be right.

The volatile part of the catalog. It changes with every check of a mirror, so it stays out of the item rows (which the catalog's
signature covers for long) and is joined to them by `id` and `role`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d4c_platform.catalog.vocabulary import PLACES
from d4c_platform.model.records import Copies

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("mirror", pa.string(), nullable=False),
        pa.field("href", pa.string(), nullable=False),
        pa.field("checked_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("verified", pa.string(), nullable=False),
    ]
)

ROWS_PER_GROUP = 40_000  # nine short columns: four times a catalog group, about one row a mirror


def rows_of(copies: Copies) -> list[dict[str, Any]]:
    """One row a copy. `mirror` is the catalog's key of the place, the one that stands among the alternates."""
    return [
        {
            "id": copies.version_id,
            "role": copy.role,
            "mirror": PLACES.get(copies.place, copies.place),
            "href": copy.url,
            "checked_at": copy.checked_at,
            "state": copy.state.value,
            "bytes": copy.bytes,
            "sha256": copy.sha256,
            "verified": copy.verified,
        }
        for copy in sorted(copies.copies, key=lambda copy: (copy.role, copy.url))
    ]


class MirrorsWriter:
    """Writes the rows as they come, a row group at a time. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(
            path, SCHEMA, compression="zstd", compression_level=15, write_page_index=True, store_schema=False
        )
        self._waiting: list[Mapping[str, Any]] = []

    def __enter__(self) -> MirrorsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, copies: Iterable[Copies]) -> None:
        self._waiting += [row for one in copies for row in rows_of(one)]
        if len(self._waiting) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=SCHEMA))
            self._waiting = []
