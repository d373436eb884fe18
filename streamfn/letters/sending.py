"""Sending once more, with patience, and telling of each message whether it arrived."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio

from streamfn.core.policies import Backoff
from streamfn.errors import PayloadTooLarge, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.ports import Destination, Message

TRIES: Final = 5
_BACKOFF: Final = Backoff(first=0.1, cap=3.0)


@dataclass(slots=True)
class Delivery:
    """What became of messages. Those that are not named here are durable where they went."""

    failures: dict[int, str] = field(default_factory=dict)
    """Why a message was not taken, by its place."""
    out_of_reach: str | None = None
    """Why the destination took nothing at all in the end."""


async def deliver(destination: Destination, messages: Sequence[Message]) -> Delivery:
    """Sends messages, those that fail again and again. Never raises for a destination that fails."""
    delivery = Delivery()
    await _send(destination, list(enumerate(messages)), delivery)
    return delivery


async def _send(destination: Destination, waiting: list[tuple[int, Message]], delivery: Delivery) -> None:
    for tried in range(1, TRIES + 1):
        if not waiting:
            return
        if delivery.out_of_reach is not None:
            delivery.failures |= dict.fromkeys((place for place, _ in waiting), delivery.out_of_reach)
            return
        last = tried == TRIES
        try:
            failures = await destination.send([message for _, message in waiting])
        except PayloadTooLarge as error:
            if len(waiting) == 1:
                delivery.failures[waiting[0][0]] = str(error)
                return
            # One of them is too large: the halves tell which.
            half = len(waiting) // 2
            await _send(destination, waiting[:half], delivery)
            await _send(destination, waiting[half:], delivery)
            return
        except (OSError, SourceError) as error:
            if last or (isinstance(error, SourceError) and not error.retryable):
                reason = f"{destination.name} cannot be reached: {error}"
                delivery.out_of_reach = reason
                delivery.failures |= dict.fromkeys((place for place, _ in waiting), reason)
                return
        else:
            lost = {failure.index: failure.reason for failure in failures if last or not failure.retryable}
            delivery.failures |= {waiting[index][0]: reason for index, reason in lost.items()}
            waiting = [waiting[failure.index] for failure in failures if failure.index not in lost]
        if waiting and not last:
            await anyio.sleep(_BACKOFF.delay(tried))
