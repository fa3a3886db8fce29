"""What a REF_DATE says, and what it does not."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.transforms.statcan_periods import UNKNOWN, Frequency, Period, are_quarters, period_of


@pytest.mark.parametrize(
    ("text", "first", "last", "frequency"),
    [
        ("2021", date(2021, 1, 1), date(2021, 12, 31), "A"),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29), "M"),
        ("1981-05-04", date(1981, 5, 4), date(1981, 5, 4), "D"),
        ("2019-Q3", date(2019, 7, 1), date(2019, 9, 30), "Q"),
    ],
)
def test_a_period_has_the_days_its_text_states(text, first, last, frequency):
    assert period_of(text) == Period(first, last, Frequency(frequency))


@pytest.mark.parametrize("text", ["2023/2024", "2023-13", "2023-02-30", "0000", "", "Q1", " 2021", "2021\n", "٢٠٢١"])
def test_what_is_not_stated_is_never_guessed(text):
    assert period_of(text) == UNKNOWN


@given(st.dates())
def test_a_day_is_its_own_period(day):
    assert period_of(day.isoformat()) == Period(day, day, Frequency.DAY)


@given(st.integers(1, 9998), st.integers(1, 12))
def test_months_follow_each_other_without_a_gap(year, month):
    this = period_of(f"{year:04d}-{month:02d}")
    following = period_of(f"{year + month // 12:04d}-{month % 12 + 1:02d}")
    assert this.end + timedelta(days=1) == following.start


@given(st.text(max_size=12))
def test_any_text_has_both_bounds_in_order_or_none(text):
    period = period_of(text)
    assert (period.start is None) == (period.end is None) == (period.frequency is None)
    assert period.start is None or period.start <= period.end


def test_months_of_a_quarterly_table_are_quarters():
    assert are_quarters(["2020-01", "2020-04", "2020-10"], 9)
    assert period_of("2020-10", quarterly=True) == Period(date(2020, 10, 1), date(2020, 12, 31), Frequency.QUARTER)


def test_months_that_begin_no_quarter_stay_months_whatever_the_metadata_says():
    assert not are_quarters(["2020-03", "2020-06"], 9)
    assert not are_quarters(["2020-01", "2020-04"], 6)
