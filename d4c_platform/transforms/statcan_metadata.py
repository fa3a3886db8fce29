"""The Web Data Service's description of a table: its dimensions and members in both languages, and the publisher's figures.

A COORDINATE such as `1.27` names one member in each dimension by position, so the French label of every row follows from the
metadata even when only the English file was archived.

Accepted as recorded: the bare object, or the service's `[{"status": "SUCCESS", "object": {…}}]`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d4c_platform.model.errors import PermanentFailure

MAX_BYTES = 256 << 20  # the largest descriptions (98-10 tables with every municipality) are some tens of megabytes


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a dimension; what the publisher leaves out is None.

    Attributes:
        parent: id of the member above it in its dimension.
        code: in the publisher's classification; of a place its SGC code.
        geo_level: of a place, from 0 (country) down.
        terminated: whether its series go on no more.
    """

    id: str
    en: str
    fr: str
    parent: str | None = None
    code: str | None = None
    geo_level: int | None = None
    vintage: int | None = None
    terminated: bool | None = None


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension; `position` is its place in a COORDINATE, from 1."""

    position: int
    en: str
    fr: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class TableMetadata:
    dimensions: tuple[Dimension, ...]
    frequency_code: int | None
    data_points: int | None


def read(path: Path) -> TableMetadata:
    """Read a table's metadata.

    Raises:
        PermanentFailure: it is no metadata of a table.
    """
    if path.stat().st_size > MAX_BYTES:
        raise _unlike(path, f"it has {path.stat().st_size} bytes")
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"))
        cube = _cube(said)
        dimensions = tuple(sorted((_dimension(d) for d in cube["dimension"]), key=lambda d: d.position))
        return TableMetadata(dimensions, _number(cube.get("frequencyCode")), _number(cube.get("nbDatapointsCube")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unlike(path, f"{type(error).__name__}: {error}") from error


def _cube(said: Any) -> dict[str, Any]:
    if isinstance(said, list):
        (said,) = said
    if "object" in said:
        if said.get("status") != "SUCCESS":
            raise ValueError(f"the service said {said.get('status')!r}: {said['object']}")
        said = said["object"]
    return dict(said)


def _dimension(said: dict[str, Any]) -> Dimension:
    members = tuple(_member(m) for m in said["member"])
    return Dimension(int(said["dimensionPositionId"]), _text(said["dimensionNameEn"]), _text(said["dimensionNameFr"]), members)


def _member(said: dict[str, Any]) -> Member:
    terminated = _number(said.get("terminated"))
    return Member(
        id=str(said["memberId"]),
        en=_text(said.get("memberNameEn")),
        fr=_text(said.get("memberNameFr")),
        parent=_text(said.get("parentMemberId")) or None,
        code=_text(said.get("classificationCode")) or None,
        geo_level=_number(said.get("geoLevel")),
        vintage=_number(said.get("vintage")),
        terminated=None if terminated is None else bool(terminated),
    )


def _text(said: Any) -> str:
    return str(said or "").strip()


def _number(said: Any) -> int | None:
    return None if said in (None, "") else int(said)


def _unlike(path: Path, why: str) -> PermanentFailure:
    return PermanentFailure(
        f"this is not the metadata of a Statistics Canada table ({why})",
        file=path.name,
        remedy="Fetch the release again, with getCubeMetadata for this product id",
    )
