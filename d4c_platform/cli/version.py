"""`d4c version`: what an operator does to one version by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from d4c_platform.model.records import Bump
from d4c_platform.settings import Settings
from d4c_platform.stages import withdrawal
from d4c_platform.stages.outstanding import outstanding
from d4c_platform.stages.override import override as override_version
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.rebuild import Outcome, Rebuilt
from d4c_platform.stages.rebuild import rebuild as rebuild_version

app = App(name="version", help="Build a version again, overrule its number, withdraw one, see what is missing.")

EXIT_CODES = {Outcome.IDENTICAL: 0, Outcome.SAME_VALUES: 3, Outcome.OTHER_VALUES: 4}
"""Of `rebuild --verify`. What could not be rebuilt at all ends in the codes of every command (cli)."""


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


@app.command
def override(version: str, *, bump: Bump, reason: str) -> None:
    """Say how much a version changes when the derived bump is wrong; then materialize it once more.

    The word and its reason stand in the version's changelog and manifest, beside what was derived. Values that equal the
    version before become a version too, then.

    Args:
        version: the id of a version that is not built yet.
        bump: what its change counts as.
        reason: why, for whoever reads the changelog.
    """
    with Platform(Settings.read()) as platform:
        done = override_version(platform, version, bump, reason)
    told = f"{version}: counts as {done.override.bump}: {done.override.reason}. Now materialize its partition again."
    Console(soft_wrap=True, highlight=False, markup=False).print(told)


@app.command
def rebuild(
    version: str,
    *,
    verify: Annotated[bool, Parameter(negative="")] = False,
    to: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Build a version again from the archived sources, with the declaration and the source hashes of its manifest.

    With --verify it exits with 0 when the bytes are identical, with 3 when the values are the same in other bytes, and with
    4 when the values differ; then it names what differs from the manifest. Nothing is published or recorded.

    Args:
        version: the version id.
        verify: compare the bytes and the logical hash with what is recorded.
        to: a folder to leave the file in. Without --verify it is the current one.
        as_json: print the comparison as JSON.
    """
    with Platform(Settings.read()) as platform:
        rebuilt = rebuild_version(platform, version, to if verify else to or Path.cwd())
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if as_json:
        console.print_json(data=_said(rebuilt, verify=verify))
    else:
        if rebuilt.path is not None:
            console.print(f"{rebuilt.path}: {rebuilt.rows:,} rows, sha256 {rebuilt.sha256}")
        if verify:
            console.print(f"{version}: {rebuilt.sentence()}")
    return EXIT_CODES[rebuilt.outcome] if verify else 0


def _said(rebuilt: Rebuilt, *, verify: bool) -> dict[str, Any]:
    made = {"version": rebuilt.version_id, "rows": rebuilt.rows, "bytes": rebuilt.bytes}
    made |= {"sha256": rebuilt.sha256, "logical_hash": rebuilt.logical_hash}
    if rebuilt.path is not None:
        made["file"] = str(rebuilt.path)
    if not verify:
        return made
    recorded = {"sha256": rebuilt.recorded.digests.sha256, "logical_hash": rebuilt.recorded.logical_hash}
    differs = [{"what": d.what, "then": d.then, "now": d.now} for d in rebuilt.differs]
    return made | {
        "outcome": rebuilt.outcome.value,
        "recorded": recorded,
        "differs": differs,
        "beside": {b.recorded.file: b.outcome.value for b in rebuilt.beside},
        "sentence": rebuilt.sentence(),
    }


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
