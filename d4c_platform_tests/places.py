"""Where things are for the tests: the project's root and the recorded real inputs beside it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT.parent / "shared" / "data"


def recorded(*parts: str) -> Path:
    """A recorded real input, read in place; the test is skipped, visibly, on a machine that does not have it."""
    path = RECORDED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"recorded input {'/'.join(parts)} is not on this machine")
    return path
