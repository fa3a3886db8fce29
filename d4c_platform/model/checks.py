"""The checks an artifact has to pass, by name, and what a declaration may say about them.

The names are here because a declaration uses them: one that is misspelt is an error on its line, not a check that quietly
still blocks. A choice has a reason in both languages, because it is published: in the manifest and in the catalog.

Not here: what a check looks at and whether it blocks (transforms.checks).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from pydantic import Field, model_validator

from d4c_platform.model.declared import Declared, Text


class CheckName(StrEnum):
    ROWS = "rows"
    NO_ROW_LOST = "no_row_lost"
    REJECTED_ROWS = "rejected_rows"
    PUBLISHER_ROWS = "publisher_rows"
    COLUMNS = "columns"
    KEY = "key"
    GEOMETRY = "geometry"
    CRS = "crs"
    FORMAT = "format"
    INVALID_DGUIDS = "invalid_dguids"
    INVALID_GEOMETRIES = "invalid_geometries"
    DRIFT = "drift"
    NULL_DRIFT = "null_drift"
    SUPPRESSED_VALUES = "suppressed_values"
    UNRESOLVED_PERIODS = "unresolved_periods"
    LABELS = "labels"


LIMITS: Mapping[CheckName, float] = MappingProxyType(
    {
        CheckName.PUBLISHER_ROWS: 0.0,
        CheckName.REJECTED_ROWS: 0.0,
        CheckName.GEOMETRY: 0.05,
        CheckName.INVALID_DGUIDS: 0.01,
        CheckName.INVALID_GEOMETRIES: 0.05,
        CheckName.DRIFT: 0.2,
        CheckName.NULL_DRIFT: 0.1,
    }
)
"""The greatest share of rows that a check lets through, where no declaration says otherwise: beyond the publisher's figure,
not to be read, without a shape, with a malformed DGUID or shape, lost since the version before, newly null in one column. A
few such rows are the publisher's; more mean that a join, a rule or the file is broken, and a person should look."""


ALWAYS = frozenset({CheckName.ROWS, CheckName.NO_ROW_LOST})
"""What nobody may waive: a version has rows, and every row of its source is in it or among its rejects."""


class CheckChoice(Declared):
    """One check tuned or waived. It still runs and its result is shown; a waived one blocks nothing."""

    check: CheckName
    waived: bool = Field(default=False, description="Whether the check blocks nothing, whatever it finds.")
    limit: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The greatest share of rows that may be as the check forbids: 0.3 lets a drift of 30 % pass.",
    )
    reason: Text = Field(description="Why, for whoever reads the manifest or the catalog.")

    @model_validator(mode="after")
    def _may_be_waived(self) -> Self:
        if self.waived and self.check in ALWAYS:
            raise ValueError(f"the check {self.check.value} cannot be waived: without it rows could be lost unseen")
        return self
