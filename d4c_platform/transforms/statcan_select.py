"""The SQL that turns staged texts into typed columns, and the figures that are counted on the way."""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from d4c_platform.naming import DGUID
from d4c_platform.transforms.csv_stage import Staged
from d4c_platform.transforms.engine import literal, quoted, scalar
from d4c_platform.transforms.parquet import Column
from d4c_platform.transforms.rejects import MOST, Rejects
from d4c_platform.transforms.statcan_columns import Layout

_WHOLE = ("UOM_ID", "SCALAR_ID", "DECIMALS")
_EXACT_INTEGERS = 2**53  # beyond, a double no longer tells neighbours apart


@dataclass(frozen=True, slots=True)
class Figures:
    """`integral`: every DECIMALS is 0 and every value a whole number."""

    integral: bool
    counts: dict[str, int]


def figures(sql: duckdb.DuckDBPyConnection, layout: Layout) -> Figures:
    """Count what will be told."""
    value = f"c{layout.fixed['VALUE']}"
    number = f"try_cast({value} AS DOUBLE)"
    asked = {
        "rows": "count(*)",
        "null_values": f"count(*) FILTER ({value} IS NULL)",
        "fractions": f"count(*) FILTER ({number} <> floor({number}) OR abs({number}) > {_EXACT_INTEGERS})",
        "decimals": f"count(*) FILTER (coalesce(try_cast(c{layout.fixed['DECIMALS']} AS INTEGER), 1) <> 0)"
        if layout.has("DECIMALS")
        else "count(*)",
    }
    if layout.has("STATUS"):
        asked["suppressed_values"] = f"count(*) FILTER ({value} IS NULL AND c{layout.fixed['STATUS']} IS NOT NULL)"
    if layout.has("DGUID"):
        dguid = f"c{layout.fixed['DGUID']}"
        asked["missing_dguids"] = f"count(*) FILTER ({dguid} IS NULL)"
        asked["invalid_dguids"] = f"count(*) FILTER (NOT {_dguid_valid(dguid)})"
    row = sql.execute(f"SELECT {', '.join(asked.values())} FROM en").fetchone()
    counted = dict(zip(asked, map(int, row or ()), strict=True))
    rows, fractions, decimals = (counted.pop(name) for name in ("rows", "fractions", "decimals"))
    return Figures(not fractions and not decimals and counted["null_values"] < rows, counted)


def reject_unreadable(sql: duckdb.DuckDBPyConnection, staged: Staged, layout: Layout, rejects: Rejects) -> int:
    """Move rows whose VALUE, VECTOR or code is not what its column holds to the rejects; returns how many.

    Raises:
        PermanentFailure: there are too many of them.
    """

    def place(name: str) -> str:
        return f"c{layout.fixed[name]}"

    value = place("VALUE")
    number = f"try_cast({value} AS DOUBLE)"
    # DuckDB reads 1_000 and inf as numbers; a publisher that writes them means something else.
    rules = {
        "VALUE": f"{value} IS NOT NULL AND ({number} IS NULL OR NOT isfinite({number}) OR contains({value}, '_'))",
        "REF_DATE": f"{place('REF_DATE')} IS NULL",
        "COORDINATE": f"{place('COORDINATE')} IS NULL",
    }
    if layout.has("VECTOR"):
        rules["VECTOR"] = f"NOT regexp_full_match({place('VECTOR')}, 'v[0-9]{{1,18}}')"
    rules |= {
        n: f"{place(n)} IS NOT NULL AND NOT regexp_full_match(trim({place(n)}), '[0-9]{{1,9}}')"
        for n in _WHOLE
        if layout.has(n)
    }
    unreadable = " OR ".join(f"({rule})" for rule in rules.values())
    texts = ", ".join(f"coalesce(c{i}, '')" for i in range(len(staged.shape.header)))
    reasons = ", ".join(f"CASE WHEN {rule} THEN {literal(name)} END" for name, rule in rules.items())
    found = sql.execute(
        f"SELECT rowid, coalesce({reasons}), [{texts}] FROM en WHERE {unreadable} ORDER BY rowid LIMIT {MOST + 1}"
    ).fetchall()
    for rowid, name, row in found:
        text = row[layout.fixed[name]]
        reason = f"{name} is {repr(text) if text else 'empty'}, which cannot be read"
        rejects.add(staged.name, staged.place(rowid), reason, _as_csv(row))
    if found:
        sql.execute(f"DELETE FROM en WHERE {unreadable}")
    return len(found)


def _as_csv(row: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(row)
    return line.getvalue()


def select(layout: Layout, columns: Sequence[Column], *, positions: Sequence[int], french_file: bool) -> str:
    """The one query whose rows are the artifact, in their order.

    Args:
        positions: the place in a COORDINATE of each label column; empty when there is no metadata.
    """
    made = _expressions(layout, positions, french_file=french_file)
    chosen = ", ".join(f"CAST({made[c.name]} AS {_sql_type(c.type)}) AS {quoted(c.name)}" for c in columns)
    joins = [f"LEFT JOIN periods p ON p.ref_date = e.c{layout.fixed['REF_DATE']}"]
    coordinate = f"e.c{layout.fixed['COORDINATE']}"
    if french_file:
        joins.append(f"LEFT JOIN french f ON f.coordinate = {coordinate}")
    else:
        joins += [f"LEFT JOIN m{p} ON m{p}.id = {_member(coordinate, p)}" for p in positions]
    series = "vector_id NULLS LAST, " if layout.has("VECTOR") else ""
    order = f"{series}p.first NULLS LAST, ref_date, {coordinate}, e.rowid"
    return f"SELECT {chosen} FROM en e {' '.join(joins)} ORDER BY {order}"


def _expressions(layout: Layout, positions: Sequence[int], *, french_file: bool) -> dict[str, str]:
    made = {"ref_start_date": "p.first", "ref_end_date": "p.last", "ref_freq": "p.freq"}
    for name, index in layout.fixed.items():
        made[name.lower()] = f"e.c{index}"
    for place, label in enumerate(layout.labels):
        made[f"{label.name}_en"] = f"nullif(trim(e.c{label.index}), '')"
        if french_file:
            made[f"{label.name}_fr"] = f"f.d{place}"
        elif positions:
            made[f"{label.name}_fr"] = f"m{positions[place]}.fr"
    for name in ("uom", "scalar_factor"):
        made[f"{name}_en"] = f"nullif(trim({made.get(name, 'NULL')}), '')"
        made[f"{name}_fr"] = f"f.{name}"
    for name in ("uom_id", "scalar_id", "decimals"):
        made[name] = f"trim({made.get(name, 'NULL')})"
    made["vector_id"] = f"substr({made.get('vector', 'NULL')}, 2)"
    if "dguid" in made:
        made["dguid_valid"] = _dguid_valid(made["dguid"])
    return made


def label_counts(
    sql: duckdb.DuckDBPyConnection, layout: Layout, positions: Sequence[int], *, french_file: bool
) -> dict[str, int]:
    """Members whose English label is not the metadata's, and members without a French label."""
    if not positions:
        return {}
    coordinate = f"c{layout.fixed['COORDINATE']}"
    unlike = missing = 0
    for label, position in zip(layout.labels, positions, strict=True):
        seen = f"SELECT DISTINCT {_member(coordinate, position)} AS id, nullif(trim(c{label.index}), '') AS label FROM en"
        joined = f"FROM ({seen}) s LEFT JOIN m{position} m USING (id)"
        unlike += scalar(sql, f"SELECT count(*) {joined} WHERE m.en IS DISTINCT FROM s.label")
        missing += scalar(sql, f"SELECT count(*) {joined} WHERE m.fr IS NULL")
    counts = {"labels_unlike_metadata": unlike}
    return counts if french_file else {**counts, "labels_without_french": missing}


def period(sql: duckdb.DuckDBPyConnection) -> tuple[str, str] | None:
    """First and last day the table speaks of, where its periods tell."""
    row = sql.execute("SELECT min(first), max(last) FROM periods").fetchone()
    return (row[0].isoformat(), row[1].isoformat()) if row and row[0] and row[1] else None


def unresolved_periods(sql: duckdb.DuckDBPyConnection, layout: Layout) -> int:
    """Rows whose reference period states no days."""
    ref_date = f"c{layout.fixed['REF_DATE']}"
    return scalar(sql, f"SELECT count(*) FROM en e JOIN periods p ON p.ref_date = e.{ref_date} WHERE p.first IS NULL")


def _member(coordinate: str, position: int) -> str:
    return f"split_part({coordinate}, '.', {position})"


def _dguid_valid(column: str) -> str:
    return f"regexp_full_match({column}, {literal(DGUID.pattern)})"


def _sql_type(arrow: pa.DataType) -> str:
    names = {
        pa.string(): "VARCHAR",
        pa.date32(): "DATE",
        pa.bool_(): "BOOLEAN",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
    }
    return names[arrow]
