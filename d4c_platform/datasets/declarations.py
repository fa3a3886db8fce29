"""From the YAML files of a folder to `Dataset`s, or to everything that is wrong with them.

All problems of all files are collected before anything is refused: a person fixes a declaration once, not once a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from d4c_platform.datasets.marked_yaml import Unreadable, read_marked
from d4c_platform.datasets.problem import Problem
from d4c_platform.datasets.rules import rule_problems, shared_ids
from d4c_platform.datasets.schema import schema_problems
from d4c_platform.datasets.shared_areas import FOLDER as AREAS
from d4c_platform.datasets.shared_areas import written_out
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure

PACKAGED = Path(__file__).parent
SUFFIXES = frozenset({".yaml", ".yml"})
FAMILY = ".family"  # before the suffix of a file that declares a family, which is of another shape (families)


class BadDeclaration(PermanentFailure):
    """Declarations that are not right.

    Args:
        problems: every one, with its file, line and field.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        by_file: dict[Path | None, list[Problem]] = {}
        for problem in problems:
            by_file.setdefault(problem.file, []).append(problem)
        told = [(f"{file}: " if len(by_file) > 1 else "") + str(p) for file, found in by_file.items() for p in found]
        count = f"{len(problems)} problems in the declaration{'s' if len(by_file) > 1 else ''}: " if len(problems) > 1 else ""
        super().__init__(
            count + "; ".join(told),
            where="datasets",
            file=str(next(iter(by_file))) if len(by_file) == 1 else None,
            remedy="Correct it and check again with `d4c dataset validate`",
        )
        self.problems = problems


def load(folder: Path | None = None) -> dict[str, Dataset]:
    """Every declared dataset of a folder and its sub-folders, by id.

    Args:
        folder: the packaged declarations by default.

    Raises:
        BadDeclaration: any of them is not right, or two declare the same id.
        PermanentFailure: there is no declaration at all: more likely a wrong folder than a wish.
    """
    files = declarations_in(PACKAGED if folder is None else folder)
    datasets, problems = check_files(files)
    if problems:
        raise BadDeclaration(problems)
    return {dataset.id: dataset for dataset in datasets.values()}


def load_file(file: Path) -> Dataset:
    """One declared dataset.

    Raises:
        BadDeclaration: with everything that is wrong with it.
    """
    datasets, problems = check_files([file])
    if problems:
        raise BadDeclaration(problems)
    return datasets[file]


def declarations_in(folder: Path) -> list[Path]:
    """The declaration files of a folder and its sub-folders, in order; those of families are not among them.

    Raises:
        PermanentFailure: the folder is not there, or holds none.
    """
    if not folder.is_dir():
        raise PermanentFailure(
            "there is no such folder of declarations", where="datasets", file=str(folder), remedy="Check D4C_DATASETS"
        )
    files = yaml_files(folder)
    if not files:
        raise PermanentFailure(
            "the folder holds no declaration (*.yaml)", where="datasets", file=str(folder), remedy="Check D4C_DATASETS"
        )
    return [file for file in files if not is_family(file)]


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files of a folder and its sub-folders, in order, but for the shared areas."""
    found = (file for file in folder.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    return sorted(file for file in found if file.parent != AREAS)


def is_family(file: Path) -> bool:
    """Whether a file declares a family rather than a dataset."""
    return file.suffix in SUFFIXES and Path(file.stem).suffix == FAMILY


def check_files(files: Iterable[Path]) -> tuple[dict[Path, Dataset], tuple[Problem, ...]]:
    """Read declarations; what is right comes back as datasets, what is not as problems."""
    datasets: dict[Path, Dataset] = {}
    problems: list[Problem] = []
    first: dict[str, Path] = {}
    for file in files:
        try:
            document = read_marked(file)
        except Unreadable as error:
            problems.append(error.problem)
            continue
        value, of_area = written_out(document, file)
        if of_area:
            problems += of_area
            continue
        dataset, found = _read(value)
        if dataset is not None and (other := first.setdefault(dataset.id, file)) != file:
            found.append(Problem(("id",), f"{dataset.id} is declared already in {other}"))
        if dataset is not None and not found:
            for shared in shared_ids(dataset, datasets.values()):
                other = next(f for f, d in datasets.items() if d is shared)
                found.append(Problem(("id",), f"its versions could not be told from those of {shared.id}, declared in {other}"))
        problems += (problem.at(file, document.line(problem.path)) for problem in found)
        if dataset is not None and not found:
            datasets[file] = dataset
    return datasets, tuple(dict.fromkeys(problems))  # a shared area's mistake is told once


def _read(value: Any) -> tuple[Dataset | None, list[Problem]]:
    found = list(schema_problems(value))
    if found:
        return None, found
    try:
        dataset = Dataset.model_validate(value)
    except ValidationError as error:
        # The schema is made from the model, so this is rare: a rule that JSON Schema cannot express.
        return None, list(model_problems(error))
    return dataset, list(rule_problems(dataset))


def model_problems(error: ValidationError) -> Iterator[Problem]:
    """What a model found wrong beyond its schema."""
    for detail in error.errors(include_url=False, include_input=False):
        path: tuple[Any, ...] = detail["loc"]
        yield Problem(path, detail["msg"])
