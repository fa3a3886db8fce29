"""Write catalog rows as STAC GeoParquet 1.1, the same bytes for the same items.

GeoParquet 1.1 with a bbox covering, because that is what every reader of today opens. Rows come in order and are written a row
group at a time, so memory is one row group whatever the catalog's size. What the footer says of the whole file – bounds, types,
collections – is gathered on the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d4c_platform.catalog.item import PROCESSOR
from d4c_platform.catalog.table import SCHEMA, STATISTICS, to_batch
from d4c_platform.catalog.vocabulary import COLLECTIONS, STAC_VERSION

ROWS_PER_GROUP = 10_000  # an id look-up reads pages of one group; fewer rows draw a warning from GeoParquet checkers
ITEMS_AT_ONCE = 250  # as Python dictionaries a wide table's item weighs tens of kilobytes
ZSTD_LEVEL = 15


def write_catalog(path: Path, items: Iterable[Mapping[str, Any]]) -> int:
    """Write the items, in their order, and return how many there were.

    Raises:
        PermanentFailure: an item does not fit the schema; the file is then incomplete.
    """
    gathered = _Gathered()
    rows = 0
    source = iter(items)
    with pq.ParquetWriter(
        path,
        SCHEMA,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        write_statistics=list(STATISTICS),
        write_page_index=True,
        store_schema=False,
    ) as writer:
        while group := list(_batches(islice(source, ROWS_PER_GROUP), gathered)):
            table = pa.Table.from_batches(group)
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)
            rows += table.num_rows
        writer.add_key_value_metadata({"geo": _json(gathered.geo()), "stac-geoparquet": _json(gathered.stac())})
    return rows


def _batches(items: Iterator[Mapping[str, Any]], gathered: _Gathered) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(items, ITEMS_AT_ONCE)):
        for item in chunk:
            gathered.add(item)
        yield to_batch(chunk)


class _Extent:
    """The bounds and the time of a set of items."""

    def __init__(self) -> None:
        self.west = self.south = float("inf")
        self.east = self.north = float("-inf")
        self.start, self.end = "9", ""  # before the first: later and earlier than any moment as text

    def add(self, item: Mapping[str, Any]) -> None:
        west, south, east, north = item["bbox"]
        self.west, self.south = min(self.west, west), min(self.south, south)
        self.east, self.north = max(self.east, east), max(self.north, north)
        properties = item["properties"]
        self.start = min(self.start, properties.get("start_datetime") or properties["datetime"])
        self.end = max(self.end, properties.get("end_datetime") or properties["datetime"])

    @property
    def bbox(self) -> list[float]:
        return [self.west, self.south, self.east, self.north]


class _Gathered:
    """What the footer says of the whole file."""

    def __init__(self) -> None:
        self._all = _Extent()
        self._collections: dict[str, _Extent] = {}
        self._types: set[str] = set()

    def add(self, item: Mapping[str, Any]) -> None:
        self._all.add(item)
        self._collections.setdefault(item["collection"], _Extent()).add(item)
        self._types.add(item["geometry"]["type"])

    def geo(self) -> dict[str, Any]:
        """GeoParquet 1.1 file metadata; the CRS is the default, OGC:CRS84."""
        geometry: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": sorted(self._types),
            "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
        }
        if self._types:
            geometry["bbox"] = self._all.bbox
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}

    def stac(self) -> dict[str, Any]:
        collections = {name: _collection(name, extent) for name, extent in sorted(self._collections.items())}
        return {"version": "1.1.0", "collections": collections}


def _collection(name: str, extent: _Extent) -> dict[str, Any]:
    title_en, title_fr = COLLECTIONS.get(name, (name, name))
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": name,
        "title": title_en,
        "description": f"Data for Canada data package: {title_en.lower()}. Every version of every dataset of the package.",
        "d4c:title_fr": title_fr,
        "license": "other",
        "providers": [PROCESSOR],
        "extent": {"spatial": {"bbox": [extent.bbox]}, "temporal": {"interval": [[extent.start, extent.end]]}},
        "links": [],
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
