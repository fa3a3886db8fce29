"""The sandbox's clock: which releases have been published "by now".

It stands at a fixed instant, so that a demo decides when the next release comes out; without one it is the machine's own
clock. It lives in a file, because the server that reads it may be killed and started again in the middle of a story.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

EASTERN = ZoneInfo("America/Toronto")  # Statistics Canada's release times are Eastern, whatever the season


class Clock:
    """A clock kept in one file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def fixed(self) -> bool:
        return self._file.exists()

    def now(self) -> datetime:
        """The instant it is in the sandbox, in Eastern time."""
        try:
            text = json.loads(self._file.read_text())["now"]
        except FileNotFoundError:
            return datetime.now(EASTERN)
        return datetime.fromisoformat(text).astimezone(EASTERN)

    def set(self, now: datetime | None) -> None:
        """Stand at an instant, or follow the machine's clock again."""
        if now is None:
            self._file.unlink(missing_ok=True)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_name(f".{self._file.name}")
        fresh.write_text(json.dumps({"now": now.astimezone(UTC).isoformat()}))
        fresh.replace(self._file)


def instant(text: str) -> datetime:
    """A point in time as people write it: with a zone, or Eastern without one. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=EASTERN)
