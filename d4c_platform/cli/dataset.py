"""`d4c dataset`: look at the declared datasets, and check declarations before they are used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from d4c_platform import datasets
from d4c_platform.datasets.problem import Problem
from d4c_platform.model.dataset import Dataset, FixedVintage
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.family import Family
from d4c_platform.settings import Settings

app = App(name="dataset", help="Look at and check the declared datasets.")

AsJson = Annotated[bool, Parameter(name="--json", negative=())]
Folder = Annotated[Path | None, Parameter(name="--folder", env_var="D4C_DATASETS", negative=())]


@app.command(name="list")
def list_datasets(*, folder: Folder = None, as_json: AsJson = False) -> int:
    """List the declared datasets, and the families that stand for many more.

    Args:
        folder: a folder of declarations; the packaged ones by default.
        as_json: print the declarations as a JSON list.
    """
    declared = datasets.load(folder)
    if as_json:
        _print_json([dataset.model_dump(mode="json") for dataset in declared.values()])
        return 0
    console = Console(highlight=False)
    for dataset in declared.values():
        # Ids are longer than a column of a table can be without breaking them, and people copy them.
        console.print(Text(dataset.id, style="bold"), soft_wrap=True)
        console.print(Text(f"  {dataset.title.en}\n  {dataset.title.fr}"), soft_wrap=True)
        facts = f"  {dataset.source.label}, vintage: {_vintage(dataset)}, version {dataset.version}\n"
        console.print(Text(facts, style="dim"), soft_wrap=True)
    for family in datasets.load_families(folder or datasets.PACKAGED).values():
        console.print(Text(f"family {family.family}", style="bold"), soft_wrap=True)
        console.print(Text(f"  {_expanded(family)}\n", style="dim"), soft_wrap=True)
    return 0


@app.command(name="show")
def show_dataset(dataset_id: str, /, *, folder: Folder = None, as_json: AsJson = False) -> int:
    """Show one declared dataset.

    Args:
        dataset_id: its id, as `d4c dataset list` prints it.
        folder: a folder of declarations; the packaged ones by default.
        as_json: print the declaration as JSON.
    """
    declared = datasets.load(folder)
    dataset = declared.get(dataset_id) or _of_a_family(dataset_id)
    if dataset is None:
        near = [known for known in declared if dataset_id.lower() in known.lower()]
        known = ", ".join(near or declared)
        raise PermanentFailure(
            "no such dataset is declared",
            where="datasets",
            dataset=dataset_id,
            remedy=f"{'Meant perhaps' if near else 'Declared are'}: {known}",
        )
    if as_json:
        _print_json(dataset.model_dump(mode="json"))
        return 0
    _show(Console(highlight=False), dataset)
    return 0


@app.command(name="validate")
def validate_declarations(*files: Path, as_json: AsJson = False) -> int:
    """Check declarations against the schema, the naming convention and each other. Exits 1 when any is not right.

    Args:
        files: declarations, or folders of them; the packaged ones by default.
        as_json: print `{"ok", "datasets", "families", "problems": [{file, line, field, what}]}`.
    """
    paths = [p for f in files or (datasets.PACKAGED,) for p in (_declarations_in(f) if f.is_dir() else [f])]
    declared, problems = datasets.check_files(dict.fromkeys(p for p in paths if not datasets.is_family(p)))
    families, found = datasets.check_families(dict.fromkeys(p for p in paths if datasets.is_family(p)))
    problems += found
    if as_json:
        _print_json(
            {
                "ok": not problems,
                "datasets": {str(file): dataset.id for file, dataset in declared.items()},
                "families": {str(file): family.family for file, family in families.items()},
                "problems": [_problem_as_data(problem) for problem in problems],
            }
        )
        return 1 if problems else 0
    console = Console(highlight=False)
    for file, dataset in declared.items():
        console.print(Text("ok   ", style="green").append(f"{file}: {dataset.id}", style="default"), soft_wrap=True)
    for file, family in families.items():
        words = f"{file}: family {family.family}"
        console.print(Text("ok   ", style="green").append(words, style="default"), soft_wrap=True)
    for problem in problems:
        place = f"{problem.file}:{problem.line}" if problem.line is not None else f"{problem.file}"
        field = f" {problem.field}:" if problem.field else ""
        console.print(
            Text("bad  ", style="bold red").append(f"{place}:{field} {problem.what}", style="default"), soft_wrap=True
        )
    return 1 if problems else 0


@app.command(name="schema")
def print_schema(*, family: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Print the JSON Schema that declarations are checked against.

    Args:
        family: that of families (`*.family.yaml`) instead.
    """
    _print_json(datasets.family_schema() if family else datasets.json_schema())
    return 0


def _declarations_in(folder: Path) -> list[Path]:
    return [*datasets.declarations_in(folder), *datasets.families_in(folder)]


def _of_a_family(dataset_id: str) -> Dataset | None:
    """The dataset of that id in the families that this installation follows, if there is one."""
    settings = Settings.read()
    if not settings.families:
        return None
    from d4c_platform.stages.platform import Platform

    with Platform(settings) as platform:
        return platform.datasets.get(dataset_id)


def _expanded(family: Family) -> str:
    """What a family comes to in this installation, as far as its environment tells."""
    settings = Settings.read()
    if family.family not in settings.families:
        return f"not followed here; D4C_FAMILIES='[\"{family.family}\"]' does"
    from d4c_platform.stages.platform import Platform  # only here: a reader's installation has no publishing libraries

    with Platform(settings) as platform:
        stored = platform.listing(family)
        if stored is None:
            return "followed; its list is not read yet: run the job refresh_families"
        made = len(datasets.Expansion(family, stored, platform.datasets.explicit.values()))
    left_out = f", {len(stored.left_out):,} left out" if stored.left_out else ""
    return f"{made:,} datasets of {len(stored.tables):,} tables{left_out}, as listed at {stored.listed_at:%Y-%m-%d %H:%M} UTC"


def _print_json(document: Any) -> None:
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    print()


def _problem_as_data(problem: Problem) -> dict[str, Any]:
    return {"file": str(problem.file), "line": problem.line, "field": problem.field, "what": problem.what}


def _vintage(dataset: Dataset) -> str:
    if isinstance(dataset.vintage, FixedVintage):
        return dataset.vintage.date
    return f"release {dataset.vintage.precision}"


def _show(console: Console, dataset: Dataset) -> None:
    console.print(Text(dataset.id, style="bold"), soft_wrap=True)
    facts = Table(box=box.SIMPLE_HEAD, show_header=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for label, value in (
        ("title", dataset.title.en),
        ("titre", dataset.title.fr),
        ("description", dataset.description.en),
        ("", dataset.description.fr),
        ("publisher", f"{dataset.publisher.en} / {dataset.publisher.fr}"),
        ("source", dataset.source.details),
        ("transform", dataset.transform.kind),
        ("vintage", _vintage(dataset)),
        ("version", dataset.version),
        ("licence", f"{dataset.licence.title.en}, {dataset.licence.url.en}"),
        ("attribution", dataset.licence.attribution.en),
        ("area", f"{dataset.area.name.en}, {dataset.area.dguid}"),
        ("mirrors", ", ".join(dataset.mirrors)),
    ):
        facts.add_row(label, Text(value))
    console.print(facts)
    columns = Table("column", "title", "titre", "type", box=box.SIMPLE_HEAD)
    for column in dataset.columns:
        key = " (key)" if column.name in dataset.key else ""
        columns.add_row(f"{column.name}{key}", column.title.en, column.title.fr, Text(column.type or ""))
    console.print(columns)
