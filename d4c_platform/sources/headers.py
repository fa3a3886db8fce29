"""What a server's headers say, read with care: a header that cannot be read says nothing.

Not here: which of them may be believed (http_file, body).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


def http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) if moment else None
    except (TypeError, ValueError, OverflowError):
        return None


def encoding(headers: Mapping[str, str]) -> str:
    """How the body is packed; empty when it is the file itself."""
    said = headers.get("Content-Encoding", "").strip().lower()
    return "" if said == "identity" else said
