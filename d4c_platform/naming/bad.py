"""The error that points at the segment of a name that is wrong."""

from __future__ import annotations

from enum import StrEnum


class Segment(StrEnum):
    """The parts of a name; the values are the fields of `Name`, and `text` for the whole."""

    TEXT = "text"
    REGION = "region"
    SOURCE = "source"
    DGUID = "dguid"
    PACKAGE = "package"
    NAME = "name"
    DATE = "date"
    VARIANT = "variant"
    VERSION = "version"
    EXT = "ext"

    @property
    def words(self) -> str:
        """The segment as a sentence calls it."""
        return {"text": "file name", "dguid": "DGUID", "package": "data package", "ext": "extension"}.get(self, str(self))


class BadName(ValueError):
    """A text that is not a D4C file name.

    Args:
        text: the whole text that was read.
        segment: which part of the convention is not met.
        start, end: 0-based character span of the offending part in `text`; empty where something is missing.
        reason: why it is wrong, as a clause without a trailing period.
        suggestion: what would be right: a text to put in the span's place, or an example of one; None when unknown.
    """

    def __init__(
        self, text: str, segment: Segment, start: int, end: int, reason: str, *, suggestion: str | None = None
    ) -> None:
        super().__init__(text, segment, start, end, reason)
        self.text, self.segment, self.start, self.end = text, segment, start, end
        self.reason, self.suggestion = reason, suggestion

    @property
    def part(self) -> str:
        """The offending part of the text."""
        return self.text[self.start : self.end]

    def caret(self) -> str:
        """The text, and a line of carets under the offending part."""
        # Control characters would shift the carets (a tab) or break the line, so they are shown as one placeholder each.
        shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in self.text)
        return f"{shown}\n{' ' * self.start}{'^' * max(1, self.end - self.start)}"

    def sentence(self) -> str:
        """The failure on one line, for a log or a table."""
        subject = f"{self.segment.words} {self.part!r}" if self.part else self.segment.words
        remedy = f" Write {self.suggestion}." if self.suggestion else ""
        return f"{subject} at character {self.start + 1}: {self.reason}.{remedy}"

    def __str__(self) -> str:
        return f"{self.sentence()}\n{self.caret()}"
