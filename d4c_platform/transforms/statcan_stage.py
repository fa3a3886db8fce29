"""The release's texts inside DuckDB: one table a language, the members of each dimension, the meaning of each REF_DATE.

Tables: `en` and `fr` (columns c0, c1, … of text, `rowid` in file order), `m1`, `m2`, … (one a dimension: id, en, fr),
`periods` (ref_date, first, last, freq).
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import archive
from d4c_platform.transforms.csv_shape import ShapeReader
from d4c_platform.transforms.csv_stage import Staged, load
from d4c_platform.transforms.rejects import Rejects
from d4c_platform.transforms.statcan_columns import Layout
from d4c_platform.transforms.statcan_metadata import TableMetadata
from d4c_platform.transforms.statcan_periods import are_quarters, period_of


def stage(sql: duckdb.DuckDBPyConnection, table: str, path: Path, workdir: Path, rejects: Rejects | None = None) -> Staged:
    """Unpack the data member of a full-table zip, prove its shape, and read it as text.

    Args:
        rejects: takes ragged rows; without it they are a failure.

    Raises:
        PermanentFailure: no zip, no CSV in it, a character that is not UTF-8.
    """
    target = workdir / f"{table}.csv"
    with archive.opened(path) as opened:
        found = [m for m in archive.members(opened) if _is_data(m.filename)]
        if len(found) != 1:
            raise PermanentFailure(
                f"a full-table zip holds one data CSV, not {len(found)} ({', '.join(m.filename for m in found) or 'none'})",
                file=path.name,
                remedy="Check the product id in the declaration, and fetch the release again",
            )
        name = f"{path.name}/{found[0].filename}"
        reader = ShapeReader(name, rejects=rejects)
        with target.open("wb") as out:
            out.writelines(reader.take(chunk) for chunk in opened.chunks(found[0]))
            out.write(reader.end())
    return load(sql, table, target, reader.shape, name)


def stage_periods(sql: duckdb.DuckDBPyConnection, layout: Layout, frequency_code: int | None) -> None:
    """What each distinct REF_DATE means, as a small table to join."""
    ref_date = f"c{layout.fixed['REF_DATE']}"
    texts = [str(row[0]) for row in sql.execute(f"SELECT DISTINCT {ref_date} FROM en WHERE {ref_date} IS NOT NULL").fetchall()]
    quarterly = are_quarters(texts, frequency_code)
    periods = [period_of(text, quarterly=quarterly) for text in texts]
    meaning = pa.table(  # noqa: F841 - DuckDB reads it by its name
        {
            "ref_date": pa.array(texts, pa.string()),
            "first": pa.array([p.start for p in periods], pa.date32()),
            "last": pa.array([p.end for p in periods], pa.date32()),
            "freq": pa.array([p.frequency for p in periods], pa.string()),
        }
    )
    sql.execute("CREATE TABLE periods AS SELECT * FROM meaning")


def stage_members(sql: duckdb.DuckDBPyConnection, layout: Layout, metadata: TableMetadata, staged: Staged) -> tuple[int, ...]:
    """One table of members a dimension; gives the place in a COORDINATE of each label column.

    Raises:
        PermanentFailure: the metadata's dimensions are not the CSV's.
    """
    positions = _positions(layout, metadata)
    if positions is None:
        ours, theirs = (c.original for c in layout.labels), (d.en for d in metadata.dimensions)
        raise PermanentFailure(
            f"the CSV has the dimensions {', '.join(ours)} and the metadata {', '.join(theirs)}",
            file=staged.name,
            remedy="The metadata is of another release or table: fetch the release again",
        )
    for dimension in metadata.dimensions:
        members = pa.table(  # noqa: F841 - DuckDB reads it by its name
            {
                "id": pa.array([m.id for m in dimension.members], pa.string()),
                "en": pa.array([m.en or None for m in dimension.members], pa.string()),
                "fr": pa.array([m.fr or None for m in dimension.members], pa.string()),
            }
        )
        sql.execute(f"CREATE TABLE m{dimension.position} AS SELECT * FROM members")
    return positions


def _positions(layout: Layout, metadata: TableMetadata) -> tuple[int, ...] | None:
    """Dimensions are matched by name in their order; GEO is the one that is left."""
    left = list(metadata.dimensions)
    found: dict[str, int] = {}
    for label in layout.labels:
        match = next((d for d in left if label.name != "geo" and d.en.casefold() == label.original.casefold()), None)
        if match:
            left.remove(match)
            found[label.name] = match.position
    if [c.name for c in layout.labels if c.name not in found] == ["geo"] and len(left) == 1:
        found["geo"] = left.pop().position
    return tuple(found[c.name] for c in layout.labels) if not left and len(found) == len(layout.labels) else None


def _is_data(member: str) -> bool:
    return member.lower().endswith(".csv") and not member.lower().endswith("_metadata.csv")
