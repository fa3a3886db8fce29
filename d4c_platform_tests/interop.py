"""Programs that are not ours and not pip's: how a test asks for one."""

import os
import shutil
from pathlib import Path

import pytest

REQUIRED = os.environ.get("D4C_REQUIRE_INTEROP") == "1"


def require(program: str) -> Path:
    """The program's path. Without it the test is skipped with a reason, or fails where D4C_REQUIRE_INTEROP=1 promises it."""
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed"
        if REQUIRED:
            pytest.fail(f"{reason}, and D4C_REQUIRE_INTEROP=1 says that it must be")
        pytest.skip(reason)
    return Path(found)
