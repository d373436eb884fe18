"""Schedule expressions of EventBridge: `cron(...)`, `rate(...)` and `at(...)`, in UTC. Pure."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_FIRST_YEAR, _LAST_YEAR = 1970, 2199

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), 1
    )
}
_DAYS: Final = {
    name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)
}
_UNITS: Final = {"minute": 60, "hour": 3600, "day": 86400}


class InvalidSchedule(ValueError):
    """On AWS a ValidationException: `Parameter ScheduleExpression is not valid.`"""

    def __init__(self, expression: str, problem: str) -> None:
        super().__init__(f"Parameter ScheduleExpression is not valid. {expression!r}: {problem}")


class Schedule(Protocol):
    """Instants, in epoch seconds."""

    def last(self, at: float) -> float | None:
        """The last one up to that time, which it may be itself; None where there was none."""

    def next(self, after: float) -> float | None:
        """The first one after that time; None where there is none."""


def schedule(expression: str, since: float = 0.0) -> Schedule:
    """What an expression says; a rate counts from `since`. Raises InvalidSchedule.

    The rules are those of the EventBridge user guide: eb-scheduled-rule-pattern, and EventBridge Scheduler's
    `at`.
    """
    form = re.fullmatch(r"(cron|rate|at)\((.*)\)", expression, re.ASCII)
    if form is None:
        raise InvalidSchedule(expression, "it is none of cron(...), rate(...) and at(...)")
    kind, text = form.groups()
    try:
        match kind:
            case "cron":
                return _cron(text)
            case "rate":
                return _rate(text, since)
            case _:
                return _at(text)
    except ValueError as error:
        raise InvalidSchedule(expression, str(error)) from error


@dataclass(frozen=True, slots=True)
class Once:
    """One instant."""

    instant: float

    def last(self, at: float) -> float | None:
        return self.instant if self.instant <= at else None

    def next(self, after: float) -> float | None:
        return self.instant if self.instant > after else None


@dataclass(frozen=True, slots=True)
class Rate:
    """Every so many seconds, the first time when as many have passed."""

    seconds: int
    since: float

    def last(self, at: float) -> float | None:
        passed = (at - self.since) // self.seconds
        return self.since + passed * self.seconds if passed >= 1 else None

    def next(self, after: float) -> float | None:
        passed = (after - self.since) // self.seconds
        return self.since + max(1.0, passed + 1) * self.seconds


@dataclass(frozen=True, slots=True)
class Cron:
    """Minutes of days."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    day: Callable[[date], bool]
    months: frozenset[int]
    years: frozenset[int]

    def last(self, at: float) -> float | None:
        times = [(hour, minute) for hour in reversed(self.hours) for minute in reversed(self.minutes)]
        instants = self._instants(at, -1, times)
        return next((instant for instant in instants if instant <= at), None)

    def next(self, after: float) -> float | None:
        times = [(hour, minute) for hour in self.hours for minute in self.minutes]
        return next((instant for instant in self._instants(after, 1, times) if instant > after), None)

    def _instants(self, start: float, step: int, times: list[tuple[int, int]]) -> Iterator[float]:
        """All of them from the day of `start` on, forwards or backwards."""
        for day in self._days(_day(start), step):
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
            for hour, minute in times:
                yield midnight + hour * 3600 + minute * 60

    def _days(self, start: date, step: int) -> Iterator[date]:
        index, first = start.year * 12 + start.month - 1, start.day
        while _FIRST_YEAR <= index // 12 <= _LAST_YEAR:
            year, month = index // 12, index % 12 + 1
            if year in self.years and month in self.months:
                length = monthrange(year, month)[1]
                begin = first or (1 if step > 0 else length)
                end = length + 1 if step > 0 else 0
                for number in range(begin, end, step):
                    day = date(year, month, number)
                    if self.day(day):
                        yield day
            index, first = index + step, 0


def _day(at: float) -> date:
    """The day of an instant, or the nearest one that expressions know."""
    first = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()
    last = datetime(_LAST_YEAR, 12, 31, tzinfo=UTC).timestamp()
    return datetime.fromtimestamp(min(max(at, first), last), UTC).date()


def _at(text: str) -> Once:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text, re.ASCII):
        raise ValueError("write at(yyyy-mm-ddThh:mm:ss)")
    return Once(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _rate(text: str, since: float) -> Rate:
    form = re.fullmatch(r"(\d+) (minute|hour|day)(s?)", text, re.ASCII)
    if form is None:
        raise ValueError("write a number and minutes, hours or days")
    number, unit, plural = int(form[1]), form[2], bool(form[3])
    if number < 1:
        raise ValueError("the number must be at least 1")
    if plural is (number == 1):
        raise ValueError("the unit is singular for 1, and plural else")
    return Rate(number * _UNITS[unit], since)


def _cron(text: str) -> Cron:
    fields = text.split(" ")
    if len(fields) != 6:
        raise ValueError(f"it has {len(fields)} fields, not 6")
    minutes, hours, of_month, months, of_week, years = fields
    if (of_month == "?") is (of_week == "?"):
        raise ValueError("exactly one of day-of-month and day-of-week must be ?")
    return Cron(
        tuple(sorted(_numbers(minutes, 0, 59))),
        tuple(sorted(_numbers(hours, 0, 23))),
        _of_week(of_week) if of_month == "?" else _of_month(of_month),
        frozenset(_numbers(months, 1, 12, _MONTHS)),
        frozenset(_numbers(years, _FIRST_YEAR, _LAST_YEAR)),
    )


def _numbers(text: str, low: int, high: int, names: Mapping[str, int] | None = None) -> set[int]:
    """What a list of numbers, ranges and steps stands for."""
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin = _number(first, low, high, names)
            end = _number(last, low, high, names) if dash else high if slash else begin
        if end < begin:
            raise ValueError(f"{span} ends before it begins")
        found.update(range(begin, end + 1, _number(step, 1, high) if slash else 1))
    return found


def _number(text: str, low: int, high: int, names: Mapping[str, int] | None = None) -> int:
    if names and text in names:
        return names[text]
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not low <= int(text) <= high:
        raise ValueError(f"{text!r} is not among {low} to {high}")
    return int(text)


def _of_month(text: str) -> Callable[[date], bool]:
    if text == "L":
        return lambda day: day.day == _length(day)
    if text == "LW":
        return lambda day: day.day == _nearest_weekday(day, _length(day))
    if text.endswith("W"):
        wanted = _number(text[:-1], 1, 31)
        return lambda day: day.day == _nearest_weekday(day, wanted)
    days = _numbers(text, 1, 31)
    return lambda day: day.day in days


def _of_week(text: str) -> Callable[[date], bool]:
    number, hash_sign, nth = text.partition("#")
    if hash_sign:
        wanted, week = _number(number, 1, 7, _DAYS), _number(nth, 1, 5)
        return lambda day: _weekday(day) == wanted and (day.day + 6) // 7 == week
    if text != "L" and text.endswith("L"):
        last = _number(text[:-1], 1, 7, _DAYS)
        return lambda day: _weekday(day) == last and day.day + 7 > _length(day)
    days = {7} if text == "L" else _numbers(text, 1, 7, _DAYS)
    return lambda day: _weekday(day) in days


def _weekday(day: date) -> int:
    """1 for Sunday."""
    return day.isoweekday() % 7 + 1


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _nearest_weekday(day: date, wanted: int) -> int:
    """The working day of the month that is nearest to a day of it; 0 where the month has no such day."""
    if wanted > _length(day):
        return 0
    there = day.replace(day=wanted)
    if there.weekday() == 5:  # Saturday: Friday, in the same month.
        near = there + timedelta(days=-1 if wanted > 1 else 2)
    elif there.weekday() == 6:
        near = there + timedelta(days=1 if wanted < _length(day) else -2)
    else:
        near = there
    return near.day
