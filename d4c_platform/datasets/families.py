"""From the family files of a folder (`*.family.yaml`) to `Family`s, or to everything that is wrong with them.

A family is checked as strictly as a declaration: against its own schema, and by the rules of the datasets it will make.

Not here: which datasets it makes (expansion).
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from d4c_platform.datasets.declarations import BadDeclaration, is_family, model_problems, yaml_files
from d4c_platform.datasets.expansion import template
from d4c_platform.datasets.marked_yaml import MarkedDocument, Unreadable, read_marked
from d4c_platform.datasets.problem import Problem
from d4c_platform.datasets.rules import rule_problems
from d4c_platform.datasets.schema import schema_problems
from d4c_platform.model.dataset import Text
from d4c_platform.model.family import PLACEHOLDERS, Family


def load_families(folder: Path) -> dict[str, Family]:
    """Every declared family of a folder and its sub-folders, by name. There may be none.

    Raises:
        BadDeclaration: any of them is not right.
    """
    families, problems = check_families(families_in(folder))
    if problems:
        raise BadDeclaration(problems)
    return {family.family: family for family in families.values()}


def families_in(folder: Path) -> list[Path]:
    """The family files of a folder and its sub-folders, in order."""
    return [file for file in yaml_files(folder) if is_family(file)]


def check_families(files: Iterable[Path]) -> tuple[dict[Path, Family], tuple[Problem, ...]]:
    """Read families; what is right comes back as families, what is not as problems."""
    families: dict[Path, Family] = {}
    problems: list[Problem] = []
    first: dict[str, Path] = {}
    for file in files:
        try:
            document = read_marked(file)
        except Unreadable as error:
            problems.append(error.problem)
            continue
        family, found = _read(document)
        if family is not None and (other := first.setdefault(family.family, file)) != file:
            found.append(Problem(("family",), f"{family.family} is declared already in {other}"))
        problems += (problem.at(file, document.line(problem.path)) for problem in found)
        if family is not None and not found:
            families[file] = family
    return families, tuple(problems)


def _read(document: MarkedDocument) -> tuple[Family | None, list[Problem]]:
    found = list(schema_problems(document.value, Family))
    if found:
        return None, found
    try:
        family = Family.model_validate(document.value)
    except ValidationError as error:
        return None, list(model_problems(error))
    return family, list(_rule_problems(family))


def _rule_problems(family: Family) -> Iterator[Problem]:
    yield from _template_problems(family.description, ("description",))
    yield from _template_problems(family.licence.attribution, ("licence", "attribution"))
    for dguid, count in Counter(area.dguid for area in family.areas).items():
        if count > 1:
            index = max(i for i, area in enumerate(family.areas) if area.dguid == dguid)
            yield Problem(("areas", index, "dguid"), f"{dguid} is declared {count} times")
    shared: set[str] = set()
    for index, area in enumerate(family.areas):
        for problem in rule_problems(template(family, area)):
            # What its datasets would be told is told where the family says it.
            if problem.path[:1] == ("area",):
                yield Problem(("areas", index, *problem.path[1:]), problem.what)
            elif problem.path[:1] == ("id",):
                yield Problem(("areas", index), f"no id can be made of its region and DGUID: {problem.what}")
            elif str(problem) not in shared:
                shared.add(str(problem))
                yield problem


def _template_problems(text: Text, path: tuple[str, ...]) -> Iterator[Problem]:
    for language, words in text.model_dump().items():
        try:
            named = [(name, spec, how) for _, name, spec, how in string.Formatter().parse(words) if name is not None]
        except ValueError as error:
            yield Problem((*path, language), f"its braces cannot be read: {error}")
            continue
        for name, spec, how in named:
            if name not in PLACEHOLDERS or spec or how:
                yield Problem((*path, language), f"{{{name}}} is none of {', '.join(f'{{{p}}}' for p in PLACEHOLDERS)}")
