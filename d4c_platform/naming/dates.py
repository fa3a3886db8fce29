"""ISO 8601 dates of any precision, as they stand in a name, and their order.

Read: year, month, day, week, week day, ordinal day, and date-times down to the second. A date-time may be written with
colons or all-basic; it is written back with a hyphenated date and a colon-free time (`2026-02-11T195058Z`), because a colon
cannot stand in a file name everywhere. The only zone is `Z`: a `+` does not survive in URLs.

Not read: all-basic dates without a time. `18100204` is a Statistics Canada product id, not the 4th of February 1810.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum

# A bare number is a year only in this range: `1000` after a date is a variant, and no data we publish is older.
FIRST_YEAR, LAST_YEAR = 1500, 2199

_DATE = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?:W(?P<week>[0-9]{2})(?:-(?P<weekday>[1-7]))?|(?P<ordinal>[0-9]{3})|"
    r"(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?))?",
    re.ASCII,
)
_BASIC_DAY = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})", re.ASCII)
_TIME = re.compile(
    r"(?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2}))?)?"
    r"Z?",
    re.ASCII,
)
_DATE_LIKE = re.compile(
    r"[0-9]{4}-[0-9]{1,2}(-[0-9]{1,2})?|[0-9]{4}-[Ww][0-9]{1,2}(-[0-9])?|[0-9-]{8,10}[Tt][0-9:]{2,}.*", re.ASCII
)


class Precision(IntEnum):
    """How much of a date is said; a coarser date sorts before a finer one that starts at the same instant."""

    YEAR = 1
    MONTH = 2
    WEEK = 3
    DAY = 4
    HOUR = 5
    MINUTE = 6
    SECOND = 7


@dataclass(frozen=True, slots=True, order=True)
class Vintage:
    """A date of some precision.

    Attributes:
        start: the first instant it covers, in UTC (a date-time without a zone is read as UTC: only the order needs it).
        precision: how much was said.
        text: the canonical spelling.
    """

    start: datetime
    precision: Precision
    text: str


def read_date(text: str) -> Vintage | None:
    """The date that a text says, or None when it is not one."""
    day_text, has_time, time_text = text.upper().partition("T") if re.match(r"[0-9-]{8,10}[Tt]", text) else (text, "", "")
    if has_time and (basic := _BASIC_DAY.fullmatch(day_text)):
        day_text = "-".join(basic.groups())
    day = _read_day(day_text)
    if day is None or not has_time:
        return day
    return _read_time(day, time_text) if day.precision is Precision.DAY else None


def looks_like_date(text: str) -> bool:
    """Whether a person meant a date, right or wrong: worth an error of its own."""
    return _DATE_LIKE.fullmatch(text) is not None


def _read_day(text: str) -> Vintage | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year = int(found["year"])
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        if found["week"]:
            start = date.fromisocalendar(year, int(found["week"]), int(found["weekday"] or 1))
            precision = Precision.DAY if found["weekday"] else Precision.WEEK
        elif found["ordinal"]:
            start = date(year, 1, 1) + timedelta(days=int(found["ordinal"]) - 1)
            if start.year != year:
                return None
            precision = Precision.DAY
        else:
            start = date(year, int(found["month"] or 1), int(found["day"] or 1))
            precision = Precision.DAY if found["day"] else Precision.MONTH if found["month"] else Precision.YEAR
    except ValueError:
        return None
    return Vintage(datetime(start.year, start.month, start.day, tzinfo=UTC), precision, text)


def _read_time(day: Vintage, text: str) -> Vintage | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    try:
        start = day.start.replace(hour=int(found["hour"]), minute=int(found["minute"] or 0), second=int(found["second"] or 0))
    except ValueError:
        return None
    precision = Precision.SECOND if found["second"] else Precision.MINUTE if found["minute"] else Precision.HOUR
    return Vintage(start, precision, f"{day.text}T{text.replace(':', '')}")
