"""SemVer 2.0.0 as a name carries it: MAJOR.MINOR.PATCH with an optional pre-release, and without build metadata.

Build metadata is refused on purpose: it does not take part in precedence, so two different files would be the same
version, and its `+` means a space in many URLs and S3 clients.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from d4c_platform.naming.bad import BadName, Segment

_NUMBER = r"0|[1-9][0-9]*"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?", re.ASCII)
_BUILD = re.compile(r"\+.*$", re.DOTALL)
_LEADING_ZERO = re.compile(r"(?:^|[.-])0[0-9]+(?=[.-]|$)")


@total_ordering
@dataclass(frozen=True, slots=True, eq=True)
class SemVer:
    """The shape of a version's data. Compares by SemVer precedence, never by text."""

    major: int
    minor: int
    patch: int
    pre_release: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if _SEMVER.fullmatch(str(self)) is None:
            raise BadName(str(self), Segment.VERSION, 0, len(str(self)), why_not_semver(str(self)))

    @classmethod
    def parse(cls, text: str) -> SemVer:
        """Read `1.2.3` or `1.2.3-beta.1` (no `v`).

        Raises:
            BadName: with the span within `text`.
        """
        found = _SEMVER.fullmatch(text)
        if found is None:
            raise BadName(text, Segment.VERSION, 0, len(text), why_not_semver(text), suggestion=suggest_semver(text))
        major, minor, patch, pre_release = found.groups()
        return cls(int(major), int(minor), int(patch), tuple(pre_release.split(".")) if pre_release else ())

    def bump_patch(self) -> SemVer:
        """The next PATCH. A beta stays a beta: corrected values do not make a promise of stability."""
        return SemVer(self.major, self.minor, self.patch + 1, self.pre_release)

    @property
    def precedence(self) -> tuple[Any, ...]:
        """A tuple that sorts by SemVer 2.0.0 §11."""
        identifiers = tuple((0, int(i), "") if i.isdecimal() else (1, 0, i) for i in self.pre_release)
        return (self.major, self.minor, self.patch, not self.pre_release, identifiers)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, SemVer):
            return NotImplemented
        return self.precedence < other.precedence

    def __str__(self) -> str:
        core = f"{self.major}.{self.minor}.{self.patch}"
        return f"{core}-{'.'.join(self.pre_release)}" if self.pre_release else core


def why_not_semver(text: str) -> str:
    """The reason a text is no SemVer we accept, as a clause."""
    if "+" in text:
        return "build metadata is not part of a name: it makes no other version, and `+` does not survive in URLs"
    if _LEADING_ZERO.search(text):
        return "SemVer numbers have no leading zeros"
    return "it is not SemVer MAJOR.MINOR.PATCH with an optional pre-release"


def suggest_semver(text: str) -> str | None:
    """What the text probably means in SemVer; None when that is a guess too far."""
    candidate = _BUILD.sub("", text.removeprefix("v").removeprefix("V"))
    if re.fullmatch(r"[0-9]+(\.[0-9]+){0,2}", candidate, re.ASCII):
        candidate = ".".join(str(int(n)) for n in [*candidate.split("."), "0", "0"][:3])
    return candidate if candidate != text and _SEMVER.fullmatch(candidate) else None
