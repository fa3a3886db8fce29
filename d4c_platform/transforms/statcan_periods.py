"""What a REF_DATE says: the period's first and last day, when the text – or the table's metadata – states them.

`2024`, `2024-03` and `2024-03-15` name a year, a month and a day; `2024-Q1` a quarter. In a table whose metadata says
*quarterly*, `2024-04` is the quarter that begins there. A range such as `2023/2024` is a fiscal, school or crop year whose
first day the file does not tell: its bounds stay null and are counted, never guessed (table 17-10-0022 runs July to June).
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

QUARTERLY = 9  # Statistics Canada's frequency code
_QUARTER_STARTS = (1, 4, 7, 10)

_YEAR = re.compile(r"(\d{4})", re.ASCII)
_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_QUARTER = re.compile(r"(\d{4})-?Q([1-4])", re.ASCII)


class Frequency(StrEnum):
    """How long the named period is; the letters of SDMX's code list, the same in both languages."""

    YEAR = "A"
    QUARTER = "Q"
    MONTH = "M"
    DAY = "D"


@dataclass(frozen=True, slots=True)
class Period:
    """A reference period: both bounds inclusive. All None when the text does not state them."""

    start: date | None = None
    end: date | None = None
    frequency: Frequency | None = None


UNKNOWN = Period()


def period_of(text: str, *, quarterly: bool = False) -> Period:
    """The period a REF_DATE names.

    Args:
        quarterly: the table's metadata says its periods are quarters and every one of its months begins one.
    """
    try:
        return _read(text, quarterly=quarterly)
    except ValueError:  # a month 13, a 30 February, a year 0
        return UNKNOWN


def are_quarters(texts: list[str], frequency_code: int | None) -> bool:
    """Whether months stand for quarters: the metadata says quarterly, and no month contradicts it."""
    months = [m for m in map(_MONTH.fullmatch, texts) if m]
    return frequency_code == QUARTERLY and bool(months) and all(int(m[2]) in _QUARTER_STARTS for m in months)


def _read(text: str, *, quarterly: bool) -> Period:
    if m := _YEAR.fullmatch(text):
        year = int(m[1])
        return Period(date(year, 1, 1), date(year, 12, 31), Frequency.YEAR)
    if m := _MONTH.fullmatch(text):
        year, month = int(m[1]), int(m[2])
        if quarterly and month in _QUARTER_STARTS:
            return _months(year, month, 3, Frequency.QUARTER)
        return _months(year, month, 1, Frequency.MONTH)
    if m := _DAY.fullmatch(text):
        day = date(int(m[1]), int(m[2]), int(m[3]))
        return Period(day, day, Frequency.DAY)
    if m := _QUARTER.fullmatch(text):
        return _months(int(m[1]), 3 * int(m[2]) - 2, 3, Frequency.QUARTER)
    return UNKNOWN


def _months(year: int, month: int, count: int, frequency: Frequency) -> Period:
    last = month + count - 1
    start = date(year, month, 1)
    return Period(start, date(year, last, monthrange(year, last)[1]), frequency)
