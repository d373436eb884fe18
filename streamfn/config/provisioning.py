"""How many environments of a version are kept initialised: a number, by schedule, or following their use."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from streamfn.config.aws import SPELLING
from streamfn.config.errors import wrong
from streamfn.config.fields import Seconds, Whole
from streamfn.core.admission import InvalidConcurrency
from streamfn.core.provisioning import Provisioning, ScheduledNumber, TargetTracking
from streamfn.core.schedules import InvalidSchedule, Schedule, schedule

_Number = Annotated[int, Whole(0, 100_000)]


class ScheduleEntry(BaseModel):
    """From each instant of a schedule on, so many."""

    model_config = SPELLING

    schedule: str
    """As in EventBridge, in UTC: `cron(0 8 ? * MON-FRI *)`, `rate(1 day)`, `at(2026-12-24T08:00:00)`."""
    number: _Number

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        self.parsed()
        return self

    def parsed(self) -> Schedule:
        try:
            return schedule(self.schedule)
        except InvalidSchedule as error:
            raise wrong(str(error)) from None


def _short(value: Any) -> Any:
    return {"number": value} if isinstance(value, int) and not isinstance(value, bool) else value


class ProvisionedEntry(BaseModel):
    """`5`, or `{number: 2, schedule: [...]}`, or `{minimum: 2, maximum: 20, target: 0.7}`."""

    model_config = SPELLING

    number: _Number = 0
    """What holds where no schedule says another."""
    schedule: tuple[ScheduleEntry, ...] = ()
    minimum: _Number = 0
    maximum: _Number | None = None
    """With it the number follows what is in use."""
    target: float = Field(default=0.7, ge=0.1, le=0.9)
    """The share in use that is aimed at."""
    scale_in_after: Annotated[float, Seconds(0, 86_400)] = 900.0
    """Seconds for which fewer must have been enough before there are fewer."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.maximum is not None and self.maximum < max(self.minimum, self.number):
            raise wrong(f"maximum must be at least the minimum, not {self.maximum}")
        try:
            self.provisioning()
        except InvalidConcurrency as error:
            raise wrong(str(error)) from None
        return self

    def provisioning(self) -> Provisioning:
        """As the engine needs it."""
        tracking = None
        if self.maximum is not None:
            tracking = TargetTracking(self.maximum, self.target, self.scale_in_after)
        numbers = tuple(ScheduledNumber(each.parsed(), each.number) for each in self.schedule)
        return Provisioning(max(self.number, self.minimum), numbers, tracking)


Provisioned = Annotated[ProvisionedEntry, BeforeValidator(_short)]
"""A number, or when and how many."""
