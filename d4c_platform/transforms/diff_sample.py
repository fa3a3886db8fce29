"""A few rows of a difference, before and after: what a person wants to see before believing the counts.

The first rows by key (or from left to right without one), so that the same difference shows the same rows. What is shown is
bounded on every side – rows, columns, letters – because it goes into records and changelogs.

Not here: counting (diff), or how the rows are laid out for people (changelog).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import duckdb

from d4c_platform.model.records import RowChange
from d4c_platform.transforms.engine import quoted

ROWS = 10  # of each kind
COLUMNS = 30  # of an added or removed row; of a changed one only what differs is shown
LETTERS = 100  # of a value


def sample_of(
    sql: duckdb.DuckDBPyConnection, changed: Iterable[str], key: tuple[str, ...], shared: tuple[str, ...]
) -> tuple[RowChange, ...]:
    """The sample, from the views `new` and `old`.

    Args:
        changed: the columns whose values differ in any row.
        key: columns that identify a row in both; empty to compare whole rows.
        shared: the columns of both.
    """
    if not shared:
        return ()
    return (
        *(_changed(sql, key, tuple(changed)) if key else ()),
        *_only_in(sql, "added", key, shared),
        *_only_in(sql, "removed", key, shared),
    )


def _changed(sql: duckdb.DuckDBPyConnection, key: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[RowChange]:
    if not columns:
        return
    same = " AND ".join(f"n.{quoted(k)} IS NOT DISTINCT FROM o.{quoted(k)}" for k in key)
    differs = " OR ".join(f"n.{quoted(c)} IS DISTINCT FROM o.{quoted(c)}" for c in columns)
    # The texts may look alike where the values differ, so what differs is asked of the values.
    told = [_text(f"n.{quoted(k)}") for k in key]
    for c in columns:
        told += [f"n.{quoted(c)} IS DISTINCT FROM o.{quoted(c)}", _text(f"o.{quoted(c)}"), _text(f"n.{quoted(c)}")]
    order = ", ".join(f"n.{quoted(k)}" for k in key)
    asked = f"SELECT {', '.join(told)} FROM new n JOIN old o ON {same} WHERE {differs} ORDER BY {order} LIMIT {ROWS}"  # noqa: S608 - quoted
    for row in sql.execute(asked).fetchall():
        cells = list(zip(columns, *(row[len(key) + i :: 3] for i in range(3)), strict=True))
        shown = [(c, before, after) for c, differ, before, after in cells if differ][:COLUMNS]
        yield RowChange(
            change="changed",
            key=dict(zip(key, row, strict=False)),
            before={c: before for c, before, _ in shown},
            after={c: after for c, _, after in shown},
        )


def _only_in(
    sql: duckdb.DuckDBPyConnection, change: Literal["added", "removed"], key: tuple[str, ...], shared: tuple[str, ...]
) -> Iterator[RowChange]:
    one, other = ("new", "old") if change == "added" else ("old", "new")
    ordered = (*key, *(c for c in shared if c not in key))
    columns = ", ".join(map(quoted, ordered))
    if key:
        same = " AND ".join(f"a.{quoted(k)} IS NOT DISTINCT FROM b.{quoted(k)}" for k in key)
        rows = f"SELECT {columns} FROM {one} a WHERE NOT EXISTS (SELECT 1 FROM {other} b WHERE {same})"  # noqa: S608 - quoted
    else:
        rows = f"SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other}"  # noqa: S608 - quoted
    shown = ordered[:COLUMNS]
    told = ", ".join(_text(quoted(c)) for c in shown)
    asked = f"SELECT {told} FROM (SELECT * FROM ({rows}) ORDER BY {columns} LIMIT {ROWS})"  # noqa: S608 - quoted
    for row in sql.execute(asked).fetchall():
        values = _named(shown, row)
        identity = {k: values[k] for k in key if k in values}
        yield RowChange(change=change, key=identity, **{"after" if change == "added" else "before": values})


def _named(columns: Sequence[str], row: Sequence[str | None]) -> dict[str, str | None]:
    return dict(zip(columns, row, strict=True))


def _text(value: str) -> str:
    text = f"CAST({value} AS VARCHAR)"
    return f"CASE WHEN length({text}) > {LETTERS} THEN {text}[1:{LETTERS - 1}] || '…' ELSE {text} END"
