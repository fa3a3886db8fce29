"""The French file of a release, and the proof that it says the same as the English one.

Both languages are published separately. Before a French label is taken, every row of the two files is matched by vector and
date, and its coordinate and value compared: French decimals have commas, the numbers are the same. One row that disagrees
stops the build: one of the files is then of another release.
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

import duckdb

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.csv_stage import Staged
from d4c_platform.transforms.statcan_columns import LABELS, Layout, check_french


def stage_and_prove(sql: duckdb.DuckDBPyConnection, layout: Layout, english: Staged, french: Staged) -> None:
    """Prove row by row that both files agree; leaves the table `french` of labels by coordinate.

    Raises:
        PermanentFailure: with the first row that disagrees.
    """
    check_french(layout, french.shape.header, len(english.shape.header), french.name)
    here, there = (s.shape.records + len(s.shape.rejected) * s.rows_a_record for s in (french, english))
    if here != there:
        raise _disagree(french, f"it has {here:,} rows and the English file {there:,}")
    _prove(sql, layout, english, french)
    _labels(sql, layout, french)


def _prove(sql: duckdb.DuckDBPyConnection, layout: Layout, english: Staged, french: Staged) -> None:
    ref_date, coordinate, value = (f"c{layout.fixed[n]}" for n in ("REF_DATE", "COORDINATE", "VALUE"))
    vector = f"c{layout.fixed['VECTOR']}" if layout.has("VECTOR") else coordinate  # a census table's rows have no other name
    number = f"try_cast(e.{value} AS DOUBLE) IS DISTINCT FROM try_cast(replace(f.{value}, ',', '.') AS DOUBLE)"
    readable = f"(f.{value} IS NOT NULL AND try_cast(replace(f.{value}, ',', '.') AS DOUBLE) IS NULL)"
    row = sql.execute(
        f"""
        SELECT e.rowid, e.{vector}, e.{ref_date}, e.{coordinate}, e.{value}, f.rowid, f.{coordinate}, f.{value}
        FROM en e LEFT JOIN fr f
          ON f.{vector} IS NOT DISTINCT FROM e.{vector} AND f.{ref_date} IS NOT DISTINCT FROM e.{ref_date}
         AND (e.{vector} IS NOT NULL OR f.{coordinate} IS NOT DISTINCT FROM e.{coordinate})
        WHERE f.rowid IS NULL OR f.{coordinate} IS DISTINCT FROM e.{coordinate} OR {number} OR {readable}
        ORDER BY e.rowid, f.rowid LIMIT 1
        """
    ).fetchone()
    if row is None:
        return
    e_row, e_vector, e_date, e_coordinate, e_value, f_row, f_coordinate, f_value = row
    where = f"{e_vector}, {e_date} ({english.place(e_row)} of the English file)"
    if f_row is None:
        raise _disagree(french, f"it has no row for {where}")
    if e_coordinate != f_coordinate:
        raise _disagree(french, f"at {where} the coordinate is {e_coordinate} in English and {f_coordinate} in French")
    raise _disagree(
        french,
        f"at {where} the value is {e_value or 'empty'} in English and {f_value or 'empty'} in French ({french.place(f_row)})",
    )


def _labels(sql: duckdb.DuckDBPyConnection, layout: Layout, french: Staged) -> None:
    """French texts by coordinate: `d0`, `d1`, … for the label columns, `uom`, `scalar_factor`."""
    coordinate = f"c{layout.fixed['COORDINATE']}"
    texts = {f"d{i}": f"c{c.index}" for i, c in enumerate(layout.labels)}
    texts |= {name.lower(): f"c{layout.fixed[name]}" for name in LABELS if layout.has(name)}
    chosen = ", ".join(f"min(nullif(trim({source}), '')) AS {name}" for name, source in texts.items())
    several = " OR ".join(f"count(DISTINCT trim({source})) > 1" for source in texts.values()) or "false"
    sql.execute(f"CREATE TABLE french AS SELECT {coordinate} AS coordinate, {chosen} FROM fr GROUP BY ALL")
    row = sql.execute(f"SELECT {coordinate} FROM fr GROUP BY ALL HAVING {several} ORDER BY 1 LIMIT 1").fetchone()
    if row:
        raise _disagree(french, f"coordinate {row[0]} has more than one French label")


def _disagree(french: Staged, what: str) -> PermanentFailure:
    return PermanentFailure(
        f"the French file does not agree with the English one: {what}",
        file=french.name,
        remedy="One of them is of another release: fetch both again; if they still disagree, tell the publisher",
    )
