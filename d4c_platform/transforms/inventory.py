"""The inventory of a release that is a folder of files: one row a file, sorted by path.

It is written twice. Under `raw/` with everything that is known, also what is no content: where the file lies in this very
archive, its server's ETag and date, when it was fetched. As the version's artifact with what the files *are* alone: a
publisher who stamps all files anew changes nothing, and a changelog counts the files that really changed. What is left out
stands in the footer (`folder`) or in the raw inventory, whose volatile columns its footer names.

Rows arrive one by one and leave in row groups; nothing is held whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import parquet
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.logical_hash import canonical_order, facts_of
from d4c_platform.transforms.parquet import Column

INVENTORY = "inventory.parquet"
"""The name of the raw inventory among a release's files."""

BATCH_ROWS = 1_000
KEY = ("path",)
MOMENT = pa.timestamp("s", tz="UTC")

CONTENT = (
    Column("path", pa.string(), "Path in the folder", "Chemin dans le dossier"),
    Column("url", pa.string(), "Address at the publisher", "Adresse chez l'éditeur"),
    Column("bytes", pa.int64(), "Size in bytes", "Taille en octets"),
    Column("sha256", pa.string(), "SHA-256", "SHA-256"),
    Column("md5", pa.string(), "MD5", "MD5"),
    Column("merkle_root", pa.string(), "BitTorrent v2 root", "Racine BitTorrent v2"),
    Column("s3_etag", pa.string(), "ETag in S3", "ETag dans S3"),
    Column("part_bytes", pa.int64(), "Length of a part in S3", "Longueur d'une partie dans S3"),
    Column("content_type", pa.string(), "Media type as served", "Type de média servi"),
)
VOLATILE = (
    Column("key", pa.string(), "Object key in the portal", "Clé d'objet dans le portail"),
    Column("etag", pa.string(), "ETag at the publisher", "ETag chez l'éditeur"),
    Column("last_modified", MOMENT, "Last modified, says the publisher", "Dernière modification, selon l'éditeur"),
    Column("fetched_at", MOMENT, "Fetched at", "Récupéré à"),
    Column("resumed", pa.int64(), "Times the transfer was resumed", "Reprises du transfert"),
)
"""What may differ although the files are the same."""


def write_raw(path: Path, rows: Iterable[Mapping[str, Any]], expected_rows: int, facts: Mapping[str, Any]) -> int:
    """Write the raw inventory; returns how many files it has.

    Args:
        rows: the finished files, sorted by the bytes of their path.
        facts: what the file says of itself; `folder` is the prefix of all keys.
    """
    columns = (*CONTENT, *VOLATILE)
    written = parquet.write(
        path,
        columns,
        _batches(columns, rows),
        expected_rows=expected_rows,
        order=canonical_order(KEY, [c.name for c in columns]),
        facts={**facts, "volatile": [c.name for c in VOLATILE]},
        sorted_by=KEY,
        group_rows=BATCH_ROWS,  # an ingest's memory is the same for twenty files and a hundred thousand
    )
    return written.rows


def build(dataset: Dataset, version_id: str, raw: Mapping[str, Path], workdir: Path) -> BuiltFile:
    """Build the inventory of a version from the one that the ingest left.

    Raises:
        PermanentFailure: the release has no inventory, or one that was cut.
    """
    source = raw.get(INVENTORY)
    if source is None:
        raise PermanentFailure("the release has no inventory", file=INVENTORY, remedy="Archive the release again")
    said = facts_of(source)
    names = [c.name for c in CONTENT]
    path = workdir / f"{version_id}.parquet"
    counts = {"source_rows": int(said["listed"]), "total_bytes": 0, "empty_files": 0}

    def batches() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                sizes = batch.column(names.index("bytes")).to_numpy()
                counts["total_bytes"] += int(sizes.sum())
                counts["empty_files"] += int((sizes == 0).sum())
                yield batch.select(names)

    written = parquet.write(
        path,
        CONTENT,
        batches(),
        expected_rows=pq.read_metadata(source).num_rows,
        order=canonical_order(KEY, names),
        facts={**parquet.describe(dataset, version_id), "folder": said["folder"], "info_hash": said["info_hash"]},
        sorted_by=KEY,
    )
    return BuiltFile(
        path=path,
        rows=written.rows,
        columns=written.columns,
        logical_hash=written.logical_hash,
        key=dataset.key,
        counts=MappingProxyType(dict(sorted(counts.items()))),
    )


def _batches(columns: tuple[Column, ...], rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    left = iter(rows)
    while some := list(islice(left, BATCH_ROWS)):
        arrays = [pa.array([_value(row, c) for row in some], c.type) for c in columns]
        yield pa.record_batch(arrays, schema=pa.schema([c.field for c in columns]))


def _value(row: Mapping[str, Any], column: Column) -> Any:
    value = row[column.name]
    if column.type != MOMENT or value is None:
        return value
    return _moment(str(value))


def _moment(text: str) -> datetime | None:
    """A moment as we write it, or as an HTTP header does; None when it is neither."""
    try:
        if re.match(r"\d{4}-", text):
            return datetime.fromisoformat(text).astimezone(UTC)
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
