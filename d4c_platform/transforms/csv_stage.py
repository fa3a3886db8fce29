"""CSV text inside DuckDB, as text, whole: proved row by row before it is read, and counted after.

A file whose shape is known (csv_shape) is read into a table of columns c0, c1, … whose `rowid` is the order of the file.

Not here: what a column means and which type it has (statcan_select, csv_table).
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from d4c_platform.model.dataset import CsvTransform
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.csv_shape import Shape, ShapeReader
from d4c_platform.transforms.engine import literal, scalar
from d4c_platform.transforms.machine import PUBLISHERS
from d4c_platform.transforms.wrapped import Member

CHUNK_BYTES = 4 << 20
_TELL = "Tell the publisher which line is wrong; fetch the release again when it is corrected"


@dataclass(frozen=True, slots=True)
class Staged:
    """A CSV that is inside DuckDB, whole.

    Attributes:
        first: the rowid of its first row.
        rows_a_record: how many rows were made of each record; one, unless a census table was laid down.
    """

    table: str
    name: str
    shape: Shape
    first: int = 0
    rows_a_record: int = 1

    def place(self, rowid: int) -> str:
        """Where a row stands in the file, as precisely as it is known."""
        return self.shape.place((rowid - self.first) // self.rows_a_record)


def stage_member(
    sql: duckdb.DuckDBPyConnection, table: str, member: Member, target: Path, transform: CsvTransform, like: Staged | None
) -> Staged:
    """Append a member's rows to the table, which is made when it is not there.

    Args:
        target: where its text lies meanwhile, as UTF-8.
        like: a member that was staged before, whose columns this one must have.

    Raises:
        PermanentFailure: a ragged row, other columns, or bytes that are not the declared encoding; names the line.
    """
    reader = ShapeReader(member.name, transform.delimiter)
    with member.open() as stream, target.open("wb") as out:
        text = _Transcoder(transform.encoding, member.name)
        while chunk := stream.read(CHUNK_BYTES):
            out.write(reader.take(text.take(chunk)))
        out.write(reader.take(text.take(b"", final=True)))
        out.write(reader.end())
    shape = reader.shape
    if like is not None and shape.header != like.shape.header:
        target.unlink()
        raise PermanentFailure(
            f"{member.name} does not have the columns of {like.name}: {_difference(shape.header, like.shape.header)}",
            file=member.name,
            remedy="Declare in `members` only files of one shape, or tell the publisher",
        )
    return load(sql, table, target, shape, member.name)


def load(
    sql: duckdb.DuckDBPyConnection, table: str, target: Path, shape: Shape, name: str, columns: Sequence[str] = ()
) -> Staged:
    """Read a UTF-8 file of known shape as text behind the table's rows; the file goes.

    Args:
        columns: what the table's columns are called, if not c0, c1, ….

    Raises:
        PermanentFailure: DuckDB cannot read it, or reads other rows than were proved.
    """
    columns = columns or [f"c{i}" for i in range(len(shape.header))]
    read = ", ".join(f"'{column}': 'VARCHAR'" for column in columns)
    options = f"header = true, auto_detect = false, delim = {literal(shape.separator)}, quote = '\"', escape = '\"'"
    made = ", ".join(f"{column} VARCHAR" for column in columns)
    sql.execute(f"CREATE TABLE IF NOT EXISTS {table} ({made})")
    first = scalar(sql, f"SELECT count(*) FROM {table}")
    try:
        sql.execute(
            f"INSERT INTO {table} SELECT * FROM read_csv({literal(str(target))}, columns = {{{read}}}, {options},"
            " strict_mode = true, null_padding = false, ignore_errors = false)"
        )
    except PUBLISHERS as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "unknown").removeprefix(
            "Invalid Input Error: "
        )
        raise PermanentFailure(
            f"the CSV cannot be read ({reason.removeprefix('CSV Error on ')}: {_cause(str(error))})", file=name, remedy=_TELL
        ) from error
    finally:
        target.unlink(missing_ok=True)
    rows = scalar(sql, f"SELECT count(*) FROM {table}") - first
    if rows != shape.records:
        raise PermanentFailure(
            f"the file has {shape.records:,} records but {rows:,} were read",
            file=name,
            remedy="Report this: the CSV has a form the transform does not know",
        )
    return Staged(table, name, shape, first)


class _Transcoder:
    """Bytes of a declared encoding as UTF-8; every byte has to be text of it."""

    def __init__(self, encoding: str, file: str) -> None:
        self._file, self._encoding, self._line = file, encoding, 1
        try:
            self._decode = codecs.getincrementaldecoder(encoding)("strict").decode
        except LookupError as error:
            raise PermanentFailure(
                f"the declared encoding {encoding} is none that is known",
                file=file,
                remedy="Correct `encoding` in the declaration, for instance utf-8 or cp1252",
            ) from error

    def take(self, chunk: bytes, *, final: bool = False) -> bytes:
        try:
            text = self._decode(chunk, final)
        except UnicodeDecodeError as error:
            line = self._line + error.object.count(b"\n", 0, error.start)
            raise PermanentFailure(
                f"line {line}: byte {error.object[error.start]:#04x} is not {self._encoding}",
                file=self._file,
                remedy="Declare the right `encoding` (cp1252 is common), or tell the publisher; nothing is converted by guess",
            ) from error
        self._line += text.count("\n")
        return text.encode()


def _difference(here: tuple[str, ...], there: tuple[str, ...]) -> str:
    place = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there)))
    names = (header[place] if place < len(header) else "missing" for header in (here, there))
    return "column {} is {} instead of {}".format(place + 1, *names)


def _cause(error: str) -> str:
    known = ("not utf-8 encoded", "unterminated quote", "Maximum line size")
    return next((line.strip() for line in error.splitlines() if any(k in line for k in known)), error.splitlines()[-1].strip())
