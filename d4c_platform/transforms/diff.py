"""What differs between two Parquet files of a dataset, counted exactly: rows by key, or as whole rows when there is no key.

One pass of DuckDB over both files, bounded by its memory limit: it spills what does not fit.

Not here: which version number the difference asks for (changes).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from d4c_platform.model.records import RowChange
from d4c_platform.transforms.diff_sample import sample_of
from d4c_platform.transforms.engine import engine, literal, quoted, scalar
from d4c_platform.transforms.logical_hash import COVERING, canonical_type, facts_of
from d4c_platform.transforms.native_geometry import native_columns


@dataclass(frozen=True, slots=True)
class Shape:
    """A file's shape as its footer tells it."""

    columns: dict[str, str]
    key: tuple[str, ...] | None
    crs: str | None
    geometry_types: frozenset[str]
    rows: int
    logical_hash: str | None
    recipe: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows by key; without one `changed` is 0 and a corrected row counts as removed and added."""

    before: int
    after: int
    added: int
    removed: int
    changed: int
    keyed: bool
    changed_by_column: dict[str, int] = field(default_factory=dict)
    sample: tuple[RowChange, ...] = ()


def shape_of(path: Path) -> Shape:
    """Read a file's shape; the covering is not part of it, it repeats the geometry."""
    metadata = pq.read_metadata(path)
    schema = pq.read_schema(path)
    facts = facts_of(path)
    geo: dict[str, Any] = json.loads((metadata.metadata or {}).get(b"geo", b"{}"))
    geometry = geo.get("columns", {}).get(geo.get("primary_column", ""), {})
    return Shape(
        columns={f.name: canonical_type(f.type) for f in schema if f.name != COVERING},
        key=tuple(facts["key"]) if "key" in facts else None,
        crs=facts.get("crs"),
        geometry_types=frozenset(geometry.get("geometry_types", ())),
        rows=metadata.num_rows,
        logical_hash=facts.get("logical_hash"),
        recipe=facts.get("logical_hash_recipe"),
    )


def difference(new: Path, old: Path, key: tuple[str, ...], shared: tuple[str, ...]) -> Difference:
    """Compare two files over their shared columns.

    Args:
        key: columns that identify a row; used when both files have them and they are unique in both.
        shared: columns of the same name and type in both.
    """
    with engine(new.parent) as sql:
        for table, path in (("new", new), ("old", old)):
            seen = f"SELECT * {_shapes_as_digests(path)} FROM read_parquet({literal(str(path))})"  # noqa: S608 - quoted
            sql.execute(f"CREATE VIEW {table} AS {seen}")
        if key and set(key) <= set(shared) and all(_unique(sql, table, key) for table in ("new", "old")):
            found = _by_key(sql, key, tuple(c for c in shared if c not in key))
        else:
            found = _as_whole_rows(sql, shared)
        return replace(found, sample=sample_of(sql, found.changed_by_column, key if found.keyed else (), shared))


def _shapes_as_digests(path: Path) -> str:
    """A shape may be megabytes, and a join would hold thousands of them; their digests are equal when they are."""
    shapes = [f.name for f in pq.read_schema(path) if canonical_type(f.type) == "binary"]
    native = native_columns(path)
    digests = (f"sha256({f'ST_AsWKB({quoted(n)})' if n in native else quoted(n)}) AS {quoted(n)}" for n in shapes)
    return f"REPLACE ({', '.join(digests)})" if shapes else ""


def _unique(sql: duckdb.DuckDBPyConnection, table: str, key: tuple[str, ...]) -> bool:
    columns = ", ".join(map(quoted, key))
    grouped = f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {columns} HAVING count(*) > 1)"  # noqa: S608 - quoted
    return not scalar(sql, grouped)


def _by_key(sql: duckdb.DuckDBPyConnection, key: tuple[str, ...], values: tuple[str, ...]) -> Difference:
    same = " AND ".join(f"n.{quoted(k)} IS NOT DISTINCT FROM o.{quoted(k)}" for k in key)
    differs = {c: f"n.{quoted(c)} IS DISTINCT FROM o.{quoted(c)}" for c in values}
    both = "n.here AND o.here"
    asked = [
        "count(*) FILTER (o.here IS NULL)",
        "count(*) FILTER (n.here IS NULL)",
        f"count(*) FILTER ({both} AND ({' OR '.join(differs.values()) or 'false'}))",
        *(f"count(*) FILTER ({both} AND {d})" for d in differs.values()),
    ]
    row = sql.execute(
        f"SELECT {', '.join(asked)} FROM (SELECT *, true AS here FROM new) n"  # noqa: S608 - quoted
        f" FULL JOIN (SELECT *, true AS here FROM old) o ON {same}"
    ).fetchone()
    added, removed, changed, *by_column = map(int, row or ())
    counted = {c: n for c, n in zip(values, by_column, strict=True) if n}
    return Difference(_count(sql, "old"), _count(sql, "new"), added, removed, changed, keyed=True, changed_by_column=counted)


def _as_whole_rows(sql: duckdb.DuckDBPyConnection, shared: tuple[str, ...]) -> Difference:
    columns = ", ".join(map(quoted, shared))

    def only_in(one: str, other: str) -> int:
        return scalar(sql, f"SELECT count(*) FROM (SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other})")  # noqa: S608

    before, after = _count(sql, "old"), _count(sql, "new")
    if not shared:
        return Difference(before, after, after, before, 0, keyed=False)
    return Difference(before, after, only_in("new", "old"), only_in("old", "new"), 0, keyed=False)


def _count(sql: duckdb.DuckDBPyConnection, table: str) -> int:
    return scalar(sql, f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
