"""Schedule expressions: which AWS takes, and when they are due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.schedules import InvalidSchedule, Schedule, schedule


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def said(instant: float | None) -> str | None:
    return None if instant is None else datetime.fromtimestamp(instant, UTC).isoformat()[:16]


NOON = at("2026-03-04T12:00:00")  # a Wednesday


@pytest.mark.parametrize(
    ("expression", "last", "following"),
    [
        ("cron(0/15 * * * ? *)", "2026-03-04T12:00", "2026-03-04T12:15"),
        ("cron(* * * * ? *)", "2026-03-04T12:00", "2026-03-04T12:01"),
        ("cron(0 8 ? * MON-FRI *)", "2026-03-04T08:00", "2026-03-05T08:00"),
        ("cron(0/5 8-17 ? * MON-FRI *)", "2026-03-04T12:00", "2026-03-04T12:05"),
        ("cron(0 2 ? * SAT#3 *)", "2026-02-21T02:00", "2026-03-21T02:00"),
        ("cron(* * ? * SAT#3 *)", "2026-02-21T23:59", "2026-03-21T00:00"),
        ("cron(15 10 ? * 6L 2002-2005)", "2005-12-30T10:15", None),
        ("cron(15 10 ? * 6L 2027)", None, "2027-01-29T10:15"),
        ("cron(0/5 5 ? JAN 1-5 2022)", "2022-01-31T05:55", None),
        ("cron(0 0 L * ? *)", "2026-02-28T00:00", "2026-03-31T00:00"),
        ("cron(0 0 LW * ? *)", "2026-02-27T00:00", "2026-03-31T00:00"),
        ("cron(0 0 1W 2,8 ? *)", "2026-02-02T00:00", "2026-08-03T00:00"),
        ("cron(0 0 15W * ? *)", "2026-02-16T00:00", "2026-03-16T00:00"),
        ("cron(0 0 14W * ? *)", "2026-02-13T00:00", "2026-03-13T00:00"),
        ("cron(0 0 31W * ? *)", "2026-01-30T00:00", "2026-03-31T00:00"),
        ("cron(0 0 31W 5 ? *)", "2025-05-30T00:00", "2026-05-29T00:00"),
        ("cron(0 0 ? * L *)", "2026-02-28T00:00", "2026-03-07T00:00"),
        ("cron(0 0 ? * SUN,3 *)", "2026-03-03T00:00", "2026-03-08T00:00"),
        ("cron(0 0 29 2 ? *)", "2024-02-29T00:00", "2028-02-29T00:00"),
        ("cron(59 23 31 12 ? 2199)", None, "2199-12-31T23:59"),
        ("cron(*/20 0-4/2 1 1 ? 2026)", "2026-01-01T04:40", None),
        ("at(2026-03-04T12:00:00)", "2026-03-04T12:00", None),
        ("at(2026-03-04T12:00:01)", None, "2026-03-04T12:00"),
        ("rate(1 minute)", "2026-03-04T12:00", "2026-03-04T12:01"),
        ("rate(7 days)", "2026-02-26T00:00", "2026-03-05T00:00"),
    ],
)
def test_when_it_is_due(expression: str, last: str | None, following: str | None) -> None:
    found = schedule(expression)
    assert said(found.last(NOON)) == last
    assert said(found.next(NOON)) == following


def test_a_rate_counts_from_its_beginning() -> None:
    hourly = schedule("rate(1 hour)", since=NOON)
    assert hourly.last(NOON + 3599) is None
    assert hourly.next(NOON - 86400) == hourly.next(NOON) == NOON + 3600
    assert hourly.last(NOON + 7300) == NOON + 7200


@pytest.mark.parametrize(
    "expression",
    [
        *("INVALID", "", "cron", "cron()", "rate()", "at()", "cron(0 1 * * ? *) ", " cron(0 1 * * ? *)"),
        *("cron(0 1 * * * *)", "cron(0 1 ? * ? *)", "cron(71 8 1 * ? *)", "cron(7 20 * * NOT *)"),
        *("cron(0 dummy ? * MON-FRI *)", "cron(0 1 * * ?)", "cron(0  1 * * ? *)", "cron(5-1 1 * * ? *)"),
        *("cron(0/0 1 * * ? *)", "cron(0 24 * * ? *)", "cron(0 1 0 * ? *)", "cron(0 1 32W * ? *)"),
        *("cron(0 1 ? * 8 *)", "cron(0 1 ? * MON#6 *)", "cron(0 1 * * ? 1969)", "cron(0 1 ? * 9L *)"),
        *("cron(1, 1 * * ? *)", "cron(\u0661 1 * * ? *)"),
        *("rate(10 seconds)", "rate(10 years)", "rate(1 minutes)", "rate(10 minute)", "rate(10)"),
        *("rate(foo minutes)", "rate(0 minutes)", "rate(-10 minutes)", "rate(10 MINUTES)"),
        *("rate( 10 minutes)", "rate(10  minutes)", "at(2026-02-30T00:00:00)", "at(2026-03-04)"),
    ],
)
def test_what_is_not_valid(expression: str) -> None:
    with pytest.raises(InvalidSchedule, match=r"^Parameter ScheduleExpression is not valid\."):
        schedule(expression)


FIELDS = {
    "minutes": st.sampled_from(["0", "*", "0/15", "10-20", "59"]),
    "hours": st.sampled_from(["*", "0", "8-17", "23"]),
    "days": st.sampled_from(["* * ?", "L * ?", "15W * ?", "1 2-4 ?", "? * MON-FRI", "? * 6L", "? * SAT#3"]),
}
CRONS = st.builds("cron({minutes} {hours} {days} *)".format, **FIELDS)
SCHEDULES = (CRONS | st.sampled_from(["rate(5 minutes)", "rate(1 day)", "at(2026-01-01T00:00:00)"])).map(
    schedule
)


@given(SCHEDULES, st.floats(at("2020-01-01"), at("2030-01-01")))
def test_no_instant_lies_between_the_last_and_the_next(found: Schedule, moment: float) -> None:
    last, following = found.last(moment), found.next(moment)
    if last is not None:
        assert last <= moment
        assert found.last(last) == last
        assert found.next(last) == following
    if following is not None:
        assert following > moment
        assert found.last(following) == following
        assert found.last(following - 0.5) == last


def test_times_beyond_all_years_are_no_error() -> None:
    daily = schedule("cron(0 0 * * ? *)")
    assert daily.last(-1e12) is None
    assert said(daily.next(-1e12)) == "1970-01-01T00:00"
    assert said(daily.last(1e12)) == "2199-12-31T00:00"
    assert daily.next(1e12) is None
