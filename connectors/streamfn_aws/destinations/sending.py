"""Sending in batches: what fails goes again, and what has to come after it waits."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio

from streamfn.core.policies import Backoff
from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import SendFailure
from streamfn_aws.errors import ServiceError, source_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

_PAUSE: Final = Backoff(first=0.1, factor=2.0, cap=2.0)

_OF_THE_MESSAGE: Final = (400, 413)
"""Statuses of what is wrong with a message, unless the code says otherwise."""


class Refused(Exception):
    """A message that the service would never take, and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in the words of its service."""

    index: int
    """Its place in what was to be sent."""
    request: Mapping[str, Any]
    size: int
    """Bytes, as the service counts them."""
    lane: str | None = None
    """What is of one lane goes in its order; None: whenever."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one call."""

    count: int
    size: int
    """Bytes of all entries. One that is larger goes alone."""
    width: int = 8
    """Calls at a time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an entry was not taken. It goes again, unless it is refused or there is an `error`."""

    reason: str
    refused: bool = False
    """For good, and it alone."""
    error: Exception | None = None
    """What keeps everything else from being taken as well: there is no sense in going on."""


def packed(entries: Sequence[Entry], limits: Limits) -> tuple[list[list[Entry]], list[Entry]]:
    """Batches that may travel at the same time, and what waits for them, in order.

    No lane is in two of the batches.
    """
    batches: list[list[Entry]] = []
    waiting: list[Entry] = []
    full: set[str] = set()
    """Lanes of which no more may go: the next entry has not found room beside the one before."""
    before: set[str] = set()
    """Lanes of the batches before the last."""
    room = 0
    for place, entry in enumerate(entries):
        lane = entry.lane
        if lane is not None and (lane in full or lane in before):
            waiting.append(entry)
            if len(waiting) >= limits.count * limits.width:
                # Looking further would cost more than it brings.
                return batches, waiting + list(entries[place + 1 :])
            continue
        last = batches[-1] if batches else []
        if last and len(last) < limits.count and entry.size <= room:
            last.append(entry)
            room -= entry.size
        elif lane is not None and any(other.lane == lane for other in last):
            full.add(lane)
            waiting.append(entry)
        elif len(batches) == limits.width:
            return batches, waiting + list(entries[place:])
        else:
            before.update(other.lane for other in last if other.lane is not None)
            batches.append([entry])
            room = limits.size - entry.size
    return batches, waiting


class Delivery:
    """The entries of one `send` on their way."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        post: Callable[[Sequence[Entry]], Awaitable[Mapping[int, Fault]]],
        until: float,
    ) -> None:
        """`post` makes one call and says which entries, by index, were not taken; it raises ServiceError and
        OSError. `until`: the instant of the loop's clock after which nothing begins any more.
        """
        self._name = name
        self._limits = limits
        self._post = post
        self._until = until

    async def run(self, entries: Sequence[Entry]) -> list[SendFailure]:
        """Those that were not taken. Raises OSError or SourceError when none was, and none can be."""
        waiting = list(entries)
        failures: dict[int, Fault] = {}
        taken, tries = 0, 0
        while waiting:
            batches, waiting = packed(waiting, self._limits)
            sent = {entry.index: entry for batch in batches for entry in batch}
            faults = await self._wave(batches)
            taken += len(sent) - len(faults)
            again = [sent[index] for index, fault in faults.items() if not fault.refused]
            failures |= {index: fault for index, fault in faults.items() if fault.refused}
            if not again:
                tries = 0
                continue
            waiting = sorted((*again, *waiting), key=lambda entry: entry.index)
            tries += 1
            reason = next((fault for fault in faults.values() if fault.error), faults[again[0].index])
            # Time that ran out after the service had answered says no more than its answers did.
            is_late = isinstance(reason.error, TimeoutError) and tries > 1
            if reason.error is not None and not taken and not is_late:
                raise reason.error
            if reason.error is not None or not await self._paused(tries):
                failures |= {entry.index: faults.get(entry.index, reason) for entry in waiting}
                break
        return [
            SendFailure(index, fault.reason, retryable=not fault.refused)
            for index, fault in sorted(failures.items())
        ]

    async def _paused(self, tries: int) -> bool:
        """Whether there is time for another try, which may begin now."""
        pause = _PAUSE.delay(tries) * random.uniform(0.5, 1.0)
        if asyncio.get_running_loop().time() + pause >= self._until:
            return False
        await asyncio.sleep(pause)
        return True

    async def _wave(self, batches: Sequence[Sequence[Entry]]) -> dict[int, Fault]:
        if len(batches) == 1:
            return await self._sent(batches[0])
        faults: dict[int, Fault] = {}

        async def send(batch: Sequence[Entry]) -> None:
            faults.update(await self._sent(batch))

        async with anyio.create_task_group() as tasks:
            for batch in batches:
                tasks.start_soon(send, batch)
        return faults

    async def _sent(self, batch: Sequence[Entry]) -> dict[int, Fault]:
        try:
            async with asyncio.timeout_at(self._until):
                return dict(await self._post(batch))
        except TimeoutError:
            late = TimeoutError(f"{self._name}: not taken in time")
            return _all(batch, Fault(str(late), error=late))
        except OSError as error:
            return _all(batch, Fault(str(error), error=error))
        except ConfigurationError as error:  # credentials that were there are not any more
            gone = SourceError(f"{self._name}: {error}", retryable=False)
            return _all(batch, Fault(str(gone), error=gone))
        except ServiceError as error:
            fault = fault_of(self._name, error)
        if not fault.refused or len(batch) == 1:
            return _all(batch, fault)
        # Refused as a whole: the halves tell which of them are to blame.
        half = len(batch) // 2
        faults = await self._sent(batch[:half])
        if any(not fault.refused for fault in faults.values()):
            return faults | _all(batch[half:], next(f for f in faults.values() if not f.refused))
        return faults | await self._sent(batch[half:])


def fault_of(name: str, error: ServiceError) -> Fault:
    """What an answer means: try again, somebody has to mend something, or the message is to blame."""
    if error.transient:
        return Fault(str(error))
    if error.fix or error.status not in _OF_THE_MESSAGE:
        mendable = source_error(name, error)
        return Fault(str(mendable), error=mendable)
    return Fault(str(error), refused=True)


def faults_of(name: str, operation: str, failed: Iterable[Mapping[str, Any]]) -> dict[int, Fault]:
    """The faults of the entries that SQS and SNS list as `Failed`, by the index that is their Id."""
    return {
        int(entry["Id"]): fault_of(
            name,
            ServiceError(
                operation, entry["Code"], entry.get("Message", ""), 400 if entry["SenderFault"] else 500
            ),
        )
        for entry in failed
    }


def _all(batch: Sequence[Entry], fault: Fault) -> dict[int, Fault]:
    return {entry.index: fault for entry in batch}
