"""The `d4c` command: `d4c <noun> <verb>`, one module a noun.

Exit codes: 0 it is so; 1 it is not, or it failed and the same call will fail again; 2 the call's words are off; 75 it failed
in a way that can pass (EX_TEMPFAIL of sysexits.h): try again later. `d4c version rebuild --verify` says more with 3 (the same
values in other bytes) and 4 (other values).

A noun whose extra is not installed still shows in the help and says which extra it needs, so that reading names, declarations
and the catalog works without Dagster.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from d4c_platform import __version__
from d4c_platform.model.errors import D4CError, TransientFailure

EX_FAILURE = 1
EX_TEMPFAIL = 75

NOUNS = {
    "name": "Parse and check names of the D4C file naming convention.",
    "dataset": "Look at and check the declared datasets.",
    "catalog": "Read the one catalog of all versions.",
    "version": "Build a version again, overrule its number, withdraw one, see what is missing.",
    "release": "Fetch a release again after its publisher has repaired it.",
    "mirror": "Discard an unpublished draft on a mirror.",
    "sandbox": "Run a whole Data for Canada on this machine.",
    "demo": "Show the main job end to end in the sandbox.",
    "dev": "Open the Dagster UI on a sandbox.",
}


def build(noun: str | None = None) -> App:
    """The root command. Only the noun that is asked for is loaded: `d4c name` must not wait for Dagster."""
    app = App(name="d4c", help="Data for Canada's publishing platform.", version=__version__, result_action="return_value")
    for name, summary in NOUNS.items():
        app.command(_load(name, summary) if name == noun else App(name=name, help=summary))
    return app


def _load(noun: str, summary: str) -> App:
    try:
        loaded: App = importlib.import_module(f"d4c_platform.cli.{noun}").app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "d4c_platform":
            raise
        return _needs_an_extra(noun, summary, error.name)
    return loaded


def _needs_an_extra(noun: str, summary: str, module: str) -> App:
    missing = App(name=noun, help=f"{summary} (Not installed: needs {module}.)")

    @missing.default
    def explain(*_: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> None:
        extra = "node" if module == "libtorrent" else "sandbox"
        raise SystemExit(f"d4c {noun} needs {module}. Install it with: pip install 'd4c-platform[{extra}]'")

    return missing


def main() -> None:
    """Run the command line; failures become sentences on stderr and exit codes that mean something."""
    try:
        result = build(next((word for word in sys.argv[1:] if not word.startswith("-")), None))()
    except D4CError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error[/] {_escape(str(error))}")
        sys.exit(EX_TEMPFAIL if isinstance(error, TransientFailure) else EX_FAILURE)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
