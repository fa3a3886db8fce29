"""`d4c mirror`: what an operator does on one mirror by hand."""

from __future__ import annotations

from cyclopts import App
from rich.console import Console

from d4c_platform.model.dataset import MirrorName
from d4c_platform.settings import Settings
from d4c_platform.stages import withdrawal
from d4c_platform.stages.platform import Platform

app = App(name="mirror", help="Discard an unpublished draft on a mirror.")


@app.command
def discard(mirror: MirrorName, version: str) -> None:
    """Delete a version's draft, if it is not published. The next run begins a new one.

    Args:
        mirror: the mirror that has drafts: zenodo.
        version: the version id.
    """
    with Platform(Settings.read()) as platform:
        withdrawal.discard_draft(platform, mirror, version)
    Console(soft_wrap=True, highlight=False, markup=False).print(f"{mirror.value}: {version}: the draft is gone.")
