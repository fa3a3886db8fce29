"""Any table, mutated in any way: the derived bump is the one of DESIGN's *SemVer of data*, and every figure is exact.

The oracle here knows what was done to the table and the rule's words; it never looks at the files.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Changes
from d4c_platform.naming import SemVer
from d4c_platform.transforms import changes
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_changes import BEFORE, NEW_VINTAGE, SAME_VINTAGE, write

ORDER = ("none", "patch", "minor", "major")
TYPES = {"id": pa.int64(), "name": pa.string(), "value": pa.float64(), "day": pa.date32(), "note": pa.string()}
OTHER_TYPE = {"id": pa.int32(), "value": pa.float32(), "day": pa.timestamp("us")}
VALUES = ("name", "value")  # the columns that are corrected here


@dataclass(frozen=True)
class Mutation:
    """What is done to the table, in this order.

    Attributes:
        removed, corrected: places of rows in the table before; the two have none in common.
        column: one of the columns that is dropped, renamed or retyped.
    """

    removed: frozenset[int] = frozenset()
    corrected: dict[int, str] = field(default_factory=dict)
    added: int = 0
    shape: str = "same"  # same, drop, rename, retype, add
    column: str = "day"

    def least(self, before: int, *, keyed: bool, same_vintage: bool) -> str:
        """The bump that the rule asks for."""
        found = [{"same": "none", "add": "minor"}.get(self.shape, "major")]
        if self.removed or self.corrected or self.added:
            found.append("patch")
        gained, lost = self.added, len(self.removed)
        if not keyed:  # one removed and one added are one corrected: nobody can tell them apart
            gained, lost = max(gained - lost, 0), max(lost - gained, 0)
        if same_vintage and lost * 5 > before:
            found.append("major")
        elif same_vintage and gained:
            found.append("minor")
        return max(found, key=ORDER.index)


def table(rows: int, start: int = 0) -> dict[str, list]:
    ids = range(start, start + rows)
    return {
        "id": list(ids),
        "name": [f"n{i}" if i % 3 else None for i in ids],
        "value": [i / 2 for i in ids],
        "day": list(ids),
    }


def mutated(before: dict[str, list], m: Mutation) -> tuple[dict[str, list], dict[str, pa.DataType]]:
    columns = {name: list(values) for name, values in before.items()}
    for place, name in m.corrected.items():
        columns[name][place] = f"corrected {place}" if name == "name" else -1.0 - place
    rows = len(columns["id"])
    columns = {n: [v for i, v in enumerate(values) if i not in m.removed] for n, values in columns.items()}
    more = table(m.added, start=1000)
    columns = {n: [*values, *more[n]] for n, values in columns.items()}
    types = dict(TYPES)
    match m.shape:
        case "drop":
            del columns[m.column]
        case "rename":
            columns = {("renamed" if n == m.column else n): v for n, v in columns.items()}
            types["renamed"] = types[m.column]
        case "retype":
            types[m.column] = OTHER_TYPE[m.column]
        case "add":
            columns["note"] = ["x"] * (rows - len(m.removed) + m.added)
    return columns, types


@st.composite
def mutations(draw, rows: int):
    places = draw(st.permutations(range(rows)))
    removed = draw(st.integers(0, rows - 1))
    corrected = draw(st.integers(0, rows - removed))
    shape = draw(st.sampled_from(["same", "same", "drop", "rename", "retype", "add"]))
    return Mutation(
        removed=frozenset(places[:removed]),
        corrected={p: draw(st.sampled_from(VALUES)) for p in places[removed : removed + corrected]},
        added=draw(st.integers(0, 12)),
        shape=shape,
        column=draw(st.sampled_from(sorted(OTHER_TYPE))),
    )


CASES = st.integers(1, 12).flatmap(lambda rows: st.tuples(st.just(rows), mutations(rows)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASES, keyed=st.booleans(), same_vintage=st.booleans())
@example(case=(10, Mutation()), keyed=True, same_vintage=True)
@example(case=(10, Mutation()), keyed=False, same_vintage=False)
@example(case=(10, Mutation(shape="rename", column="id")), keyed=True, same_vintage=False)
@example(case=(10, Mutation(shape="retype", column="value")), keyed=True, same_vintage=True)
@example(case=(10, Mutation(shape="drop")), keyed=False, same_vintage=True)
@example(case=(10, Mutation(shape="add")), keyed=True, same_vintage=True)
@example(case=(10, Mutation(corrected={3: "value"})), keyed=True, same_vintage=True)
@example(case=(10, Mutation(corrected={3: "value"})), keyed=False, same_vintage=True)
@example(case=(10, Mutation(added=1)), keyed=True, same_vintage=True)
@example(case=(10, Mutation(added=1)), keyed=False, same_vintage=False)
@example(case=(10, Mutation(removed=frozenset({1, 2}))), keyed=True, same_vintage=True)
@example(case=(10, Mutation(removed=frozenset({1, 2, 3}))), keyed=True, same_vintage=True)
@example(case=(10, Mutation(removed=frozenset({1, 2, 3}), added=3)), keyed=True, same_vintage=True)
@example(case=(10, Mutation(removed=frozenset({1, 2, 3}), added=3)), keyed=False, same_vintage=True)
def test_the_derived_bump_and_every_figure_are_right(tmp_path, case, keyed, same_vintage):
    rows, m = case
    before = table(rows)
    columns, types = mutated(before, m)
    key = ("id",) if keyed else ()
    old = write(tmp_path / "old.parquet", before, TYPES, key)
    new = write(tmp_path / "new.parquet", columns, types, tuple(k for k in key if k in columns))
    found = changes.compare(r.table_dataset(key=key), SAME_VINTAGE if same_vintage else NEW_VINTAGE, new, BEFORE, old)

    # Without its key a table is compared as whole rows.
    by_key = keyed and not (m.column == "id" and m.shape in ("drop", "rename", "retype"))
    assert found.least_bump == m.least(rows, keyed=by_key, same_vintage=same_vintage), found
    assert found.evidence
    dropped = {"drop": (m.column,), "rename": (m.column,)}.get(m.shape, ())
    assert found.columns_removed == dropped
    assert found.columns_added == {"add": ("note",), "rename": ("renamed",)}.get(m.shape, ())
    assert found.columns_retyped == ((m.column,) if m.shape == "retype" else ())
    assert set(found.types_changed) == set(found.columns_retyped)
    assert (found.rows_before, found.rows_after) == (rows, len(next(iter(columns.values()))))
    gone = {m.column} if m.shape in ("drop", "rename", "retype") else set()
    corrected = {p: name for p, name in m.corrected.items() if name not in gone}
    if by_key:
        assert (found.rows_added, found.rows_removed) == (m.added, len(m.removed))
        assert found.rows_changed == len(corrected)
        counted = {name: list(corrected.values()).count(name) for name in corrected.values()}
        assert found.changed_by_column == counted
    elif found.least_bump != "none":
        assert (found.rows_added, found.rows_removed) == (m.added + len(corrected), len(m.removed) + len(corrected))
        assert found.rows_changed == 0
    kinds = [row.change for row in found.sample]
    assert kinds.count("added") == min(found.rows_added, 10)
    assert kinds.count("removed") == min(found.rows_removed, 10)
    assert kinds.count("changed") == min(found.rows_changed, 10)


NUMBERS = [SemVer(*n) for n in itertools.product((1, 2), (1, 2, 3), (2, 3, 4))]


@pytest.mark.parametrize("same_vintage", [True, False])
@pytest.mark.parametrize("bump", ["patch", "minor", "major"])
def test_exactly_the_numbers_that_say_enough_may_be_published(bump, same_vintage):
    said = Changes(predecessor=BEFORE, least_bump=bump, evidence=("Something changed.",))
    base = BEFORE.removesuffix("_v1.0.0")
    before = SemVer(1, 2, 3)
    for number in NUMBERS:
        enough = {
            "major": number.major > 1,
            "minor": number.major > 1 or number.minor > 2,
            "patch": number > before if same_vintage else (number.major, number.minor) >= (1, 2),
        }[bump]
        version = f"{base if same_vintage else base.replace('2022-02', '2022-03')}_v{number}"
        decide = partial(changes.require_honest_number, r.table_dataset(), version, f"{base}_v{before}", said)
        if enough:
            decide()
        else:
            with pytest.raises(PermanentFailure, match=r"Something changed\."):
                decide()
