"""A destination in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anyio import lowlevel

from streamfn.errors import SourceError
from streamfn.ports import FailureFormat, Message, SendFailure
from streamfn.testing.memory.bell import Bell
from streamfn.testing.memory.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Sequence


class MemoryDestination:
    """A `Destination` that keeps what it takes, in order."""

    def __init__(
        self,
        name: str = "destination",
        *,
        failure_format: FailureFormat = FailureFormat.RECORD,
        max_size: int | None = None,
    ) -> None:
        """`max_size`: bytes of a body above which a message is refused for good."""
        self.faults = Faults()
        self.messages: list[Message] = []
        """All that was taken."""
        self.sends: list[Sequence[Message]] = []
        """What each call of `send` brought, refused messages included."""
        self.closed = False
        self._name = name
        self._failure_format = failure_format
        self._max_size = max_size
        self._refusals: list[dict[int, tuple[str, bool]]] = []
        self._changed = Bell()

    @property
    def name(self) -> str:
        return self._name

    @property
    def failure_format(self) -> FailureFormat:
        return self._failure_format

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        await lowlevel.checkpoint()
        self.sends.append(tuple(messages))
        try:
            if self.faults.down:
                raise ConnectionError(f"{self._name} is out of reach: the test planned it")
            self.faults.before("send")
            refused = self._refusals.pop(0) if self._refusals else {}
            failures = []
            for index, message in enumerate(messages):
                if index in refused:
                    failures.append(SendFailure(index, *refused[index]))
                elif self._max_size is not None and len(message.body) > self._max_size:
                    failures.append(SendFailure(index, f"above {self._max_size} bytes", retryable=False))
                else:
                    self.messages.append(message)
            self.faults.after("send")
            return failures
        finally:
            self._changed.ring()

    async def check(self) -> None:
        await lowlevel.checkpoint()
        if self.faults.down:
            raise SourceError(f"{self._name} is out of reach: the test planned it")

    async def close(self) -> None:
        self.closed = True

    # ----------------------------------------------------------------------- faults, and looking

    def fail_next_sends(self, times: int = 1, error: Exception | None = None, *, after: bool = False) -> None:
        """The next calls of `send` raise; with `after` the messages are taken, only the answer is lost."""
        self.faults.fail_next(
            "send", times, error or ConnectionError("send fails: the test planned it"), after=after
        )

    def fail_indexes(
        self, *indexes: int, times: int = 1, reason: str = "refused", retryable: bool = True
    ) -> None:
        """The next calls of `send` refuse the messages at these places."""
        self._refusals += [dict.fromkeys(indexes, (reason, retryable))] * times

    def bodies(self) -> list[Any]:
        """The bodies that were taken, parsed as JSON."""
        return [json.loads(message.body) for message in self.messages]

    async def wait_messages(self, count: int = 1) -> Sequence[Message]:
        """Returns when at least so many messages were taken, with all of them."""
        await self._changed.until(lambda: len(self.messages) >= count)
        return self.messages

    async def wait_sends(self, count: int = 1) -> None:
        """Returns when `send` was called at least so often, whatever came of it."""
        await self._changed.until(lambda: len(self.sends) >= count)
