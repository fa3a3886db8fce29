"""`d4c version`: what an operator does to one version by hand."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from d4c_platform.settings import Settings
from d4c_platform.stages import withdrawal
from d4c_platform.stages.outstanding import outstanding
from d4c_platform.stages.platform import Platform

app = App(name="version", help="Withdraw a version; see what versions still miss.")


@app.command
def withdraw(version: str, *, reason: str) -> None:
    """Take a version back: it is no longer the latest nor in the catalog. Copies and DOI stay where they are.

    Args:
        version: the version id.
        reason: why, for whoever asks later.
    """
    with Platform(Settings.read()) as platform:
        done = withdrawal.withdraw(platform, version, reason)
    Console(soft_wrap=True, highlight=False, markup=False).print(f"{version}: withdrawn: {done.reason}")


@app.command(name="outstanding")
def outstanding_(*, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """List what noticed versions still miss; exit code 1 when something is."""
    with Platform(Settings.read()) as platform:
        found = outstanding(platform)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if as_json:
        rows = [{"version": m.version_id, "missing": m.stretch.value} for m in found.missing]
        console.print_json(data={"missing": rows, "failures": list(found.failures)})
    else:
        for m in found.missing:
            console.print(f"{m.version_id}  {m.stretch.value}")
        for failure in found.failures:
            console.print(f"could not be read: {failure}")
        if not found.missing and not found.failures:
            console.print(f"Nothing: {len(found.versions)} versions are complete.")
    return 1 if found.missing or found.failures else 0
