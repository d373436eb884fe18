"""What a connector's tests provide: a broker to try the connector on, and the other end of it."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import pytest

if TYPE_CHECKING:
    from streamfn.ports import (
        Destination,
        Environment,
        EventQueue,
        LeaseStore,
        LetterFetcher,
        LetterStore,
        Message,
        QueueSource,
        Runtime,
        StreamSource,
    )


class Harness(Protocol):
    """Waiting with an end. Subclass what follows; tests neither sleep nor wait for ever."""

    def now(self) -> float:
        """The time by the clock that stamps records, or by one that agrees with it."""
        return time.time()  # noqa: TID251 - brokers live by the wall clock

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """The block ends by then, or the test has failed."""
        with anyio.move_on_after(seconds) as limit:
            yield
        assert not limit.cancelled_caught, f"not within {seconds} seconds"

    async def until(self, condition: Callable[[], object | Awaitable[object]], seconds: float) -> None:
        """Asks again and again, until the condition holds or the test has failed."""
        async with self.within(seconds):
            while True:
                holds = condition()
                if isinstance(holds, Awaitable):
                    holds = await holds
                if holds:
                    return
                await anyio.sleep(0.02)

    async def never(self, condition: Callable[[], object], seconds: float) -> None:
        """Looks on for that long; the test has failed if the condition holds."""
        with anyio.move_on_after(seconds):
            while not condition():  # noqa: ASYNC110 - nobody rings a bell for what is not to happen
                await anyio.sleep(0.02)
        assert not condition()


class StreamHarness(Harness, Protocol):
    """A stream, and the end where records are put."""

    @abstractmethod
    async def create(self, shards: int) -> None:
        """A new and empty stream; all else is about the last one made."""

    @abstractmethod
    def source(self) -> StreamSource:
        """The connector's source for it. Each call gives another one, as another process would have."""

    @abstractmethod
    async def put(self, messages: Sequence[Message], shard: int = 0) -> None:
        """Puts records into the shard at that place, in this order. They are durable when it returns."""

    async def put_tombstone(self, key: str) -> None:
        """Puts a record without a value into the first shard."""
        pytest.fail("the feature `tombstones` needs this")

    async def lose(self, shard: str, group: str) -> None:
        """Takes a shard from its owner without asking, as when its lease expires."""
        pytest.fail("the feature `losing` needs this")

    async def trim(self) -> None:
        """Removes all records that are in the first shard."""
        pytest.fail("the feature `trimming` needs this")

    async def end(self) -> None:
        """Ends the first shard."""
        pytest.fail("the feature `ending` needs this")

    async def restart(self) -> None:
        """Stops the broker as hard as it can be stopped, and starts it again."""
        pytest.fail("the feature `restarting` needs this")

    def unreachable(self) -> StreamSource:
        """A source at an address where nobody answers."""
        pytest.fail("the feature `unreachable` needs this")


class QueueHarness(Harness, Protocol):
    """A queue, and the end where messages are put."""

    @abstractmethod
    async def create(self, visibility_timeout: float, *, fifo: bool = False) -> None:
        """A new and empty queue; all else is about the last one made."""

    @abstractmethod
    def source(self) -> QueueSource:
        """The connector's source for it. Each call gives another one, as another process would have."""

    @abstractmethod
    async def put(self, messages: Sequence[Message]) -> None:
        """Puts messages, in this order. They are durable when it returns."""

    async def restart(self) -> None:
        """Stops the broker as hard as it can be stopped, and starts it again."""
        pytest.fail("the feature `restarting` needs this")

    def unreachable(self) -> QueueSource:
        """A source at an address where nobody answers."""
        pytest.fail("the feature `unreachable` needs this")


class DestinationHarness(Harness, Protocol):
    """A destination, and the end where messages come out."""

    @abstractmethod
    def destination(self) -> Destination:
        """The connector's destination. Each call gives another one, to the same place."""

    @abstractmethod
    async def received(self) -> Sequence[Message]:
        """All that has come out so far, read by other means than the connector's."""

    def refused(self) -> Message:
        """A message that is not taken, and never will be."""
        pytest.fail("the feature `refusing` needs this")

    def unreachable(self) -> Destination:
        """A destination at an address where nobody answers."""
        pytest.fail("the feature `unreachable` needs this")


class LeaseStoreHarness(Harness, Protocol):
    """A place for leases."""

    @abstractmethod
    def store(self) -> LeaseStore:
        """A store. Each call gives another one over the same leases, as another worker would have."""

    async def reopen(self) -> None:
        """Closes what holds the leases, and opens it again."""
        pytest.fail("the feature `reopening` needs this")


class LetterStoreHarness(Harness, Protocol):
    """A place with dead letters, empty at first, and the end where they are put."""

    @abstractmethod
    def store(self) -> LetterStore:
        """The connector's store. Each call gives another one over the same letters, as another process would
        have.
        """

    @abstractmethod
    async def put(self, messages: Sequence[Message]) -> None:
        """Puts letters, in this order, by other means than the store. They are durable when it returns."""

    def unreachable(self) -> LetterStore:
        """A store at an address where nobody answers."""
        pytest.fail("the feature `unreachable` needs this")


class LetterFetcherHarness(Harness, Protocol):
    """A source with records in it, and what tells of them."""

    @abstractmethod
    def fetcher(self) -> LetterFetcher:
        """The connector's fetcher for the source."""

    @abstractmethod
    async def put(self, messages: Sequence[Message]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Puts records into the first shard, with others before and behind them that are not asked for: the
        event of these alone, as a function is given it, and what an on-failure record says of them
        (`KinesisBatchInfo` or the like).
        """

    async def trim(self, event: Mapping[str, Any], keep: int) -> Mapping[str, Any]:
        """Removes the oldest records of the source, so that of those in the event the last `keep` stay: the
        event of these.
        """
        pytest.fail("the feature `trimming` needs this")

    def unreachable(self) -> LetterFetcher:
        """A fetcher at an address where nobody answers."""
        pytest.fail("the feature `unreachable` needs this")


class EventQueueHarness(Harness, Protocol):
    """A place where asynchronous invocations wait, new and unused at first."""

    @abstractmethod
    def queue(self) -> EventQueue:
        """The queue. Each call gives another one over the same events, as another process would have."""

    async def die(self, function: str, count: int, *, exposed: bool = False) -> Sequence[str]:
        """A process reads until it has so many events in hand, exposes them if told to, and is killed: the
        request ids.
        """
        pytest.fail("the feature `dying` needs this")

    def unusable(self) -> EventQueue:
        """A queue that cannot be used: where it should be is something else."""
        pytest.fail("the feature `unusable` needs this")


class RuntimeHarness(Harness, Protocol):
    """A function that does as its event says (`streamfn.testing.conformance.function`)."""

    @abstractmethod
    def runtime(self) -> Runtime:
        """A runtime of the function, with the timeout and the capacity that the features name."""

    async def running(self) -> int:
        """Invocations, processes or the like of the function that run now, or wait for invocations."""
        pytest.fail("the feature `cutting` needs this")

    def failing(self, times: int | None) -> Runtime:
        """One whose function raises ValueError("no init") at so many inits; at each without a number."""
        pytest.fail("the feature `init` needs this")

    def slow(self, seconds: float) -> Runtime:
        """One whose init lasts so long."""
        pytest.fail("the feature `slow_init` needs this")

    def streaming(self) -> Runtime:
        """One whose function streams what an event `stream` says: `pieces` of text, as `type`; then so many
        bytes as `fill` says; `then` it may `hang`, or `raise` a ValueError with the `message`.
        """
        pytest.fail("the feature `streaming` needs this")

    async def spoil(self, environment: Environment) -> None:
        """Does something to an environment that it cannot mend, so that it can run nothing from now on."""
        pytest.fail("the feature `breaking` needs this")

    def unusable(self) -> Runtime:
        """One that can make no environment."""
        pytest.fail("the feature `unusable` needs this")
