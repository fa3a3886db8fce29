"""The bases of everything that is recorded of a version.

Not here: what is recorded (records), or how the parts of a judgement look (judgement).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    """Base of every part of a record: frozen, and unknown keys from a newer writer are an error, not silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Fact):
    """One JSON document of a version."""

    DOCUMENT: ClassVar[str]
    REPLACEABLE: ClassVar[bool] = False

    version_id: str
