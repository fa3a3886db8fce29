"""The rows of a full table inside DuckDB, narrow: what repeats stands apart, once.

Tables of a language (`en`, `fr`), whichever way it was read:

    en_rows    row, series, date, note, value      a row of the file, in numbers
    en_series  code, c1, c2, …                     what a series is called; columns by their place in the file
    en_notes   code, c11, c12, …                   statuses, symbols, …
    en_dates   code, ref_date                      the texts of the reference periods
    fr_unread  row, text                           values of the French file that are no numbers

A file that is as it should be comes here the quick way (statcan_split). Every other is read as text, row by row, and what
cannot be kept is rejected with its line; then each row is a series of its own. Census tables, whose last dimension lies
across the page, are read as text, too (statcan_wide).
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import archive, statcan_split
from d4c_platform.transforms.csv_blocks import Irregular
from d4c_platform.transforms.csv_shape import BOM, MAX_RECORD_BYTES, ShapeReader, header_of
from d4c_platform.transforms.csv_stage import Staged, load
from d4c_platform.transforms.engine import literal, scalar
from d4c_platform.transforms.rejects import MOST, Rejects
from d4c_platform.transforms.statcan_columns import Layout, check_french, layout_of
from d4c_platform.transforms.statcan_split import Places
from d4c_platform.transforms.statcan_wide import is_wide, lay_down
from d4c_platform.zips import Member, Zip

_WHOLE = ("UOM_ID", "SCALAR_ID", "DECIMALS")


@dataclass(frozen=True, slots=True)
class Rows:
    """A language's rows, staged.

    Attributes:
        staged: the file: its name, its header, how many records passed.
        layout: which of its columns is what.
        noted: the places of columns that belong to a row's note; all others belong to its series.
        rejected: rows that could not be kept.
    """

    staged: Staged
    layout: Layout
    noted: frozenset[int] = frozenset()
    rejected: int = 0

    @property
    def source_rows(self) -> int:
        return self.staged.shape.records + len(self.staged.shape.rejected) * self.staged.rows_a_record

    def at(self, place: int) -> str:
        """The column at a place, in a query where the series are `s` and the notes `o`."""
        return f"{'o' if place in self.noted else 's'}.c{place}"

    def texts(self, *places: int) -> str:
        """What to query for the texts of these columns (`at`): the series alone, unless a note is among them."""
        table = self.staged.table
        if not self.noted.intersection(places):
            return f"{table}_series s"
        used = f"(SELECT DISTINCT series, note FROM {table}_rows)"
        return f"{used} r JOIN {table}_series s ON s.code = r.series JOIN {table}_notes o ON o.code = r.note"


def stage_english(sql: duckdb.DuckDBPyConnection, path: Path, workdir: Path, rejects: Rejects) -> Rows:
    """Read the English file of a release.

    Raises:
        PermanentFailure: no zip, no CSV in it, a character that is not UTF-8, columns that are missing, too many rejects.
    """
    with archive.opened(path) as opened:
        member, name = _data(opened, path)
        header = _header(opened, member, name)
        if not is_wide(header):
            layout = layout_of(header, name)
            quick = _quickly(sql, "en", opened, member, layout, name, workdir)
            if quick:
                return quick
        staged = _as_text(sql, "en", opened, member, name, workdir, rejects)
    layout = layout_of(staged.shape.header, staged.name, census=is_wide(header))
    # Of a census table a line is as many rows as it has values.
    ragged = len(staged.shape.rejected) * staged.rows_a_record
    rejected = ragged + _reject_unreadable(sql, staged, layout, rejects)
    _narrow(sql, "en", layout, ".")
    return Rows(staged, layout, rejected=rejected)


def stage_french(sql: duckdb.DuckDBPyConnection, path: Path, workdir: Path, rejects: Rejects, english: Rows) -> Rows:
    """Read the French file of a release, whose columns stand where the English ones do.

    Raises:
        PermanentFailure: they do not, or the file cannot be read.
    """
    layout = english.layout
    with archive.opened(path) as opened:
        member, name = _data(opened, path)
        header = _header(opened, member, name)
        if not is_wide(header):
            check_french(layout, header, name)
            quick = _quickly(sql, "fr", opened, member, layout, name, workdir)
            if quick:
                sql.execute("CREATE TABLE fr_unread (row BIGINT, text VARCHAR)")
                return quick
        staged = _as_text(sql, "fr", opened, member, name, workdir, rejects)
    check_french(layout, staged.shape.header, name)
    _narrow(sql, "fr", layout, ",")
    value = f"c{layout.fixed['VALUE']}"
    sql.execute(
        f"CREATE TABLE fr_unread AS SELECT r.row, fr.{value} AS text FROM fr JOIN fr_rows r ON r.row = fr.rowid"
        f" WHERE fr.{value} IS NOT NULL AND r.value IS NULL"
    )
    return Rows(staged, layout)


def _data(opened: Zip, path: Path) -> tuple[Member, str]:
    found = [m for m in archive.members(opened) if _is_data(m.filename)]
    if len(found) != 1:
        raise PermanentFailure(
            f"a full-table zip holds one data CSV, not {len(found)} ({', '.join(m.filename for m in found) or 'none'})",
            file=path.name,
            remedy="Check the product id in the declaration, and fetch the release again",
        )
    return found[0], f"{path.name}/{found[0].filename}"


def _is_data(member: str) -> bool:
    return member.lower().endswith(".csv") and not member.lower().endswith("_metadata.csv")


def _header(opened: Zip, member: Member, name: str) -> tuple[str, ...]:
    """The names of the columns; none when the file has no header, which the reader of text tells."""
    begun = b""
    for chunk in opened.chunks(member):
        begun += chunk
        found = header_of(begun.removeprefix(BOM), name)
        if found:
            return found[0]
        if len(begun) > MAX_RECORD_BYTES:
            break
    return ()


def _quickly(
    sql: duckdb.DuckDBPyConnection, table: str, opened: Zip, member: Member, layout: Layout, name: str, workdir: Path
) -> Rows | None:
    """The rows by the quick way; None when the file is not as it should be, and has to be read as text."""
    value, decimal = layout.fixed["VALUE"], "." if table == "en" else ","
    series = {layout.fixed[n] for n in ("COORDINATE", "VECTOR") if layout.has(n)}
    if layout.fixed["REF_DATE"] != 0 or any(place > value for place in series):
        return None
    places = Places(value, layout.width, decimal)
    try:
        shape = statcan_split.split(sql, table, opened.chunks(member), places, name, workdir)
    except Irregular:
        return None
    rows = Rows(Staged(table, name, shape), layout, frozenset(places.notes))
    if table == "en" and _any_unreadable(sql, rows):
        statcan_split.forget(sql, table)
        return None
    return rows


def _as_text(
    sql: duckdb.DuckDBPyConnection, table: str, opened: Zip, member: Member, name: str, workdir: Path, rejects: Rejects
) -> Staged:
    """The file as a table of text, a row a record – or a row a value, of a census table; ragged records are rejected."""
    reader = ShapeReader(name, rejects=rejects)
    target = workdir / f"{table}.csv"
    with target.open("wb") as out:
        out.writelines(reader.take(chunk) for chunk in opened.chunks(member))
        out.write(reader.end())
    staged = load(sql, table, target, reader.shape, name)
    return lay_down(sql, staged) if is_wide(reader.shape.header) else staged


def _narrow(sql: duckdb.DuckDBPyConnection, table: str, layout: Layout, decimal: str) -> None:
    """Make the narrow tables of a table of text: each of its rows is a series of its own."""
    date, value = f"c{layout.fixed['REF_DATE']}", f"c{layout.fixed['VALUE']}"
    number = f"try_cast(replace({value}, {literal(decimal)}, '.') AS DOUBLE)"
    sql.execute(
        f"CREATE TABLE {table}_dates AS SELECT CAST(row_number() OVER () - 1 AS INTEGER) AS code, {date} AS ref_date"
        f" FROM (SELECT DISTINCT {date} FROM {table})"
    )
    sql.execute(f"CREATE VIEW {table}_series AS SELECT rowid AS code, * FROM {table}")
    sql.execute(f"CREATE TABLE {table}_notes AS SELECT 0 AS code")
    sql.execute(
        f"CREATE TABLE {table}_rows AS SELECT e.rowid AS row, e.rowid AS series, d.code AS date, 0 AS note, {number} AS value"
        f" FROM {table} e JOIN {table}_dates d ON d.ref_date IS NOT DISTINCT FROM e.{date}"
    )


def _unreadable(layout: Layout) -> dict[str, tuple[int, str]]:
    """The columns that hold more than text: their place, and what is wrong with a text `{}` of them."""
    rules = {"REF_DATE": "{} IS NULL", "COORDINATE": "{} IS NULL", "VECTOR": "NOT regexp_full_match({}, 'v[0-9]{{1,18}}')"}
    rules |= dict.fromkeys(_WHOLE, "{0} IS NOT NULL AND NOT regexp_full_match(trim({0}), '[0-9]{{1,9}}')")
    return {name: (layout.fixed[name], rule) for name, rule in rules.items() if layout.has(name)}


def _any_unreadable(sql: duckdb.DuckDBPyConnection, rows: Rows) -> bool:
    """Whether a text of the staged series, notes or dates is not what its column holds."""
    if scalar(sql, "SELECT count(*) FROM en_dates WHERE ref_date IS NULL"):
        return True
    for place, rule in _unreadable(rows.layout).values():
        run = "notes" if place in rows.noted else "series"
        if place and scalar(sql, f"SELECT count(*) FROM en_{run} WHERE {rule.format(f'c{place}')}"):
            return True
    return False


def _reject_unreadable(sql: duckdb.DuckDBPyConnection, staged: Staged, layout: Layout, rejects: Rejects) -> int:
    """Move rows whose VALUE, VECTOR or code is not what its column holds to the rejects; returns how many.

    Raises:
        PermanentFailure: there are too many of them.
    """
    value = f"c{layout.fixed['VALUE']}"
    number = f"try_cast({value} AS DOUBLE)"
    # DuckDB reads 1_000 and inf as numbers; a publisher that writes them means something else.
    rules = {"VALUE": f"{value} IS NOT NULL AND ({number} IS NULL OR NOT isfinite({number}) OR contains({value}, '_'))"}
    rules |= {name: rule.format(f"c{place}") for name, (place, rule) in _unreadable(layout).items()}
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
