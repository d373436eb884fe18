"""Sending one by one: what fails goes again, and what has to come after it waits."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from streamfn.core.policies import Backoff
from streamfn.ports import SendFailure
from streamfn_http.answers import Answer, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from streamfn.ports import Clock
    from streamfn_http.requests import Request

_PAUSE: Final = Backoff(first=0.1, factor=2.0, cap=5.0)


class Unreachable(ConnectionError):
    """No connection could be made: there is nobody."""


class Lost(ConnectionError):
    """Somebody was there, but no answer came, or none that is one."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request was not taken. It may go again unless it is refused."""

    reason: str
    refused: bool = False
    late: bool = False
    """There was no answer when the time was over."""


def lanes_of(requests: Sequence[Request]) -> list[list[Request]]:
    """What has to go one after the other, each in its order."""
    lanes: list[list[Request]] = []
    named: dict[str, list[Request]] = {}
    for request in requests:
        lane = None if request.lane is None else named.get(request.lane)
        if lane is not None:
            lane.append(request)
            continue
        lanes.append([request])
        if request.lane is not None:
            named[request.lane] = lanes[-1]
    return lanes


class Delivery:
    """The requests of one `send` on their way."""

    def __init__(
        self, post: Callable[[Request, float], Awaitable[Answer]], width: int, until: float, clock: Clock
    ) -> None:
        """`post` makes one request, until an instant of the loop's clock; it raises Unreachable, Lost and
        TimeoutError. `width`: requests at a time. `until`: when all has to be over.
        """
        self._post = post
        self._width = width
        self._until = until
        self._clock = clock
        self._not_before = 0.0
        """When the receiver wants to be asked again, by the loop's clock."""
        self._answered = False
        self._unreachable: Unreachable | None = None
        self._failures: list[SendFailure] = []

    async def run(self, requests: Sequence[Request]) -> list[SendFailure]:
        """Those that were not taken. Raises Unreachable when nobody ever answered."""
        lanes = lanes_of(requests)
        waiting = iter(lanes)
        async with anyio.create_task_group() as tasks:
            for _ in range(min(self._width, len(lanes))):
                tasks.start_soon(self._work, waiting)
        if self._unreachable is not None and not self._answered:
            raise self._unreachable
        return self._failures

    async def _work(self, waiting: Iterator[Sequence[Request]]) -> None:
        for lane in waiting:
            held: Fault | None = None
            for request in lane:
                # What follows one that is to come again has to come after it then.
                fault = held or await self._deliver(request)
                if fault is not None:
                    failure = SendFailure(request.index, fault.reason, retryable=not fault.refused)
                    self._failures.append(failure)
                    held = None if fault.refused else fault

    async def _deliver(self, request: Request) -> Fault | None:
        fault = Fault("there was no time left to send it")
        tries, pause = 0, 0.0
        while await self._paused(pause):
            if self._unreachable is not None:
                return Fault(str(self._unreachable))
            found = await self._try(request)
            if found is None or found.refused:
                return found
            if not (found.late and tries):
                # Time that ran out after the receiver had answered says no more than its answers did.
                fault = found
            tries += 1
            pause = _PAUSE.delay(tries) * random.uniform(0.5, 1.0)
        return fault

    async def _try(self, request: Request) -> Fault | None:
        try:
            answer = await self._post(request, self._until)
        except Unreachable as error:
            self._unreachable = error
            return Fault(str(error))
        except (Lost, TimeoutError) as error:
            return Fault(str(error), late=isinstance(error, TimeoutError))
        self._answered = True
        if answer.verdict is Verdict.TAKEN:
            return None
        pause = answer.pause(self._clock())
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + pause)
        return Fault(answer.reason, refused=answer.verdict is Verdict.REFUSED)

    async def _paused(self, pause: float) -> bool:
        """Whether there is time for another try, which may begin now."""
        loop = asyncio.get_running_loop()
        begin = loop.time() + pause
        # While one waits, another may be told to wait for longer.
        while (begin := max(begin, self._not_before)) > loop.time():
            if begin >= self._until:
                return False
            await asyncio.sleep(begin - loop.time())
        return loop.time() < self._until
