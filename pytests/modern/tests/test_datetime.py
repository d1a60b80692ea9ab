"""Dates, times, zones and durations."""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import modern
import pytest

PLUS_TWO = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    "delta",
    [timedelta(0), timedelta(days=-1, microseconds=1), timedelta(weeks=52, milliseconds=1.5)],
    ids=["zero", "below zero", "a year"],
)
def test_elapsed(delta: timedelta) -> None:
    assert modern.elapsed(delta) == delta.total_seconds()


@pytest.mark.parametrize("zone", [None, UTC, PLUS_TWO], ids=str)
def test_midnight(zone: tzinfo | None) -> None:
    assert modern.midnight(date(2024, 2, 29), zone) == datetime(2024, 2, 29, tzinfo=zone)


@pytest.mark.parametrize(
    "day, days, result",
    [
        (date(2024, 2, 28), 1, date(2024, 2, 29)),
        (date(2023, 2, 28), 1, date(2023, 3, 1)),
        (date(2024, 1, 1), -1, date(2023, 12, 31)),
    ],
    ids=["leap year", "no leap year", "back"],
)
def test_add_days(day: date, days: int, result: date) -> None:
    assert modern.add_days(day, days) == result


def test_add_days_past_the_end_of_time() -> None:
    with pytest.raises(OverflowError):
        modern.add_days(date.max, 1)


def test_as_utc() -> None:
    assert modern.as_utc(datetime(2024, 1, 1, 1, tzinfo=PLUS_TWO)).isoformat() == "2023-12-31T23:00:00+00:00"
    with pytest.raises(ValueError, match="naive"):
        modern.as_utc(datetime(2024, 1, 1))


def test_span_keeps_microseconds() -> None:
    begin = datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    end = datetime(2024, 5, 17, 12, 30, 0, 123456, tzinfo=PLUS_TWO)
    assert modern.span(begin, end) == end - begin
    with pytest.raises(ValueError, match="before it begins"):
        modern.span(end, begin)
