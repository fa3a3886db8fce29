"""The SQL that turns staged rows into typed columns in their order, and the figures that are counted on the way.

Series are typed, labelled and sorted first: they are few. Then only narrow rows are sorted, by the place of their series and
the rank of their period. Who writes the table puts both together again (statcan_merge).
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from d4c_platform.naming import DGUID
from d4c_platform.transforms.engine import literal, quoted, scalar
from d4c_platform.transforms.parquet import Column
from d4c_platform.transforms.statcan_columns import Layout
from d4c_platform.transforms.statcan_rows import Rows

_EXACT_INTEGERS = 2**53  # beyond, a double no longer tells neighbours apart


@dataclass(frozen=True, slots=True)
class Figures:
    """`integral`: every DECIMALS is 0 and every value a whole number."""

    integral: bool
    counts: dict[str, int]


def figures(sql: duckdb.DuckDBPyConnection, rows: Rows) -> Figures:
    """Count what will be told."""
    layout = rows.layout
    total, missing, fractions = sql.execute(
        f"SELECT count(*), count(*) - count(value),"
        f" count(*) FILTER (value <> floor(value) OR abs(value) > {_EXACT_INTEGERS}) FROM en_rows"
    ).fetchone() or (0, 0, 0)
    asked = {"null_values": "sum(missing)", "decimals": "sum(n)"}
    if layout.has("DECIMALS"):
        decimals = rows.at(layout.fixed["DECIMALS"])
        asked["decimals"] = f"sum(n) FILTER (coalesce(try_cast({decimals} AS INTEGER), 1) <> 0)"
    if layout.has("STATUS"):
        asked["suppressed_values"] = f"sum(missing) FILTER ({rows.at(layout.fixed['STATUS'])} IS NOT NULL)"
    if layout.has("DGUID"):
        dguid = rows.at(layout.fixed["DGUID"])
        asked["missing_dguids"] = f"sum(n) FILTER ({dguid} IS NULL)"
        asked["invalid_dguids"] = f"sum(n) FILTER (NOT {_dguid_valid(dguid)})"
    row = sql.execute(
        f"SELECT {', '.join(asked.values())} FROM"
        " (SELECT series, note, count(*) AS n, count(*) - count(value) AS missing FROM en_rows GROUP BY ALL) r"
        " JOIN en_series s ON s.code = r.series JOIN en_notes o ON o.code = r.note"
    ).fetchone()
    counted = {name: int(count or 0) for name, count in zip(asked, row or (), strict=True)}
    return Figures(not fractions and not counted.pop("decimals") and missing < total, counted)


@dataclass(frozen=True, slots=True)
class Made:
    """The SQL of every column, by what it depends on."""

    series: Mapping[str, str]
    notes: Mapping[str, str]


def make(rows: Rows, positions: Sequence[int], *, french_file: bool) -> Made:
    """Say how columns are made of the publisher's.

    Args:
        positions: the place in a COORDINATE of each label column; empty when there is no metadata.
    """
    layout = rows.layout
    made: dict[str, tuple[str, bool]] = {}

    def put(name: str, place: int, form: str) -> None:
        made[name] = form.replace("{}", rows.at(place)), place in rows.noted

    for name, place in layout.fixed.items():
        if name not in ("REF_DATE", "VALUE"):
            put(name.lower(), place, "{}")
    for number, label in enumerate(layout.labels):
        put(f"{label.name}_en", label.index, "nullif(trim({}), '')")
        if french_file:
            made[f"{label.name}_fr"] = f"f.d{number}", False
        elif positions:
            made[f"{label.name}_fr"] = f"m{positions[number]}.fr", False
    for name in ("UOM", "SCALAR_FACTOR"):
        if layout.has(name):
            put(f"{name.lower()}_en", layout.fixed[name], "nullif(trim({}), '')")
            if french_file:
                made[f"{name.lower()}_fr"] = f"f.{name.lower()}", False
    for name in ("UOM_ID", "SCALAR_ID", "DECIMALS"):
        if layout.has(name):
            put(name.lower(), layout.fixed[name], "trim({})")
    if layout.has("VECTOR"):
        put("vector_id", layout.fixed["VECTOR"], "substr({}, 2)")
    if layout.has("DGUID"):
        put("dguid_valid", layout.fixed["DGUID"], _dguid_valid("{}"))
    return Made(
        series={name: expression for name, (expression, noted) in made.items() if not noted},
        notes={name: expression for name, (expression, noted) in made.items() if noted},
    )


def every_row_has_a_vector(sql: duckdb.DuckDBPyConnection, layout: Layout) -> bool:
    """Whether series can be told apart by their vectors."""
    return layout.has("VECTOR") and not scalar(sql, f"SELECT count(*) FROM en_series WHERE c{layout.fixed['VECTOR']} IS NULL")


def sort_series(
    sql: duckdb.DuckDBPyConnection,
    rows: Rows,
    made: Made,
    columns: Sequence[Column],
    first: str,
    positions: Sequence[int],
    *,
    french_file: bool,
) -> None:
    """Make `sorted_series`, typed, in the order of the column `first`, and `places`: where each series stands in it."""
    coordinate = rows.at(rows.layout.fixed["COORDINATE"])
    joins = [f"LEFT JOIN m{p} ON m{p}.id = {_member(coordinate, p)}" for p in positions]
    if french_file:
        joins = [f"LEFT JOIN french f ON f.coordinate = {coordinate}"]
    kept = [c for c in columns if c.name in made.series]
    order = ", ".join(f"{quoted(name)} NULLS LAST" for name in dict.fromkeys((first, "coordinate", *(c.name for c in kept))))
    sql.execute(
        f"CREATE TABLE sorted_series AS SELECT s.code, {_typed(made.series, kept)} FROM en_series s {' '.join(joins)}"
        f" ORDER BY {order}, s.code"
    )
    sql.execute(
        f"CREATE TABLE places AS SELECT code, rowid AS place, min(rowid) OVER (PARTITION BY {quoted(first)}) AS first"
        " FROM sorted_series"
    )


def notes(sql: duckdb.DuckDBPyConnection, made: Made, columns: Sequence[Column]) -> pa.Table:
    """The typed columns of notes, by the number of the note."""
    kept = [c for c in columns if c.name in made.notes]
    chosen = f"o.code, {_typed(made.notes, kept)}" if kept else "o.code"
    return sql.execute(f"SELECT {chosen} FROM en_notes o ORDER BY o.code").to_arrow_table()


def sorted_rows(periods: int) -> str:
    """The one query whose rows are the artifact's, in their order: `place` of the series, `rank` of the period, note, value.

    Args:
        periods: how many there are.
    """
    return (
        f"SELECT k.first * {periods} + p.rank AS key, k.place, r.note, r.value FROM en_rows r"
        " JOIN places k ON k.code = r.series JOIN periods p ON p.code = r.date"
        " ORDER BY key, k.place, r.value NULLS LAST, r.note, r.row"
    )


def label_counts(sql: duckdb.DuckDBPyConnection, rows: Rows, positions: Sequence[int], *, french_file: bool) -> dict[str, int]:
    """Members whose English label is not the metadata's, and members without a French label."""
    if not positions:
        return {}
    coordinate = rows.at(rows.layout.fixed["COORDINATE"])
    unlike = missing = 0
    for label, position in zip(rows.layout.labels, positions, strict=True):
        seen = (
            f"SELECT DISTINCT {_member(coordinate, position)} AS id, nullif(trim({rows.at(label.index)}), '') AS label"
            f" FROM {rows.texts(label.index)}"
        )
        joined = f"FROM ({seen}) s LEFT JOIN m{position} m USING (id)"
        unlike += scalar(sql, f"SELECT count(*) {joined} WHERE m.en IS DISTINCT FROM s.label")
        missing += scalar(sql, f"SELECT count(*) {joined} WHERE m.fr IS NULL")
    counts = {"labels_unlike_metadata": unlike}
    return counts if french_file else {**counts, "labels_without_french": missing}


def period(sql: duckdb.DuckDBPyConnection) -> tuple[str, str] | None:
    """First and last day the table speaks of, where its periods tell."""
    row = sql.execute("SELECT min(first), max(last) FROM periods").fetchone()
    return (row[0].isoformat(), row[1].isoformat()) if row and row[0] and row[1] else None


def unresolved_periods(sql: duckdb.DuckDBPyConnection) -> int:
    """Rows whose reference period states no days."""
    return scalar(sql, "SELECT count(*) FROM en_rows r JOIN periods p ON p.code = r.date WHERE p.first IS NULL")


def _typed(made: Mapping[str, str], columns: Iterable[Column]) -> str:
    return ", ".join(f"CAST({made[c.name]} AS {_sql_type(c.type)}) AS {quoted(c.name)}" for c in columns)


def _member(coordinate: str, position: int) -> str:
    return f"split_part({coordinate}, '.', {position})"


def _dguid_valid(column: str) -> str:
    return f"regexp_full_match({column}, {literal(DGUID.pattern)})"


def _sql_type(arrow: pa.DataType) -> str:
    names = {pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.int32(): "INTEGER", pa.int64(): "BIGINT"}
    return names[arrow]
