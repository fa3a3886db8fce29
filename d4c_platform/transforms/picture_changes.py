"""What changed between two images, or two sets of tiles, as their records tell it: nothing is fetched for it.

They have no rows and no key, so there is no count of corrected values: the logical hash says whether a value changed, the
record says whether the shape did. The rule is that of tables (changes): MAJOR when code that reads the old one breaks – a band
or a field gone or retyped, another CRS or kind of file – or a fifth of it is gone; MINOR when there is more; else PATCH.
"""

from __future__ import annotations

from collections.abc import Iterator

from d4c_platform.model.records import Artifact, Changes
from d4c_platform.transforms.changes import REMOVED_SHARE, vintage_of

_ORDER = ("none", "patch", "minor", "major")
_UNITS = {"cog": "pixels", "pmtiles": "tiles"}
_SHAPE = ("tile_type", "dtype")  # facts that a reader depends on


def compare(version_id: str, artifact: Artifact, predecessor_id: str, predecessor: Artifact) -> Changes:
    """What changed since the predecessor's artifact."""
    new, old = ({c.name: c.type for c in a.columns} for a in (artifact, predecessor))
    added, removed = tuple(c for c in new if c not in old), tuple(c for c in old if c not in new)
    retyped = tuple(c for c in new if c in old and new[c] != old[c])
    shape = list(_shape(artifact, predecessor))
    shape += [("major", f"Removed: {', '.join(removed)}.")] if removed else []
    shape += [("major", f"{c} was {old[c]} and is {new[c]}.") for c in retyped]
    shape += [("minor", f"Added: {', '.join(added)}.")] if added else []
    if not shape and artifact.logical_hash == predecessor.logical_hash:
        return Changes(
            predecessor=predecessor_id, least_bump="none", evidence=("All values are the same: the logical hash is equal.",)
        )
    same_vintage = vintage_of(version_id) == vintage_of(predecessor_id)
    found = [*shape, *(_extent(artifact, predecessor) if same_vintage else [("patch", "The new date carries new values.")])]
    return Changes(
        predecessor=predecessor_id,
        least_bump=max((bump for bump, _ in found), key=_ORDER.index),
        columns_added=added,
        columns_removed=removed,
        columns_retyped=retyped,
        evidence=tuple(sentence for _, sentence in sorted(found, key=lambda f: -_ORDER.index(f[0]))),
    )


def _shape(artifact: Artifact, predecessor: Artifact) -> Iterator[tuple[str, str]]:
    if artifact.role != predecessor.role:
        yield "major", f"The artifact was {predecessor.role} and is {artifact.role}."
    if artifact.crs != predecessor.crs:
        yield "major", f"The coordinate reference system changed from {predecessor.crs} to {artifact.crs}."
    for fact in _SHAPE:
        before, now = predecessor.facts.get(fact), artifact.facts.get(fact)
        if before != now and artifact.role == predecessor.role:
            yield "major", f"The {fact.replace('_', ' ')} changed from {before} to {now}."


def _extent(artifact: Artifact, predecessor: Artifact) -> Iterator[tuple[str, str]]:
    unit = _UNITS.get(artifact.role, "rows")
    before, now = predecessor.rows, artifact.rows
    if now < before * (1 - REMOVED_SHARE):
        yield "major", f"More than {REMOVED_SHARE:.0%} of it is gone: {now:,} {unit}, {before:,} before."
    elif now > before:
        yield "minor", f"Coverage grew within the same vintage: {now:,} {unit}, {before:,} before."
    else:
        yield "patch", f"Values were corrected: {now:,} {unit}, {before:,} before."
