"""What changed since the version before, and the least version number that says so honestly.

The rule is DESIGN's *SemVer of data*. MAJOR: a column removed, renamed or retyped, the key, the unit, the CRS or the kind of
geometry changed, or more than a fifth of the rows gone. MINOR: columns added, or rows added within one vintage. PATCH:
values corrected. None: equal logical hash, and the same key and shape. A new vintage carries its own rows and values – the
date says *which data* – so there only the shape counts; `least_bump` is then `patch` when the shape is the same, and `allowed`
asks for no bump.

An operator may know better (a fifth of the rows were duplicates; the same column means something else now). What was derived
stays as it is; the number is then held against the operator's word, which is recorded with its reason.

Not here: the rows that differ (diff), how changes are told to people (changelog).
"""

from __future__ import annotations

from pathlib import Path

from d4c_platform import naming
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Changes
from d4c_platform.naming import SemVer
from d4c_platform.transforms import logical_hash
from d4c_platform.transforms.diff import Difference, Shape, difference, shape_of
from d4c_platform.transforms.machine import machine_troubles

REMOVED_SHARE = 0.2  # of the rows, within one vintage: a correction withdraws some, more is coverage lost
UNIT_COLUMNS = ("uom_id", "scalar_id")  # a row whose unit changed means something else

_ORDER = ("none", "patch", "minor", "major")


def compare(
    dataset: Dataset, version_id: str, path: Path, predecessor_id: str | None, predecessor_path: Path | None
) -> Changes:
    """What changed from the predecessor's artifact to this one; both are only read."""
    if predecessor_id is None or predecessor_path is None:
        return Changes(least_bump="first", evidence=("There is no version before.",))
    with machine_troubles():
        return _compared(dataset, version_id, path, predecessor_id, predecessor_path)


def _compared(dataset: Dataset, version_id: str, path: Path, predecessor_id: str, predecessor_path: Path) -> Changes:
    new, old = shape_of(path), shape_of(predecessor_path)
    added = tuple(c for c in new.columns if c not in old.columns)
    removed = tuple(c for c in old.columns if c not in new.columns)
    shared = tuple(c for c in new.columns if c in old.columns)
    retyped = tuple(c for c in shared if new.columns[c] != old.columns[c])
    # Equal values may still mean something else: the key and the kind of geometry are in no value.
    shape = _shape_findings(dataset, new, old, added, removed, retyped)
    if not shape and _hash(new, path) == _hash(old, predecessor_path):
        return Changes(
            predecessor=predecessor_id,
            least_bump="none",
            rows_before=old.rows,
            rows_after=new.rows,
            evidence=(f"All {new.rows:,} rows have the same values: the logical hash is equal.",),
        )
    rows = difference(path, predecessor_path, dataset.key, tuple(c for c in shared if c not in retyped))
    same_vintage = vintage_of(version_id) == vintage_of(predecessor_id)
    found = [*shape, *_row_findings(rows, same_vintage=same_vintage)]
    return Changes(
        predecessor=predecessor_id,
        least_bump=max((bump for bump, _ in found), key=_ORDER.index, default="patch"),
        columns_added=added,
        columns_removed=removed,
        columns_retyped=retyped,
        types_changed={c: (old.columns[c], new.columns[c]) for c in retyped},
        rows_before=rows.before,
        rows_after=rows.after,
        rows_added=rows.added,
        rows_removed=rows.removed,
        rows_changed=rows.changed,
        changed_by_column=rows.changed_by_column,
        sample=rows.sample,
        evidence=tuple(sentence for _, sentence in sorted(found, key=lambda f: -_ORDER.index(f[0]))),
    )


def vintage_of(version_id: str) -> str:
    """Which data a version holds: its id without the number."""
    name = naming.parse(version_id)
    return version_id if name.version is None else name.stem.removesuffix(f"_v{name.version}")


def allowed(changes: Changes, declared: SemVer, predecessor: SemVer, *, same_vintage: bool) -> bool:
    """Whether the declared number says at least what changed."""
    if changes.bump == "first":
        return True
    if changes.bump == "major":
        return declared.major > predecessor.major
    if changes.bump == "minor":
        return (declared.major, declared.minor) > (predecessor.major, predecessor.minor)
    if same_vintage:
        return declared > predecessor
    return (declared.major, declared.minor) >= (predecessor.major, predecessor.minor)


def least_number(changes: Changes, predecessor: SemVer, *, same_vintage: bool) -> SemVer:
    """The smallest number that may be declared."""
    match changes.bump:
        case "major":
            return SemVer(predecessor.major + 1, 0, 0)
        case "minor":
            return SemVer(predecessor.major, predecessor.minor + 1, 0)
        case _ if same_vintage:
            return predecessor.bump_patch()
        case _:
            return predecessor


def require_honest_number(dataset: Dataset, version_id: str, predecessor_id: str, changes: Changes) -> None:
    """Stop a version whose number says less than what changed.

    Raises:
        PermanentFailure: with the evidence, and the number to declare.
    """
    declared, before = naming.parse(version_id).version, naming.parse(predecessor_id).version
    if declared is None or before is None:
        raise PermanentFailure(
            f"{version_id} or {predecessor_id} has no version number", dataset=dataset.id, version=version_id
        )
    same_vintage = vintage_of(version_id) == vintage_of(predecessor_id)
    if allowed(changes, declared, before, same_vintage=same_vintage):
        return
    least = least_number(changes, before, same_vintage=same_vintage)
    raise PermanentFailure(
        f"{declared} says less than what changed since {predecessor_id}, which is {changes.bump}: "
        + " ".join((*_decided(changes), *changes.evidence)),
        where="changes",
        dataset=dataset.id,
        version=version_id,
        kept="Nothing is public yet; the previous latest stays",
        remedy=f"Declare `version: {least}` or higher in the dataset's declaration: that makes a new partition; or, when the "
        "rule is wrong about it, record why with `d4c version override`",
    )


def _decided(changes: Changes) -> tuple[str, ...]:
    if changes.override is None:
        return ()
    return (f"An operator counted it as {changes.override.bump}, derived was {changes.least_bump}: {changes.override.reason}.",)


def _hash(shape: Shape, path: Path) -> str:
    """The file's logical hash: as its footer says when the recipe is today's, else computed."""
    if shape.logical_hash and shape.recipe == logical_hash.RECIPE:
        return shape.logical_hash
    return logical_hash.of_file(path, path.parent)


def _shape_findings(
    dataset: Dataset, new: Shape, old: Shape, added: tuple[str, ...], removed: tuple[str, ...], retyped: tuple[str, ...]
) -> list[tuple[str, str]]:
    found = []
    if removed:
        found.append(("major", f"Columns removed or renamed: {', '.join(removed)}."))
    if retyped:
        told = ", ".join(f"{c} from {old.columns[c]} to {new.columns[c]}" for c in retyped)
        found.append(("major", f"Columns retyped: {told}."))
    if old.key is not None and old.key != dataset.key:
        found.append(("major", f"The key changed from {' + '.join(old.key) or 'none'} to {' + '.join(dataset.key) or 'none'}."))
    if new.crs != old.crs:
        found.append(("major", f"The coordinate reference system changed from {old.crs} to {new.crs}."))
    if new.geometry_types != old.geometry_types:
        before, now = (", ".join(sorted(t)) or "none" for t in (old.geometry_types, new.geometry_types))
        found.append(("major", f"The geometry types changed from {before} to {now}."))
    if added:
        found.append(("minor", f"Columns added: {', '.join(added)}."))
    return found


def _row_findings(rows: Difference, *, same_vintage: bool) -> list[tuple[str, str]]:
    units = {c: rows.changed_by_column[c] for c in UNIT_COLUMNS if c in rows.changed_by_column}
    found = [("major", f"The unit changed: {column} differs in {n:,} rows.") for column, n in units.items()]
    told = f"{rows.added:,} rows added, {rows.removed:,} removed, {rows.changed:,} changed"
    told += f" ({rows.before:,} before, {rows.after:,} now)."
    if not same_vintage:
        return [*found, ("patch", f"{told} The new date carries them.")]
    if rows.keyed:
        gained, lost, corrected = rows.added, rows.removed, rows.changed
    else:  # without a key a corrected row is one removed and one added
        corrected = min(rows.added, rows.removed)
        gained, lost = rows.added - corrected, rows.removed - corrected
    if lost > rows.before * REMOVED_SHARE:
        found.append(("major", f"More than {REMOVED_SHARE:.0%} of the rows are gone: {told}"))
    elif gained:
        found.append(("minor", f"Coverage grew within the same vintage: {told}"))
    elif lost or corrected:
        found.append(("patch", f"Values were corrected: {told}"))
    if rows.changed_by_column:
        told = ", ".join(f"{column} in {n:,} rows" for column, n in sorted(rows.changed_by_column.items()))
        found.append(("patch", f"Changed: {told}."))
    return found
