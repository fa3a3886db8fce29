"""A CSV, or several of one shape, to one typed Parquet table, in bounded memory.

A column is text unless the declaration says what it is. Nothing is sniffed: a sample would give the next release other types.
A value that is not what its column was declared to be ends in a sentence with its line. An empty field is null.

Not here: that rows are whole and text is text (csv_shape, csv_stage), what makes points of it (csv_points).
"""

# ruff: noqa: S608 - the queries are made of column places, our own table names and quoted identifiers

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa

from d4c_platform.model.dataset import CSV_TYPES, CsvTransform, Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import parquet
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.csv_stage import Staged, stage_member
from d4c_platform.transforms.engine import BATCH_ROWS, engine, literal, quoted
from d4c_platform.transforms.logical_hash import order_by
from d4c_platform.transforms.statcan_columns import snake, unique
from d4c_platform.transforms.wrapped import Member, the_file, unwrapped

ENDINGS = (".csv", ".csv.gz", ".zip")
TABLE = "staged"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = _DAY + r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"


@dataclass(frozen=True, slots=True)
class _Form:
    """A declared type: what Arrow and DuckDB call it, how a publisher spells it, and what is made of what DuckDB read."""

    arrow: pa.DataType
    sql: str
    spelling: str
    made: str = "{}"


# DuckDB reads more than is meant (1_000 as a number, 1/2/2020 as a date), so the spelling is checked, too.
FORMS: Mapping[str, _Form] = {
    "bool": _Form(pa.bool_(), "BOOLEAN", "(?i)true|false|0|1"),
    "int32": _Form(pa.int32(), "INTEGER", "[+-]?[0-9]{1,10}"),
    "int64": _Form(pa.int64(), "BIGINT", "[+-]?[0-9]{1,19}"),
    "double": _Form(pa.float64(), "DOUBLE", r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"),
    "date32[day]": _Form(pa.date32(), "DATE", _DAY),
    "timestamp[us]": _Form(pa.timestamp("us"), "TIMESTAMP", _MOMENT),
    # By its number of microseconds: DuckDB would hand it over in the time zone of the machine.
    "timestamp[us, tz=UTC]": _Form(
        pa.timestamp("us", "UTC"), "TIMESTAMPTZ", _MOMENT + "(Z|[+-][0-9]{2}(:[0-9]{2})?)", "make_timestamp(epoch_us({}))"
    ),
}


def build(dataset: Dataset, transform: CsvTransform, version_id: str, raw: Mapping[str, Path], workdir: Path) -> BuiltFile:
    """Build the table.

    Raises:
        PermanentFailure: a file, a row or a value is not what was declared; names the file and the line.
    """
    path = the_file(raw, ENDINGS)
    with engine(workdir) as sql:
        with unwrapped(path) as members:
            parts = staged(sql, members, transform, path.name, workdir)
        columns = columns_of(dataset, parts[0])
        refuse_unreadable(sql, parts, columns)
        order = parquet.declared_order(dataset, [c.name for c in columns], parts[0].name)
        rows = sum(part.shape.records for part in parts)
        written = parquet.write(
            workdir / f"{version_id}.parquet",
            columns,
            sql.execute(_select(columns, order)).to_arrow_reader(BATCH_ROWS),
            expected_rows=rows,
            order=order,
            facts=parquet.describe(dataset, version_id),
            sorted_by=dataset.key,
        )
    return BuiltFile(
        path=workdir / f"{version_id}.parquet",
        rows=written.rows,
        columns=written.columns,
        logical_hash=written.logical_hash,
        key=dataset.key,
        counts=MappingProxyType({"source_files": len(parts), "source_rows": rows}),
    )


def _chosen(members: tuple[Member, ...], transform: CsvTransform, file: str) -> tuple[Member, ...]:
    """The members that are the table: the declared ones, or the only one."""
    names = ", ".join(m.path for m in members) or "nothing"
    if transform.members is not None:
        found = tuple(m for m in members if fnmatchcase(m.path.lower(), transform.members.lower()))
        if not found:
            raise PermanentFailure(
                f"no file in the archive is named {transform.members} ({names})",
                file=file,
                remedy="Correct `members` in the declaration",
            )
        return found
    found = members if len(members) == 1 else tuple(m for m in members if m.path.lower().endswith(".csv"))
    if len(found) != 1:
        raise PermanentFailure(
            f"the archive holds {len(found)} CSV files ({names}) where one is expected",
            file=file,
            remedy="Declare which of them are the table in `members`, for instance Addresses/*.csv",
        )
    return found


def staged(
    sql: duckdb.DuckDBPyConnection, members: tuple[Member, ...], transform: CsvTransform, file: str, workdir: Path
) -> tuple[Staged, ...]:
    """The members that are the table, as text behind each other in the table `staged`."""
    parts: list[Staged] = []
    for member in _chosen(members, transform, file):
        parts.append(stage_member(sql, TABLE, member, workdir / "part.csv", transform, like=parts[0] if parts else None))
    return tuple(parts)


def columns_of(dataset: Dataset, part: Staged) -> tuple[parquet.Column, ...]:
    """The columns in the file's order: their names in lower case, their types as declared."""
    declared = {c.name: c for c in dataset.columns}
    taken: set[str] = set()
    columns = []
    for original in part.shape.header:
        name = unique(snake(original), taken)
        said = declared.get(name)
        kind = (said.type if said else None) or "string"
        if kind not in CSV_TYPES:
            raise PermanentFailure(
                f"the column {name} is declared as {kind}, which a CSV cannot be read as ({', '.join(CSV_TYPES)})",
                file=part.name,
                remedy="Correct the column's `type` in the declaration",
            )
        titles = (said.title.en, said.title.fr) if said else (original, original)
        columns.append(parquet.Column(name, FORMS[kind].arrow if kind in FORMS else pa.string(), *titles, original))
    return tuple(columns)


def _form(column: parquet.Column) -> _Form | None:
    return next((form for form in FORMS.values() if form.arrow == column.type), None)


def value_of(place: int) -> str:
    """A field of the staged text; null when it is empty."""
    return f"nullif(trim(c{place}), '')"


def refuse_unreadable(sql: duckdb.DuckDBPyConnection, parts: Sequence[Staged], columns: Sequence[parquet.Column]) -> None:
    """Find the first value that is not of its column's type.

    Raises:
        PermanentFailure: there is one; names the file and the line.
    """
    for place, column in enumerate(columns):
        _refuse_unreadable(sql, parts, place, column)


def _refuse_unreadable(sql: duckdb.DuckDBPyConnection, parts: Sequence[Staged], place: int, column: parquet.Column) -> None:
    form = _form(column)
    if form is None:
        return
    value = value_of(place)
    cast = f"try_cast({value} AS {form.sql})"
    endless = f"NOT isfinite({cast})" if form.sql == "DOUBLE" else "false"
    bad = f"{cast} IS NULL OR {endless} OR NOT regexp_full_match({value}, {literal(form.spelling)})"
    row = sql.execute(
        f"SELECT rowid, c{place} FROM {TABLE} WHERE {value} IS NOT NULL AND ({bad}) ORDER BY rowid LIMIT 1"
    ).fetchone()
    if row is None:
        return
    part = next(p for p in reversed(parts) if p.first <= row[0])
    raise PermanentFailure(
        f"{part.place(row[0])}: {column.original} is {row[1]!r}, which is no {column.type}",
        file=part.name,
        remedy=f"Declare {column.name} as it is published, or tell the publisher which line is wrong",
    )


def _select(columns: Sequence[parquet.Column], order: Sequence[str]) -> str:
    """The one query whose rows are the artifact, in their order."""
    return f"SELECT * FROM (SELECT {made_of(columns)} FROM {TABLE}) ORDER BY {order_by(order)}"


def made_of(columns: Sequence[parquet.Column]) -> str:
    """The typed columns, as a query over the staged text says them."""
    made = []
    for place, column in enumerate(columns):
        form = _form(column)
        value = form.made.format(f"CAST({value_of(place)} AS {form.sql})") if form else f"nullif(c{place}, '')"
        made.append(f"{value} AS {quoted(column.name)}")
    return ", ".join(made)
