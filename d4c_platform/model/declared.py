"""What everything that a person declares has in common.

On its own, because the declared dataset needs the declared sources (`sources`), and both need this.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Declared(BaseModel):
    """Base of everything a person writes in a declaration: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Declared):
    """The same words in both official languages."""

    en: str = Field(min_length=1)
    fr: str = Field(min_length=1)
