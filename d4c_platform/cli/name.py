"""`d4c name`: read names of the D4C file naming convention, and say what is wrong with those that are none."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from d4c_platform.naming import BadName, Name, parse

app = App(name="name", help="Parse and check names of the D4C file naming convention.")


@app.command(name="parse")
def parse_names(
    *names: Annotated[str, Parameter(required=True, negative=(), allow_leading_hyphen=True)],
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Read names into their parts. Exits 1 when any of them is not a D4C name.

    Args:
        names: file names, version ids or dataset ids; `-` reads one a line from standard input.
        as_json: print a JSON list, one object a name: `{input, ok, canonical, …parts}` or `{input, ok, error}`.
    """
    texts = [text for name in names for text in (sys.stdin.read().splitlines() if name == "-" else [name])]
    answers = [(text, *_read(text)) for text in texts]
    if as_json:
        json.dump([_as_data(text, name, error) for text, name, error in answers], sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        console = Console(highlight=False)
        for text, name, error in answers:
            if error is not None:
                _show_error(console, error)
            else:
                assert name is not None
                _show(console, text, name)
    return 1 if any(error is not None for _, _, error in answers) else 0


def _read(text: str) -> tuple[Name | None, BadName | None]:
    try:
        return parse(text), None
    except BadName as error:
        return None, error


def _as_data(text: str, name: Name | None, error: BadName | None) -> dict[str, Any]:
    if error is not None:
        return {
            "input": text,
            "ok": False,
            "error": {
                "segment": str(error.segment),
                "part": error.part,
                "start": error.start,
                "end": error.end,
                "reason": error.reason,
                "suggestion": error.suggestion,
            },
        }
    assert name is not None
    return {
        "input": text,
        "ok": True,
        "canonical": str(name),
        "region": name.region,
        "source": name.source,
        "dguid": name.dguid,
        "package": name.package,
        "name": list(name.name),
        "date": name.date,
        "variant": list(name.variant),
        "version": str(name.version) if name.version is not None else None,
        "ext": name.ext,
    }


def _show(console: Console, text: str, name: Name) -> None:
    console.print(Text(text, style="bold green"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    data = _as_data(text, name, None)
    if data["canonical"] != text:
        table.add_row("canonical", data["canonical"])
    for part in ("region", "source", "dguid", "package", "name", "date", "variant", "version", "ext"):
        value = data[part]
        table.add_row(part, "_".join(value) if isinstance(value, list) else value or "")
    console.print(table)


def _show_error(console: Console, error: BadName) -> None:
    text, carets = error.caret().split("\n")
    console.print(Text("not a D4C name: ", style="bold red").append(error.sentence(), style="default"), soft_wrap=True)
    # Not wrapped: the carets stand under their part only as long as both lines stay whole.
    console.print(Text(f"  {text}"), soft_wrap=True)
    console.print(Text(f"  {carets}", style="red"), soft_wrap=True)
    console.print()
