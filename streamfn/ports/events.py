"""Where asynchronous invocations wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from streamfn.ports.sources import QueueShard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from contextlib import AbstractAsyncContextManager

    from streamfn.core.events import EventRecord
    from streamfn.core.records import Headers


class Event(NamedTuple):
    """One asynchronous invocation that was asked for: its request id, its payload as JSON, its headers.

    A tuple, for it is made for each call.
    """

    request_id: str
    payload: bytes
    headers: Headers = ()


class EventShard(QueueShard, Protocol):
    """A function's events, as one worker reads them. Its records are `EventRecord`s."""

    async def remember(self, records: Sequence[EventRecord], delay: float) -> None:
        """The records come again after `delay` seconds, with the histories they have now."""

    async def expose(self, record: EventRecord) -> None:
        """Writes down that the record is about to be delivered alone: should it come again without a word, it
        comes as one that died.
        """

    async def bury(self, record: EventRecord, letter: bytes) -> None:
        """Of a sequence: the record was given up once more. It stands there as that letter, and closes its
        key again.
        """


class EventSource(Protocol):
    """The events of one function."""

    @property
    def name(self) -> str:
        """What people call it."""

    def open(self) -> AbstractAsyncContextManager[EventShard]:
        """A connection to read through. What a reader that died had in hand comes again."""

    async def check(self) -> None:
        """Proves that it can be reached. Raises SourceError or ConfigurationError naming the fix."""


class EventQueue(Protocol):
    """Where asynchronous invocations wait."""

    @property
    def in_use(self) -> bool:
        """Whether events may wait in it already, of any function."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """The time within which events are taken; what was put before its end is written."""

    def put(self, function: str, event: Event) -> Awaitable[None]:
        """Durable when what it gives is done; cancelled, the event may have been taken or not. Raises OSError
        where it cannot be.
        """

    def source(self, function: str) -> EventSource:
        """The events of a function, by its name, with a qualifier behind a colon if it has one."""
