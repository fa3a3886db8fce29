"""The French file of a release, and the proof that it says the same as the English one.

Both languages are published separately. Before a French label is taken, every row of the two files is matched by vector and
date, and its coordinate and value compared: French decimals have commas, the numbers are the same. One row that disagrees
stops the build: one of the files is then of another release.
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

import duckdb

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.statcan_columns import LABELS
from d4c_platform.transforms.statcan_rows import Rows


def prove(sql: duckdb.DuckDBPyConnection, english: Rows, french: Rows) -> None:
    """Prove row by row that both files agree; leaves the table `french` of labels by coordinate.

    Raises:
        PermanentFailure: with the first row that disagrees.
    """
    if french.source_rows != english.source_rows:
        raise _disagree(french, f"it has {french.source_rows:,} rows and the English file {english.source_rows:,}")
    _number(sql, english, french)
    _compare(sql, english, french)
    _labels(sql, french)


def _number(sql: duckdb.DuckDBPyConnection, english: Rows, french: Rows) -> None:
    """Number what both files call their series and dates alike, so that rows are matched by numbers."""
    coordinate = f"c{english.layout.fixed['COORDINATE']}"
    key = coordinate  # a census table's rows have no other name
    if english.layout.has("VECTOR"):
        key = f"coalesce(c{english.layout.fixed['VECTOR']}, '.' || {coordinate})"
    for table, text in (("keys", key), ("coordinates", coordinate)):
        sql.execute(
            f"CREATE TABLE {table} AS SELECT row_number() OVER () AS id, text FROM"
            f" (SELECT {text} AS text FROM en_series UNION SELECT {text} FROM fr_series) WHERE text IS NOT NULL"
        )
    for table in ("en", "fr"):
        sql.execute(
            f"CREATE TABLE {table}_keys AS SELECT s.code, k.id AS key, c.id AS coordinate FROM {table}_series s"
            f" LEFT JOIN keys k ON k.text = {key} LEFT JOIN coordinates c ON c.text = {coordinate}"
        )


def _compare(sql: duckdb.DuckDBPyConnection, english: Rows, french: Rows) -> None:
    row = sql.execute(
        """
        WITH here AS (
          SELECT r.row, r.date, r.series, k.key, k.coordinate, r.value FROM en_rows r JOIN en_keys k ON k.code = r.series
        ), there AS (
          SELECT r.row, d.code AS date, r.series, k.key, k.coordinate, r.value, u.text
          FROM fr_rows r JOIN fr_keys k ON k.code = r.series
          JOIN fr_dates t ON t.code = r.date JOIN en_dates d USING (ref_date) LEFT JOIN fr_unread u ON u.row = r.row
        )
        SELECT e.row, e.date, e.series, e.value, f.row, f.series, f.value, f.text, e.coordinate IS DISTINCT FROM f.coordinate
        FROM here e LEFT JOIN there f USING (key, date)
        WHERE f.row IS NULL OR e.coordinate IS DISTINCT FROM f.coordinate OR e.value IS DISTINCT FROM f.value
          OR f.text IS NOT NULL
        ORDER BY e.row, f.row LIMIT 1
        """
    ).fetchone()
    if row is None:
        return
    e_row, e_date, e_series, e_value, f_row, f_series, f_value, f_text, moved = row
    (date,) = sql.execute("SELECT ref_date FROM en_dates WHERE code = ?", [e_date]).fetchone() or ("",)
    coordinate = f"c{english.layout.fixed['COORDINATE']}"
    name = f"c{english.layout.fixed['VECTOR']}" if english.layout.has("VECTOR") else coordinate
    (called, here) = sql.execute(f"SELECT {name}, {coordinate} FROM en_series WHERE code = ?", [e_series]).fetchone() or (
        "",
        "",
    )
    where = f"{called}, {date} ({english.staged.place(e_row)} of the English file)"
    if f_row is None:
        raise _disagree(french, f"it has no row for {where}")
    if moved:
        (there,) = sql.execute(f"SELECT {coordinate} FROM fr_series WHERE code = ?", [f_series]).fetchone() or ("",)
        raise _disagree(french, f"at {where} the coordinate is {here} in English and {there} in French")
    theirs = f_text or _shown(f_value).replace(".", ",")
    place = french.staged.place(f_row)
    raise _disagree(french, f"at {where} the value is {_shown(e_value)} in English and {theirs} in French ({place})")


def _shown(value: float | None) -> str:
    return "empty" if value is None else repr(value).removesuffix(".0")


def _labels(sql: duckdb.DuckDBPyConnection, french: Rows) -> None:
    """French texts by coordinate: `d0`, `d1`, … for the label columns, `uom`, `scalar_factor`."""
    layout = french.layout
    coordinate = french.at(layout.fixed["COORDINATE"])
    texts = {f"d{i}": french.at(c.index) for i, c in enumerate(layout.labels)}
    texts |= {name.lower(): french.at(layout.fixed[name]) for name in LABELS if layout.has(name)}
    chosen = ", ".join(f"min(nullif(trim({source}), '')) AS {name}" for name, source in texts.items())
    several = " OR ".join(f"count(DISTINCT trim({source})) > 1" for source in texts.values()) or "false"
    said = french.texts(*(c.index for c in layout.labels), *(layout.fixed[name] for name in LABELS if layout.has(name)))
    sql.execute(f"CREATE TABLE french AS SELECT {coordinate} AS coordinate, {chosen} FROM {said} GROUP BY ALL")
    row = sql.execute(f"SELECT {coordinate} FROM {said} GROUP BY ALL HAVING {several} ORDER BY 1 LIMIT 1").fetchone()
    if row:
        raise _disagree(french, f"coordinate {row[0]} has more than one French label")


def _disagree(french: Rows, what: str) -> PermanentFailure:
    return PermanentFailure(
        f"the French file does not agree with the English one: {what}",
        file=french.staged.name,
        remedy="One of them is of another release: fetch both again; if they still disagree, tell the publisher",
    )
