"""`d4c demo`: the main job end to end in the sandbox."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from d4c_platform.demo.run import demo as run

app = App(name="demo", help="Show the main job end to end: releases, versions, DOI, torrent, then the portal dies.")


@app.default
def demo(
    *,
    releases: Path | None = None,
    live: bool = False,
    keep: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Run everything in a sandbox on this machine and verify it from outside.

    Parameters
    ----------
    releases
        A folder of recorded real releases to publish instead of the small ones that are shipped.
    live
        Ask the real Statistics Canada service for its releases; mirrors and DOIs stay in the sandbox.
    keep
        Work in this folder and leave everything there for a look.
    as_json
        Print the table as JSON on standard output; progress stays on standard error.
    """
    err = Console(stderr=True, highlight=False)
    with err.status("starting") as status:

        def progress(sentence: str) -> None:
            status.update(sentence)
            err.print(f"[dim]·[/] {sentence}", soft_wrap=True)

        report = run(releases=releases, live=live, keep=keep, progress=progress)
    if as_json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        # Without a terminal rich assumes 80 columns, which breaks every id; a log can take more.
        Console(width=None if sys.stdout.isatty() else 140).print(report.as_table())
    return 0 if report.ok else 1
