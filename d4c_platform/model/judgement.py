"""What is found out about a built artifact: its checks, what changed since the version before, and what made it.

These are parts of the records `Build` and `Manifest`; every field that came later has a default, so that older documents are
read as they are.

Not here: how anything is found out (transforms).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from d4c_platform.model.fact import Fact


class Severity(StrEnum):
    BLOCKING = "blocking"
    WARNING = "warning"


class Reason(Fact):
    """Why a declaration tunes or waives a check."""

    en: str
    fr: str


class Verdict(Fact):
    """The result of one check on one artifact."""

    check: str
    passed: bool
    severity: Severity = Severity.BLOCKING
    evidence: str = Field(description="One sentence with the figures, passed or not.")
    waived: bool = Field(default=False, description="The declaration lets it block nothing.")
    limit: float | None = Field(default=None, description="The limit that the declaration set in place of the usual one.")
    reason: Reason | None = Field(default=None, description="Why it was waived or tuned; None when it was neither.")


class Bump(StrEnum):
    """What a change asks of the version number."""

    PATCH = "patch"
    MINOR = "minor"
    MAJOR = "major"


class Override(Fact):
    """An operator's word on how much a version changes, in place of what the rule derives."""

    bump: Bump
    reason: str


class RowChange(Fact):
    """One row of the sample: how it was and how it is, as text; a long value is cut, a shape is told by its digest."""

    change: Literal["added", "removed", "changed"]
    key: dict[str, str | None] = Field(default_factory=dict, description="Empty when the dataset has no key.")
    before: dict[str, str | None] = Field(default_factory=dict, description="Of a changed row only what differs.")
    after: dict[str, str | None] = Field(default_factory=dict, description="Of a changed row only what differs.")


class Changes(Fact):
    """What changed since the predecessor, and the least bump that admits it."""

    predecessor: str | None = None
    least_bump: str = Field(description="none, patch, minor or major, as derived; `first` when there is no predecessor.")
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    columns_retyped: tuple[str, ...] = ()
    types_changed: dict[str, tuple[str, str]] = Field(
        default_factory=dict, description="Retyped column to its type before and now."
    )
    rows_before: int = 0
    rows_after: int = 0
    rows_added: int = 0
    rows_removed: int = 0
    rows_changed: int = Field(default=0, description="By key; without one a corrected row counts as removed and added.")
    changed_by_column: dict[str, int] = Field(default_factory=dict, description="In how many rows a column's value differs.")
    sample: tuple[RowChange, ...] = Field(default=(), description="A few rows of each kind, the first by key.")
    evidence: tuple[str, ...] = ()
    override: Override | None = Field(default=None, description="What an operator decided instead of the derived bump.")

    @property
    def bump(self) -> str:
        """What the version number has to admit: the operator's word where there is one, else what was derived."""
        return self.least_bump if self.override is None else self.override.bump.value


class MadeWith(Fact):
    """The code and the tools that made an artifact, as they were in the process that made it."""

    code_commit: str
    method_sha256: str = Field(description="Of the code and its locked environment, packed: methods/<sha-256>.tar.gz.")
    lock_sha256: str
    tools: dict[str, str]
    parameters: dict[str, str] = Field(description="What the code fixes and a file's bytes show, for instance compression.")
