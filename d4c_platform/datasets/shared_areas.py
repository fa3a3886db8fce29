"""The areas that many declarations share: `area: canada` stands for what `areas/canada.yaml` says.

Thirty declarations of Canada's outline would be thirty places to correct. A declaration may still write its area out; what is
loaded is the same. A mistake in a shared file is told with that file and its line, once, whichever declarations name it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from d4c_platform.datasets.marked_yaml import MarkedDocument, Unreadable, read_marked
from d4c_platform.datasets.problem import Problem
from d4c_platform.datasets.rules import area_problems
from d4c_platform.datasets.schema import schema_problems
from d4c_platform.model.dataset import Area

FOLDER = Path(__file__).parent / "areas"


@dataclass(frozen=True, slots=True)
class Shared:
    """What a file of a shared area says, and what is wrong with it."""

    value: Any
    problems: tuple[Problem, ...]


def names() -> tuple[str, ...]:
    """What a declaration can name."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


def written_out(document: MarkedDocument, file: Path) -> tuple[Any, tuple[Problem, ...]]:
    """A declaration's value with its named area written out, and why it cannot be."""
    value = document.value
    name = value.get("area") if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        return value, ()
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}, or write the area out"
        problem = Problem(("area",), f"there is no shared area {name!r}; {meant}")
        return value, (problem.at(file, document.line(problem.path)),)
    shared = read(FOLDER / f"{name}.yaml")
    return {**value, "area": shared.value}, shared.problems


@cache
def read(file: Path) -> Shared:
    """A shared area. It is read once in a process: it ships with the code."""
    try:
        document = read_marked(file)
    except Unreadable as error:
        return Shared(None, (error.problem,))
    found = list(schema_problems(document.value, Area))
    if not found:
        found = list(area_problems(Area.model_validate(document.value), ()))
    return Shared(document.value, tuple(p.at(file, document.line(p.path)) for p in found))
