"""Census tables (98-10-…): the last dimension lies across the page, and is laid down so that a row is a value again.

Such a file has no VALUE. Each member of its last dimension has two columns instead, the values and their symbols:

    REF_DATE, DGUID, GEO, Age (128), Coordinate, Gender (3):Total - Gender[1], Symbols, Gender (3):Men+[2], Symbols

The number in brackets is the member's place in the dimension, so the COORDINATE of a value is the row's with that number
behind it. What results has the columns of every other full table, without vectors, which census tables do not have; and
every value of the page is a row of it, also an empty one, so that none is lost unseen.
"""

# ruff: noqa: S608 - the queries are made of column places and our own table names, never of the publisher's text

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

import duckdb

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.csv_stage import Staged
from d4c_platform.transforms.engine import literal, scalar

MEMBER = re.compile(r"(?P<dimension>.+?) ?(\(\d+\))? ?: ?(?P<member>.+?) ?\[(?P<id>\d+)\]")
SYMBOLS = ("symbol", "symbole")
COUNTED = re.compile(r" ?\(\d+[A-Z]?\)$")  # how many members a dimension has, behind its name
NAMES = {"COORDINATE": "COORDINATE", "COORDONNÉE": "COORDINATE", "COORDONNÉES": "COORDINATE", "GÉO": "GEO"}
SHOWN = 4


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of the dimension across the page, and the places of its two columns."""

    id: str
    label: str
    values: int
    symbols: int


@dataclass(frozen=True, slots=True)
class _Page:
    """What the header says: the columns that stay, where the coordinate is, and what lies across."""

    kept: tuple[int, ...]
    coordinate: int
    dimension: str
    members: tuple[_Member, ...]


def is_wide(header: tuple[str, ...]) -> bool:
    """Whether it is the header of such a table."""
    return any(_is_symbol(after) and MEMBER.fullmatch(name) for name, after in pairwise(header))


def lay_down(sql: duckdb.DuckDBPyConnection, staged: Staged) -> Staged:
    """Make the staged table one of a row a value; the table keeps its name, and its rows their order.

    Raises:
        PermanentFailure: the header is not that of a census table after all.
    """
    page = _page(staged)
    header = tuple(_name(staged.shape.header[i]) for i in page.kept)
    columns = [f"c{i} AS c{place}" for place, i in enumerate(page.kept) if i != page.coordinate]
    places = {i: place for place, i in enumerate(page.kept)}
    ids = ", ".join(literal(m.id) for m in page.members)
    labels = ", ".join(literal(m.label) for m in page.members)
    values = ", ".join(f"c{m.values}" for m in page.members)
    symbols = ", ".join(f"c{m.symbols}" for m in page.members)
    behind = len(header)
    chosen = [
        *columns,
        f"c{page.coordinate} || '.' || unnest([{ids}]) AS c{places[page.coordinate]}",
        f"unnest([{labels}]) AS c{behind}",
        f"unnest([{values}]) AS c{behind + 1}",
        f"unnest([{symbols}]) AS c{behind + 2}",
    ]
    ordered = ", ".join(f"c{i}" for i in range(behind + 3))
    sql.execute(f"CREATE TABLE laid AS SELECT {ordered} FROM (SELECT {', '.join(chosen)} FROM {staged.table})")
    rows, expected = scalar(sql, "SELECT count(*) FROM laid"), staged.shape.records * len(page.members)
    if rows != expected:
        raise AssertionError(f"{expected} values lay on the page and {rows} rows came of it")
    sql.execute(f"DROP TABLE {staged.table}")
    sql.execute(f"ALTER TABLE laid RENAME TO {staged.table}")
    shape = replace(staged.shape, header=(*header, page.dimension, "VALUE", "SYMBOL"), records=expected)
    return replace(staged, shape=shape, rows_a_record=len(page.members))


def _page(staged: Staged) -> _Page:
    header = staged.shape.header
    members: list[_Member] = []
    dimensions: dict[str, None] = {}
    for index, name in enumerate(header[:-1]):
        found = MEMBER.fullmatch(name)
        if found and _is_symbol(header[index + 1]):
            members.append(_Member(found["id"], found["member"].strip(), index, index + 1))
            dimensions[found["dimension"].strip()] = None
    taken = {place for member in members for place in (member.values, member.symbols)}
    kept = tuple(i for i in range(len(header)) if i not in taken)
    coordinate = [i for i in kept if NAMES.get(header[i].upper()) == "COORDINATE"]
    left = [header[i] for i in kept if _is_symbol(header[i])]
    repeated = len({m.id for m in members}) != len(members)
    if len(coordinate) != 1 or len(dimensions) != 1 or left or repeated:
        raise PermanentFailure(
            f"the header has the members of {len(dimensions)} dimensions side by side ({', '.join(list(dimensions)[:SHOWN])}),"
            f" {len(coordinate)} columns of coordinates, and {len(left)} of symbols that belong to none",
            file=staged.name,
            remedy="Report this: the census table has a form the transform does not know",
        )
    return _Page(kept, coordinate[0], next(iter(dimensions)), tuple(members))


def _name(column: str) -> str:
    plain = COUNTED.sub("", column.strip())
    return NAMES.get(plain.upper(), plain)


def _is_symbol(column: str) -> bool:
    return column.casefold().rstrip("s").startswith(SYMBOLS)
