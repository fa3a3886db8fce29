"""One thing that is wrong with a declaration, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

FieldPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding that a person can act on.

    Attributes:
        path: where in the document, for instance `("area", "geometry")`; empty for the whole.
        what: the finding as a clause, without a trailing period.
        file, line: filled in once the document's place is known; the line counts from 1.
    """

    path: FieldPath
    what: str
    file: Path | None = None
    line: int | None = None

    def at(self, file: Path, line: int | None) -> Problem:
        return replace(self, file=file, line=line)

    @property
    def field(self) -> str:
        """The path as people write it: `columns[2].title.fr`."""
        text = ""
        for step in self.path:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line is not None else ""
        subject = ", ".join(part for part in (place, self.field) if part)
        return f"{subject}: {self.what}" if subject else self.what
