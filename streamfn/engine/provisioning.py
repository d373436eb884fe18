"""Provisioned concurrency at work: environments that are kept initialised, and how many they are to be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from streamfn.core.policies import Backoff
from streamfn.core.provisioning import Provisioning, Tracker
from streamfn.engine.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.engine.environments import Environments
    from streamfn.ports import Clock

INIT_FAILURE: Final = "FUNCTION_ERROR_INIT_FAILURE"
"""`StatusReason` where the function cannot be initialised (recorded)."""

_AT_A_TIME = 8
"""Environments that are initialised together: more would only make each other late."""

_AGAIN = Backoff(first=1.0, factor=2.0, cap=60.0)

_LOOK = 10.0
"""Seconds between two looks at how much is in use, where the number follows it."""

_LONGEST = 3600.0
"""Seconds between two looks at a schedule at most: the clock of the world may be set."""


@dataclass(frozen=True, slots=True)
class ProvisionedStatus:
    """How far it has come, in the words of GetProvisionedConcurrencyConfig."""

    requested: int
    available: int
    """Environments that are initialised, busy ones included."""
    status: str
    """`IN_PROGRESS`, `READY` or `FAILED`; empty where nothing is requested."""
    reason: str


class Provisioned:
    """Counts the environments that are kept initialised, and has those made that are missing."""

    def __init__(self, make: Callable[[], None]) -> None:
        self._make = make
        self.requested = 0
        self.making = 0
        self.available = 0
        """Initialised ones, those that are worn included."""
        self.worn = 0
        """Those that another is to take the place of."""
        self._failures = 0
        self._reason = ""
        self._again_at = 0.0
        self._changed = Signal()

    @property
    def missing(self) -> int:
        """How many more are to be made; less than 0 where it is too many that are made or fresh."""
        return self.requested - self.making - (self.available - self.worn)

    @property
    def surplus(self) -> int:
        """How many initialised ones are too many; less than 0 where it is not enough."""
        return self.available - self.requested

    @property
    def status(self) -> ProvisionedStatus:
        if not self.requested:
            status = ""
        elif self.available >= self.requested:
            status = "READY"
        else:
            status = "FAILED" if self._reason else "IN_PROGRESS"
        reason = self._reason if status == "FAILED" else ""
        return ProvisionedStatus(self.requested, self.available, status, reason)

    async def run(self) -> None:
        """Makes what is missing, for ever; what fails again and again, ever more slowly."""
        now = asyncio.get_running_loop().time
        while True:
            self._changed.clear()
            pause = self._again_at - now()
            if pause > 0 and self.missing > 0:
                with anyio.move_on_after(pause):
                    await self._changed.wait()
                continue
            for _ in range(min(self.missing, _AT_A_TIME - self.making)):
                self.making += 1
                self._make()
            await self._changed.wait()

    def request(self, number: int) -> None:
        """That many are to be kept. What failed before is tried again at once."""
        self.requested = number
        self._well()
        self._changed.set()

    def made(self) -> None:
        """One is initialised."""
        self.making -= 1
        self.available += 1
        self._well()
        self._changed.set()

    def cancelled(self) -> None:
        """One that was being made is not wanted any more."""
        self.making -= 1
        self._changed.set()

    def failed(self, reason: str) -> None:
        """One could not be made."""
        self.making -= 1
        self._reason = reason
        now = asyncio.get_running_loop().time()
        if now >= self._again_at:  # Those made together fail together, and count as one.
            self._failures += 1
            self._again_at = now + _AGAIN.delay(self._failures)
        self._changed.set()

    def wore(self) -> None:
        """One is to be replaced, and serves until then."""
        self.worn += 1
        self._changed.set()

    def lost(self, *, worn: bool) -> None:
        """One that was initialised is gone."""
        self.available -= 1
        self.worn -= worn
        self._changed.set()

    def _well(self) -> None:
        self._failures, self._reason, self._again_at = 0, "", 0.0


async def follow(environments: Environments, provisioning: Provisioning, clock: Clock) -> None:
    """Keeps as many environments as a schedule and what is in use ask for, until it is cancelled."""
    tracker = Tracker(provisioning)
    requested: int | None = None
    while True:
        now = clock()
        number = tracker.number(environments.peak(), now)
        if number != requested:
            requested = number
            environments.provision(number)
        due_at = provisioning.changes_at(now)
        pause = _LONGEST if due_at is None else min(_LONGEST, due_at - now)
        await asyncio.sleep(min(pause, _LOOK) if provisioning.tracking else pause)
