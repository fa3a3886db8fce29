"""What a table's dates and coordinates mean, as small tables inside DuckDB to join with its rows.

periods        code, rank, ref_date, first, last, freq     a row each REF_DATE; ranks in the order of time
m1, m2, …      id, en, fr                                  the members of a dimension, by its place in a COORDINATE
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.statcan_columns import Layout
from d4c_platform.transforms.statcan_metadata import TableMetadata
from d4c_platform.transforms.statcan_periods import are_quarters, period_of


def stage_periods(sql: duckdb.DuckDBPyConnection, frequency_code: int | None) -> pa.Table:
    """Make `periods` of the staged dates; gives it, too, in the order of its ranks."""
    found = sql.execute("SELECT code, ref_date FROM en_dates").fetchall()
    quarterly = are_quarters([text for _, text in found], frequency_code)
    periods = [(period_of(text, quarterly=quarterly), text, code) for code, text in found]
    # Those that state no days come last; texts are compared by their bytes, as everywhere.
    periods.sort(key=lambda p: (p[0].start is None, p[0].start or 0, p[1].encode()))
    meaning = pa.table(
        {
            "code": pa.array([code for _, _, code in periods], pa.int32()),
            "rank": pa.array(range(len(periods)), pa.int32()),
            "ref_date": pa.array([text for _, text, _ in periods], pa.string()),
            "first": pa.array([p.start for p, _, _ in periods], pa.date32()),
            "last": pa.array([p.end for p, _, _ in periods], pa.date32()),
            "freq": pa.array([p.frequency for p, _, _ in periods], pa.string()),
        }
    )
    sql.execute("CREATE TABLE periods AS SELECT * FROM meaning")
    return meaning


def stage_members(sql: duckdb.DuckDBPyConnection, layout: Layout, metadata: TableMetadata, file: str) -> tuple[int, ...]:
    """One table of members a dimension; gives the place in a COORDINATE of each label column.

    Raises:
        PermanentFailure: the metadata's dimensions are not the CSV's.
    """
    positions = _positions(layout, metadata)
    if positions is None:
        ours, theirs = (c.original for c in layout.labels), (d.en for d in metadata.dimensions)
        raise PermanentFailure(
            f"the CSV has the dimensions {', '.join(ours)} and the metadata {', '.join(theirs)}",
            file=file,
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
        sql.execute(f"CREATE TABLE m{dimension.position} AS SELECT * FROM members")  # noqa: S608 - a number
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
