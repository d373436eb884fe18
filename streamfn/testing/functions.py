"""Scripted functions: they do as told, and remember what they were called with.

    recorder = Recorder() | takes(5) | fails(times=2)

Each may be declared either way, as a function of a batch or as a Lambda handler of an event and a context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import anyio

from streamfn.errors import TooManyRequests
from streamfn.testing.clock import clock
from streamfn.testing.memory.bell import Bell
from streamfn.testing.seen import Seen, seen


@dataclass(eq=False)
class Call:
    """One invocation."""

    number: int
    """From 1."""
    event: Any
    """The batch or the event, as it came."""
    context: Any
    began_at: float
    """Epoch seconds by `streamfn.testing.clock`."""
    ended_at: float | None = None
    answer: object = None
    error: BaseException | None = None
    """What ended it: an exception that was planned, or cancellation."""

    @cached_property
    def records(self) -> list[Seen]:
        """The records it brought."""
        return list(seen(self.event))

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [record.id for record in self.records]


Step: TypeAlias = Callable[[Call], Awaitable[object]]
"""Part of a script: may wait, may raise, may answer."""


class Recorder:
    """An async function that records its invocations and follows a script.

    The steps run in order. The first to raise ends the invocation; the last answer that is not None is the
    answer.
    """

    def __init__(self, *steps: Step, name: str = "recorder") -> None:
        self.__name__ = self.__qualname__ = name
        self.calls: list[Call] = []
        self.running = 0
        """Invocations at this moment."""
        self.peak = 0
        """Most invocations at a time so far."""
        self.steps = steps
        self._changed = Bell()

    def __or__(self, then: Recorder) -> Recorder:
        """A new function that does what this one does, then what the other does."""
        return Recorder(*self.steps, *then.steps, name=self.__name__)

    async def __call__(self, event: Any, context: Any = None) -> object:
        call = Call(len(self.calls) + 1, event, context, clock())
        self.calls.append(call)
        self.running += 1
        self.peak = max(self.peak, self.running)
        self._changed.ring()
        try:
            for step in self.steps:
                answer = await step(call)
                if answer is not None:
                    call.answer = answer
        except BaseException as error:
            call.error = error
            raise
        finally:
            call.ended_at = clock()
            self.running -= 1
            self._changed.ring()
        return call.answer

    @property
    def batches(self) -> list[list[str]]:
        """The ids of each invocation."""
        return [call.ids for call in self.calls]

    @property
    def ids(self) -> list[str]:
        """The ids of all invocations, repeats included."""
        return [record_id for call in self.calls for record_id in call.ids]

    @property
    def values(self) -> list[bytes | None]:
        """The values of all invocations, repeats included."""
        return [record.value for call in self.calls for record in call.records]

    @property
    def done(self) -> list[str]:
        """Ids of the records of invocations that returned, without those they reported as failed."""
        return [
            record.id
            for call in self.calls
            if call.ended_at is not None and call.error is None
            for record in call.records
            if {"itemIdentifier": record.identifier} not in _reported(call.answer)
        ]

    async def wait_calls(self, count: int = 1) -> None:
        """Returns when at least so many invocations have begun."""
        await self._changed.until(lambda: len(self.calls) >= count)

    async def wait_ended(self, count: int = 1) -> None:
        """Returns when at least so many invocations have ended."""
        await self._changed.until(lambda: len(self.calls) - self.running >= count)

    async def wait_done(self, records: int = 1) -> None:
        """Returns when at least so many different records are done."""
        await self._changed.until(lambda: len(set(self.done)) >= records)


def fails(times: int | None = None, error: Exception | None = None) -> Recorder:
    """Raises at its first invocations, so many of them; always, without a number."""
    count = 0

    async def step(call: Call) -> object:
        nonlocal count
        count += 1
        if times is None or count <= times:
            raise error or RuntimeError(f"invocation {call.number} fails: the test planned it")
        return None

    return Recorder(step, name="fails")


def takes(seconds: float) -> Recorder:
    """Lasts so long."""

    async def step(call: Call) -> object:
        await anyio.sleep(seconds)
        return None

    return Recorder(step, name="takes")


def waits_for(event: anyio.Event) -> Recorder:
    """Lasts until an event is set."""

    async def step(call: Call) -> object:
        await event.wait()
        return None

    return Recorder(step, name="waits_for")


def poison(*bad: str | Callable[[Seen], object], error: Exception | None = None) -> Recorder:
    """Raises whenever a record is in the batch that is named by id, or that a predicate holds of."""

    async def step(call: Call) -> object:
        for record in call.records:
            if _is_one_of(record, bad):
                raise error or ValueError(f"record {record.id} is poison: the test planned it")
        return None

    return Recorder(step, name="poison")


def reports(*bad: str | Callable[[Seen], object], times: int | None = None) -> Recorder:
    """Answers with batchItemFailures for those records of the batch; of each record only so often."""
    told: Counter[str] = Counter()

    async def step(call: Call) -> object:
        failures = []
        for record in call.records:
            if _is_one_of(record, bad) and (times is None or told[record.id] < times):
                told[record.id] += 1
                failures.append({"itemIdentifier": record.identifier})
        return {"batchItemFailures": failures}

    return Recorder(step, name="reports")


def answers(*answers: object) -> Recorder:
    """Answers so, one after the other; then the last for ever."""

    async def step(call: Call) -> object:
        return answers[min(call.number, len(answers)) - 1]

    return Recorder(step, name="answers")


def throttles_until(instant: float, retry_after: float = 0.0) -> Recorder:
    """Raises TooManyRequests before an instant of `streamfn.testing.clock`."""

    async def step(call: Call) -> object:
        if clock() < instant:
            raise TooManyRequests("throttled: the test planned it", retry_after=retry_after)
        return None

    return Recorder(step, name="throttles_until")


def _is_one_of(record: Seen, bad: tuple[str | Callable[[Seen], object], ...]) -> bool:
    return any(record.id == one if isinstance(one, str) else one(record) for one in bad)


def _reported(answer: object) -> list[object]:
    match answer:
        case {"batchItemFailures": list(failures)}:
            return failures
        case _:
            return []
