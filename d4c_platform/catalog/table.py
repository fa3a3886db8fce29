"""The one Arrow schema of the catalog, and the way between STAC items and its rows.

The schema is written down, never inferred from items: a new mirror or a rare field cannot widen it, every file has the same
columns, and batches are built directly. STAC GeoParquet lifts properties to the top level; their namespaced names stay as they
are (`"d4c:dataset"`). No column holds JSON.

An item with a field that has no column is refused, not silently trimmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from d4c_platform.catalog.item import rfc3339
from d4c_platform.catalog.vocabulary import OTHER_ROLES, PLACES, PORTAL, SOFTWARE
from d4c_platform.catalog.wkb import from_wkb, to_wkb
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import SOURCE_FOLDER

TEXT, TEXTS = pa.string(), pa.list_(pa.string())
MOMENT = pa.timestamp("us", tz="UTC")

_SWARM = [("d4c:info_hash", TEXT), ("d4c:magnet", TEXT)]
_FILE = [("file:size", pa.int64()), ("file:checksum", TEXT), ("file:local_path", TEXT)]
_ASSET = [("href", TEXT), ("type", TEXT), ("title", TEXT), ("roles", TEXTS), *_FILE]
_ALTERNATE = pa.struct([("href", TEXT), ("alternate:name", TEXT), ("storage:refs", TEXTS)])
_COLUMN = pa.struct([("name", TEXT), ("type", TEXT), ("description", TEXT), ("d4c:description_fr", TEXT)])
_MIRRORED = [
    *_ASSET,
    ("storage:refs", TEXTS),
    ("alternate", pa.struct([(key, _ALTERNATE) for key in PLACES.values()])),
]
_TABLE = [("table:row_count", pa.int64()), ("table:columns", pa.list_(_COLUMN))]
# A large table is several files; the asset itself is the first of them.
_PARTS = [
    (
        "d4c:parts",
        pa.list_(pa.struct([("href", TEXT), *_FILE, ("table:row_count", pa.int64()), *_SWARM, ("d4c:torrent", TEXT)])),
    )
]
_PROJECTION = [("proj:code", TEXT), ("proj:bbox", pa.list_(pa.float64()))]
_OWN_TORRENT = [*_SWARM, ("d4c:torrent", TEXT)]
_ASSETS = pa.struct(
    [
        ("data", pa.struct([*_MIRRORED, *_TABLE, *_PROJECTION, *_PARTS])),
        ("pmtiles", pa.struct([*_MIRRORED, *_OWN_TORRENT])),
        ("cog", pa.struct([*_MIRRORED, *_PROJECTION, *_OWN_TORRENT])),
        (SOURCE_FOLDER, pa.struct([*_ASSET, *_SWARM])),
        *((role, pa.struct(_ASSET)) for role in OTHER_ROLES),
    ]
)
_LINK = pa.struct([("rel", TEXT), ("href", TEXT), ("type", TEXT), ("title", TEXT), ("hreflang", TEXT)])
_PROVIDER = pa.struct([("name", TEXT), ("roles", TEXTS), ("url", TEXT)])
_SCHEME = pa.struct([("type", TEXT), ("platform", TEXT), ("title", TEXT)])
_CHANGES = pa.struct(
    [("least_bump", TEXT), ("rows_added", pa.int64()), ("rows_removed", pa.int64()), ("rows_changed", pa.int64())]
)

_WAIVER = pa.struct(
    [
        *(("check", TEXT), ("waived", pa.bool_()), ("passed", pa.bool_())),
        *(("limit", pa.float64()), ("reason", TEXT), ("reason_fr", TEXT)),
    ]
)

_CORE = [
    # The specification leaves `type` out; with it, readers that add nothing of their own still give back whole items.
    ("type", TEXT),
    ("stac_version", TEXT),
    ("stac_extensions", TEXTS),
    ("id", TEXT),
    ("collection", TEXT),
    ("geometry", pa.binary()),
    # Doubles: a covering has to contain its geometry, and a catalog row is too small for single precision to save anything.
    ("bbox", pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])),
    ("links", pa.list_(_LINK)),
    ("assets", _ASSETS),
]
_PROPERTIES = [
    ("title", TEXT),
    ("description", TEXT),
    ("datetime", MOMENT),
    ("start_datetime", MOMENT),
    ("end_datetime", MOMENT),
    ("license", TEXT),
    ("attribution", TEXT),
    ("providers", pa.list_(_PROVIDER)),
    ("keywords", TEXTS),
    ("version", TEXT),
    ("deprecated", pa.bool_()),
    ("sci:doi", TEXT),
    ("sci:citation", TEXT),
    ("processing:lineage", TEXT),
    ("processing:software", pa.struct([(name, TEXT) for name in SOFTWARE])),
    ("storage:schemes", pa.struct([(key, _SCHEME) for key in (PORTAL, *PLACES.values())])),
    ("d4c:title_fr", TEXT),
    ("d4c:description_fr", TEXT),
    ("d4c:publisher_fr", TEXT),
    ("d4c:attribution_fr", TEXT),
    ("d4c:keywords_fr", TEXTS),
    ("d4c:dataset", TEXT),
    ("d4c:package", TEXT),
    ("d4c:dguid", TEXT),
    ("d4c:vintage", TEXT),
    # RFC 3339 text in UTC, which sorts as it is: readers turn timestamps back into JSON for STAC's own fields only.
    ("d4c:released_at", TEXT),
    ("d4c:latest", pa.bool_()),
    ("d4c:logical_hash", TEXT),
    ("d4c:changes", _CHANGES),
    # Checks that the declaration waived, or gave another limit, with the reason; null where every check stands as it is.
    ("d4c:waivers", pa.list_(_WAIVER)),
    ("d4c:concept_doi", TEXT),
    *_SWARM,
]
REQUIRED = frozenset({"id", "geometry", "bbox", "links", "assets", "datetime", "stac_version", "stac_extensions", "type"})

SCHEMA = pa.schema([pa.field(name, kind, nullable=name not in REQUIRED) for name, kind in [*_CORE, *_PROPERTIES]])

STATISTICS = (
    "id",
    "collection",
    *(f"bbox.{side}" for side in ("xmin", "ymin", "xmax", "ymax")),
    *(
        name
        for name, kind in _PROPERTIES
        if kind in (MOMENT, pa.bool_())
        or name in {"sci:doi", "d4c:released_at", "d4c:dataset", "d4c:package", "d4c:dguid", "d4c:info_hash"}
    ),
)
"""Columns that people look things up by. Statistics of the others (hundreds of leaves) would only make the footer heavy."""

_PROPERTY_NAMES = tuple(name for name, _ in _PROPERTIES)
_MOMENTS = tuple(name for name, kind in _PROPERTIES if kind == MOMENT)


def to_batch(items: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """The items as rows, in their order.

    Raises:
        PermanentFailure: an item has a field without a column, or lacks what every item has.
    """
    return pa.RecordBatch.from_pylist([_row(item) for item in items], schema=SCHEMA)


def to_items(table: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The STAC items of a table's rows. What is null in a row is absent from the item, as it was before."""
    batches = table.to_batches(max_chunksize=1000) if isinstance(table, pa.Table) else [table]
    for batch in batches:
        for row in batch.to_pylist():
            yield _item(row)


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: value for name, value in item.items() if name != "properties"} | item["properties"]
    for name in _MOMENTS:
        if row.get(name) is not None:
            row[name] = datetime.fromisoformat(row[name]).astimezone(UTC)
    row["geometry"] = to_wkb(item["geometry"])
    row["bbox"] = dict(zip(("xmin", "ymin", "xmax", "ymax"), item["bbox"], strict=True))
    missing = sorted(name for name in REQUIRED if row.get(name) is None)
    unknown = sorted(_unknown(row, SCHEMA))
    if missing or unknown:
        what = f"it has no {missing[0]}" if missing else f"the catalog has no column for {unknown[0]}"
        raise PermanentFailure(
            what,
            where="catalog",
            version=str(item.get("id")),
            file="item.json",
            kept="The published catalog stays as it was",
            remedy="Publish with the release of d4c-platform that wrote the record",
        )
    return row


def _unknown(value: Mapping[str, Any], fields: Iterable[pa.Field]) -> Iterator[str]:
    """Paths in a value that the schema has no place for: Arrow would drop them without a word."""
    kinds = {field.name: field.type for field in fields}
    for name, inner in value.items():
        if name not in kinds:
            yield name
        elif inner is not None:
            yield from (f"{name}.{path}" for path in _unknown_in(inner, kinds[name]))


def _unknown_in(value: Any, kind: pa.DataType) -> Iterator[str]:
    if pa.types.is_struct(kind):
        yield from _unknown(value, kind)
    elif pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        for part in value:
            yield from _unknown(part, kind.value_type)


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    core = {name: _present(value) for name, value in row.items() if name not in _PROPERTY_NAMES and value is not None}
    properties = {name: _present(row[name]) for name in _PROPERTY_NAMES if row.get(name) is not None}
    core["geometry"] = from_wkb(row["geometry"])
    core["bbox"] = list(row["bbox"].values())
    core["properties"] = properties | {name: rfc3339(properties[name]) for name in _MOMENTS if name in properties}
    return core


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_present(inner) for inner in value]
    return value
