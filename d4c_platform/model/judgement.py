"""What is found out about a built artifact: its checks, what changed since the version before, and what made it.

These are parts of the records `Build` and `Manifest`; every field that came later has a default, so that older documents are
read as they are.

Not here: how anything is found out (transforms).
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from d4c_platform.model.fact import Fact


class Severity(StrEnum):
    BLOCKING = "blocking"
    WARNING = "warning"


class Verdict(Fact):
    """The result of one check on one artifact."""

    check: str
    passed: bool
    severity: Severity = Severity.BLOCKING
    evidence: str = Field(description="One sentence with the figures, passed or not.")


class Changes(Fact):
    """What changed since the predecessor, and the least bump that admits it."""

    predecessor: str | None = None
    least_bump: str = Field(description="none, patch, minor or major; `first` when there is no predecessor.")
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    columns_retyped: tuple[str, ...] = ()
    rows_added: int = 0
    rows_removed: int = 0
    rows_changed: int = 0
    evidence: tuple[str, ...] = ()


class MadeWith(Fact):
    """The code and the tools that made an artifact, as they were in the process that made it."""

    code_commit: str
    method_sha256: str = Field(description="Of the code and its locked environment, packed: methods/<sha-256>.tar.gz.")
    lock_sha256: str
    tools: dict[str, str]
    parameters: dict[str, str] = Field(description="What the code fixes and a file's bytes show, for instance compression.")
