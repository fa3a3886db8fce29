"""Is this artifact fit to be published? Verdicts with their evidence; the blocking ones stop a version before it is public.

Every check of `CHECKS` gives exactly one verdict, also when it has nothing to look at, so that an operator always sees the
same list. Warnings tell what was kept: suppressed values, a few invalid DGUIDs, shapes a GIS may refuse.

A check that blocks may find something it tolerates: that is told as a warning. How much is tolerated is a share of the rows
(`model.checks.LIMITS`); a declaration may set another one, or waive the check, with a reason that stays with the verdict.

Not here: whether the version's number is honest (changes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow.parquet as pq

from d4c_platform.model.checks import LIMITS, CheckChoice, CheckName
from d4c_platform.model.dataset import Column, Dataset
from d4c_platform.model.records import Artifact, ColumnInfo, Reason, Severity, Verdict
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.engine import engine, quoted
from d4c_platform.transforms.machine import machine_troubles
from d4c_platform.transforms.rejects import REJECTS

TABLE = "data"  # the role of a table or layer; images and tiles have no rows to look into
UNITS = MappingProxyType({TABLE: "rows", "cog": "pixels", "pmtiles": "tiles"})
MOST_GROWTH = 2.0  # times the predecessor's rows; beyond, a person is told: tables that are joined twice grow so
REMARKS = frozenset({"status", "symbol", "terminated"})  # null says "nothing to remark": marks come and go


@dataclass(frozen=True, slots=True)
class _Case:
    dataset: Dataset
    built: BuiltFile | Artifact
    path: Path
    predecessor: Artifact | None

    def count(self, name: str) -> int:
        return self.built.counts.get(name, 0)

    def column(self, name: str) -> ColumnInfo | None:
        return next((c for c in self.built.columns if c.name == name), None)

    def choice(self, name: str) -> CheckChoice | None:
        return next((c for c in self.dataset.checks if c.check == name), None)

    def limit(self, name: CheckName) -> float:
        choice = self.choice(name)
        return LIMITS[name] if choice is None or choice.limit is None else choice.limit

    def share(self, count: int) -> float:
        """Of the artifact's rows."""
        return count / self.built.rows if self.built.rows else 0.0

    @property
    def unit(self) -> str:
        return UNITS[self.built.role]

    @property
    def spatial(self) -> bool:
        return self.column("geometry") is not None


_Finding = tuple[bool, str]


def check(
    dataset: Dataset, built_or_artifact: BuiltFile | Artifact, path: Path, predecessor: Artifact | None
) -> tuple[Verdict, ...]:
    """Judge an artifact.

    Args:
        path: the artifact's file; its folder takes spill files of the key check.
        predecessor: the artifact of the version before, for drift.
    """
    case = _Case(dataset, built_or_artifact, path, predecessor)

    def verdicts() -> Iterator[Verdict]:
        for name, blocking, _ in CHECKS:
            passed, evidence = _RULES[name](case)
            choice = case.choice(name)
            waived = choice is not None and choice.waived
            tolerated = not passed and (waived or (name in _TOLERATED and _TOLERATED[name](case)))
            yield Verdict(
                check=name,
                passed=passed,
                severity=Severity.BLOCKING if blocking and not tolerated else Severity.WARNING,
                evidence=evidence,
                waived=waived,
                limit=None if choice is None else choice.limit,
                reason=None if choice is None else Reason(**choice.reason.model_dump()),
            )

    with machine_troubles():
        return tuple(verdicts())


def _rows(case: _Case) -> _Finding:
    if case.built.role != TABLE:
        return case.built.rows > 0, f"There are {case.built.rows:,} {case.unit}."
    in_file = pq.read_metadata(case.path).num_rows
    if in_file != case.built.rows:
        return False, f"The file holds {in_file:,} rows and {case.built.rows:,} were built."
    return in_file > 0, f"The table has {in_file:,} rows."


def _no_row_lost(case: _Case) -> _Finding:
    if "source_rows" not in case.built.counts:
        return True, "The source does not count its rows."
    source, rejected = case.count("source_rows"), case.count("rejected_rows")
    told = f"{source:,} {case.unit} were read from the source and {case.built.rows:,} are in the artifact"
    return source == case.built.rows + rejected, f"{told}, {rejected:,} among the rejects." if rejected else f"{told}."


def _rejected_rows(case: _Case) -> _Finding:
    rejected = case.count("rejected_rows")
    if not rejected:
        return True, "Every row could be read."
    told = f"{rejected:,} rows could not be read; {REJECTS} names their lines and the reasons."
    return rejected <= case.count("source_rows") * case.limit(CheckName.REJECTED_ROWS), told


def _publisher_rows(case: _Case) -> _Finding:
    if "publisher_rows" not in case.built.counts:
        return True, "The publisher gives no figure to compare with."
    stated, rows = case.count("publisher_rows"), case.built.rows + case.count("rejected_rows")
    agrees = "as the publisher says" if stated == rows else f"but the publisher says {stated:,} data points"
    return abs(stated - rows) <= stated * case.limit(CheckName.PUBLISHER_ROWS), f"The table has {rows:,} rows, {agrees}."


def _columns(case: _Case) -> _Finding:
    broken = [problem for declared in case.dataset.columns for problem in _broken(declared, case.column(declared.name))]
    if broken:
        return False, f"The declared columns are not what was built: {'; '.join(broken)}."
    return (
        True,
        f"All {len(case.dataset.columns)} declared columns are there with their types ({len(case.built.columns)} in all).",
    )


def _broken(declared: Column, built: ColumnInfo | None) -> Iterator[str]:
    if built is None:
        yield f"{declared.name} is missing"
        return
    if declared.type is not None and declared.type != built.type:
        yield f"{declared.name} is {built.type} instead of {declared.type}"
    if not declared.nullable and built.nulls:
        yield f"{declared.name} has {built.nulls:,} nulls"


def _key(case: _Case) -> _Finding:
    key = case.dataset.key
    if not key:
        return True, "No key is declared."
    absent = [name for name in key if case.column(name) is None]
    if absent:
        return False, f"The key column {', '.join(absent)} is missing."
    nulls = [name for name in key if (column := case.column(name)) and column.nulls]
    if nulls:
        return False, f"The key column {', '.join(nulls)} has nulls."
    columns = ", ".join(map(quoted, key))
    with engine(case.path.parent) as sql:
        repeated = f"SELECT {columns}, count(*) AS n FROM read_parquet(?) GROUP BY ALL HAVING n > 1"  # noqa: S608 - quoted
        row = sql.execute(f"SELECT * FROM ({repeated}) ORDER BY ALL LIMIT 1", [str(case.path)]).fetchone()  # noqa: S608
    if row is None:
        return True, f"{' + '.join(key)} is unique in {case.built.rows:,} rows."
    shown = ", ".join(f"{name} {value}" for name, value in zip(key, row, strict=False))
    return False, f"{' + '.join(key)} is not unique: {shown} occurs {row[-1]} times."


def _geometry(case: _Case) -> _Finding:
    column = case.column("geometry")
    if column is None:
        return True, "The table is not spatial."
    shaped = case.built.rows - column.nulls
    share = case.share(shaped)
    return 1 - share <= case.limit(CheckName.GEOMETRY), f"{shaped:,} of {case.built.rows:,} rows have a geometry ({share:.1%})."


def _crs(case: _Case) -> _Finding:
    if not case.spatial and case.built.role == TABLE:
        return True, "The table is not spatial."
    if case.built.crs is None:
        return False, "The coordinate reference system was not recognised by its parameters; a person has to name it."
    if case.built.bbox is None:
        return False, f"The geometry is in {case.built.crs}, but has no bounds in WGS 84."
    return True, f"The geometry is in {case.built.crs}."


def _format(case: _Case) -> _Finding:
    match case.built.role:
        case "cog":
            from d4c_platform.transforms.cog import problems
        case "pmtiles":
            from d4c_platform.transforms.tiles import problems
        case _:
            return True, "The file is a Parquet of our one writer."
    found = problems(case.path)
    return (
        not found,
        f"The validator refuses it: {'; '.join(found)}." if found else "The validator accepts it at its strictest.",
    )


def _counted(name: str, what: str) -> Callable[[_Case], _Finding]:
    def rule(case: _Case) -> _Finding:
        count = case.count(name)
        return count == 0, f"{count:,} {what}." if count else f"No {what}."

    return rule


def _limited(name: CheckName, what: str) -> Callable[[_Case], _Finding]:
    def rule(case: _Case) -> _Finding:
        count = case.count(name)
        if not count:
            return True, f"No {what}."
        return False, f"{count:,} {what}: {case.share(count):.2%} of the rows, up to {case.limit(name):.2%} are let through."

    return rule


def _few(name: CheckName) -> Callable[[_Case], bool]:
    return lambda case: case.share(case.count(name)) <= case.limit(name)


def _labels(case: _Case) -> _Finding:
    unlike, missing = case.count("labels_unlike_metadata"), case.count("labels_without_french")
    if "labels_unlike_metadata" in case.built.counts:
        said = f"{unlike:,} members are labelled unlike the publisher's metadata, {missing:,} have no French label."
        return not unlike and not missing, said
    if case.column("ref_date") is None:
        return True, "The table has no labels of a statistical publisher."
    bilingual = case.column("geo_fr") is not None or case.column("geo_en") is None
    return (
        bilingual,
        "Both languages are there." if bilingual else "There are no French labels: only the English file was archived.",
    )


def _drift(case: _Case) -> _Finding:
    if case.predecessor is None:
        return True, "There is no version before."
    before, now = case.predecessor.rows, case.built.rows
    return not _shrunk(case) and now <= before * MOST_GROWTH, f"{now:,} {case.unit}, {before:,} in the version before."


def _shrunk(case: _Case) -> bool:
    before = case.predecessor.rows if case.predecessor is not None else 0
    return before - case.built.rows > before * case.limit(CheckName.DRIFT)


def _null_drift(case: _Case) -> _Finding:
    before = case.predecessor
    if before is None:
        return True, "There is no version before."
    if not before.rows or not case.built.rows:
        return True, "One of the two versions has no rows."
    was = {c.name: c.nulls / before.rows for c in before.columns}
    now = {c.name: case.share(c.nulls) for c in case.built.columns if c.name in was and c.name not in REMARKS}
    limit = case.limit(CheckName.NULL_DRIFT)
    risen = [f"{name} from {was[name]:.1%} to {share:.1%}" for name, share in now.items() if share - was[name] > limit]
    if risen:
        return False, f"More rows are null than in the version before: {'; '.join(risen)}."
    return True, f"In none of {len(now)} columns did the share of nulls rise by more than {limit:.0%}."


CHECKS: tuple[tuple[str, bool, str], ...] = (
    ("rows", True, "The artifact has rows, as many as were built."),
    ("no_row_lost", True, "Every row of the source is in the artifact or among the rejects."),
    ("rejected_rows", True, "Every row of the source could be read."),
    ("publisher_rows", True, "The number of rows is the publisher's own figure."),
    ("columns", True, "The declared columns are there, typed and filled as declared."),
    ("key", True, "The key identifies each row."),
    ("geometry", True, "Nearly all rows have a geometry."),
    ("crs", True, "The coordinate reference system is known."),
    ("format", True, "An image or tiles are what the validator of their format accepts."),
    ("invalid_dguids", True, "DGUIDs are well formed but for a few, which are kept as published, flagged."),
    ("invalid_geometries", True, "Geometries are valid but for a few, which are kept as published."),
    ("drift", True, "The table has not shrunk by more than a fifth, nor more than doubled (a warning)."),
    ("null_drift", True, "No column has far more nulls than in the version before."),
    ("suppressed_values", False, "Values that are suppressed or not available: kept as null with their status."),
    ("unresolved_periods", False, "Reference periods whose days are not stated, such as fiscal years: left without bounds."),
    ("labels", False, "Labels in both languages agree with the publisher's metadata."),
)
"""Name, whether it blocks publication, and what it promises."""

_RULES: dict[str, Callable[[_Case], _Finding]] = {
    "rows": _rows,
    "no_row_lost": _no_row_lost,
    "rejected_rows": _rejected_rows,
    "publisher_rows": _publisher_rows,
    "columns": _columns,
    "key": _key,
    "geometry": _geometry,
    "crs": _crs,
    "format": _format,
    "suppressed_values": _counted("suppressed_values", "values that are suppressed or not available, null with their status"),
    "invalid_dguids": _limited(CheckName.INVALID_DGUIDS, "rows with a DGUID that is not well formed"),
    "invalid_geometries": _limited(CheckName.INVALID_GEOMETRIES, "geometries that are not valid"),
    "unresolved_periods": _counted("unresolved_periods", "rows whose reference period states no days"),
    "labels": _labels,
    "drift": _drift,
    "null_drift": _null_drift,
}

_TOLERATED: dict[str, Callable[[_Case], bool]] = {
    "invalid_dguids": _few(CheckName.INVALID_DGUIDS),
    "invalid_geometries": _few(CheckName.INVALID_GEOMETRIES),
    "drift": lambda case: not _shrunk(case),
}
"""Of checks that did not pass: whether it is still little enough to be a warning."""
