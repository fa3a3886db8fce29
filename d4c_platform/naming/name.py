"""The parsed name, and the version ids built from it.

A `Name` that does not read back as itself cannot be made: the constructor writes it, reads it again and compares. So whatever
holds a `Name` holds a valid one, and `parse(str(name)) == name` always.

A dataset id is a name without version and extension, and without a date when the vintage comes from the release. Such a
dataset has no variant – after the name, only a date tells where a variant begins – and says its subset in the name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from d4c_platform.naming.bad import BadName, Segment
from d4c_platform.naming.dates import read_date
from d4c_platform.naming.grammar import Parts, scan
from d4c_platform.naming.semver import SemVer

_UNDATED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Name:
    """A D4C file name in its parts. `str()` is the canonical spelling.

    Attributes:
        ext: without its leading dot, for instance `parquet` or `parquet.torrent`.
    """

    region: str
    source: str
    dguid: str
    package: str
    name: tuple[str, ...] = ()
    date: str | None = None
    variant: tuple[str, ...] = ()
    version: SemVer | None = None
    ext: str | None = None

    def __post_init__(self) -> None:
        text = str(self)
        for field, read in zip(Parts._fields, scan(text), strict=True):
            given = getattr(self, field)
            if given != read:
                part = "_".join(given) if isinstance(given, tuple) else str(given or "")
                start = max(0, text.find(part))
                reason = f"it would be read back as {read!r}"
                raise BadName(text, Segment(field), start, start + len(part), reason)

    @property
    def stem(self) -> str:
        """The canonical name without its extension: the version id of a versioned name."""
        pieces = [self.region, f"{self.source}-{self.dguid}", self.package, *self.name]
        pieces += [self.date] if self.date is not None else []
        pieces += self.variant
        pieces += [f"v{self.version}"] if self.version is not None else []
        return "_".join(pieces)

    def __str__(self) -> str:
        return self.stem if self.ext is None else f"{self.stem}.{self.ext}"


def parse(text: str) -> Name:
    """Read a D4C file name, or a version or dataset id.

    Raises:
        BadName: pointing at the segment that is wrong.
    """
    return Name(*scan(text))


def version_id(dataset_id: str, vintage: str, semver: SemVer) -> str:
    """The id of a version: the dataset id with its vintage and SemVer in place.

    Raises:
        BadName: the id is not one, the vintage is no date, or the id has another date already.
    """
    name = parse(dataset_id)
    date = read_date(vintage)
    if date is None:
        raise BadName(vintage, Segment.DATE, 0, len(vintage), "the vintage is not an ISO 8601 date")
    if name.date is not None and name.date != date.text:
        start = dataset_id.rfind(name.date)
        raise BadName(
            dataset_id,
            Segment.DATE,
            max(0, start),
            max(0, start) + len(name.date),
            f"the vintage of this version is {date.text}",
        )
    return replace(name, date=date.text, version=semver, ext=None).stem


def dataset_id_of(version_id: str, *, vintage_from_release: bool) -> str:
    """The dataset a version belongs to.

    Args:
        vintage_from_release: the date comes from the release, so it is no part of the dataset id.

    Raises:
        BadName: the id is not one.
    """
    name = parse(version_id)
    return replace(name, date=None if vintage_from_release else name.date, version=None, ext=None).stem


def order_key(version_id: str) -> tuple[Any, ...]:
    """What version ids sort by: vintage, then SemVer precedence, then (only to be total) their text.

    A partial date sorts at its start, before finer dates that start there too. What has no date or no version comes first.

    Raises:
        BadName: the id is not one.
    """
    name = parse(version_id)
    vintage = read_date(name.date) if name.date is not None else None
    when = (vintage.start, int(vintage.precision)) if vintage is not None else (_UNDATED, 0)
    return (*when, name.version is not None, name.version.precedence if name.version is not None else (), str(name))
