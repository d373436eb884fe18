"""How many environments are kept initialised: a number, by schedule, or following what is in use. Pure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamfn.core.admission import InvalidConcurrency

if TYPE_CHECKING:
    from streamfn.core.schedules import Schedule


@dataclass(frozen=True, slots=True)
class ScheduledNumber:
    """A number that holds from each instant of a schedule on, until another one's comes."""

    schedule: Schedule
    number: int

    def __post_init__(self) -> None:
        _not_negative(self.number)


@dataclass(frozen=True, slots=True)
class TargetTracking:
    """Keeps as many that the share in use is near the target (Application Auto Scaling:
    LambdaProvisionedConcurrencyUtilization). Raises InvalidConcurrency.
    """

    maximum: int
    target: float = 0.7
    scale_in_after: float = 900.0
    """Seconds for which fewer must have been enough before there are fewer."""

    def __post_init__(self) -> None:
        _not_negative(self.maximum)
        if not 0.1 <= self.target <= 0.9:
            raise InvalidConcurrency(f"the target of utilisation is {self.target}, not among 0.1 to 0.9")


@dataclass(frozen=True, slots=True)
class Provisioning:
    """What one version or alias of a function asks for. Raises InvalidConcurrency."""

    number: int = 0
    """What holds where no schedule says another; with `tracking` the least there are."""
    schedule: tuple[ScheduledNumber, ...] = ()
    tracking: TargetTracking | None = None

    def __post_init__(self) -> None:
        _not_negative(self.number)

    @property
    def most(self) -> int:
        """The largest number that it can ever ask for."""
        numbers = (self.number, *(one.number for one in self.schedule))
        return max(*numbers, self.tracking.maximum if self.tracking else 0)

    def scheduled(self, at: float) -> int:
        """The number at a time, in epoch seconds: of two that begin together, that of the later entry."""
        number, since = self.number, -math.inf
        for one in self.schedule:
            last = one.schedule.last(at)
            if last is not None and last >= since:
                number, since = one.number, last
        return number

    def changes_at(self, after: float) -> float | None:
        """When a schedule speaks next; None where none does."""
        instants = (one.schedule.next(after) for one in self.schedule)
        return min((instant for instant in instants if instant is not None), default=None)


class Tracker:
    """The number over time. Times are passed in, and do not go back."""

    def __init__(self, provisioning: Provisioning) -> None:
        self._provisioning = provisioning
        self._needed: deque[tuple[float, int]] = deque()
        """When how many were needed; each more than those after it."""

    def number(self, in_use: int, at: float) -> int:
        """How many there are to be, where so many were in use at a time since this was asked last."""
        least, tracking = self._provisioning.scheduled(at), self._provisioning.tracking
        if tracking is None:
            return least
        # A little less, for 0.7 is not quite 0.7: seven of ten are not to make it eleven.
        needed = math.ceil(in_use / tracking.target - 1e-9)
        while self._needed and self._needed[-1][1] <= needed:
            self._needed.pop()
        self._needed.append((at, needed))
        while self._needed[0][0] <= at - tracking.scale_in_after:
            self._needed.popleft()
        return max(least, min(tracking.maximum, self._needed[0][1]))


def _not_negative(number: int) -> None:
    if number < 0:
        raise InvalidConcurrency(f"ProvisionedConcurrentExecutions is {number}, which is less than 0")
