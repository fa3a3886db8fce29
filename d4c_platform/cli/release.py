"""`d4c release`: what an operator does to one release by hand."""

from __future__ import annotations

from cyclopts import App
from rich.console import Console

from d4c_platform.settings import Settings
from d4c_platform.stages import withdrawal
from d4c_platform.stages.platform import Platform

app = App(name="release", help="Fetch a release again after its publisher has repaired it.")


@app.command
def refetch(version: str) -> None:
    """Fetch the release of an unpublished version again; then materialize the version once more.

    Args:
        version: the version id.
    """
    with Platform(Settings.read()) as platform:
        release = withdrawal.refetch(platform, version)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for file in release.files:
        console.print(f"{file.key}  {file.bytes:,} bytes, sha256 {file.sha256}")
