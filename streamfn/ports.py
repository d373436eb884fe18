"""The ports: what the engine asks of sources, destinations, stores and functions, and nothing else.

Each sentence of these docstrings is a test of the conformance suites in `streamfn.testing.conformance`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from streamfn.core.envelopes import FailureFormat as FailureFormat  # noqa: TC001 - re-exported
from streamfn.core.leasing import Checkpoint as Checkpoint  # noqa: TC001 - re-exported
from streamfn.core.leasing import Lease as Lease  # noqa: TC001 - re-exported
from streamfn.core.policies import StartingPosition
from streamfn.core.records import Headers, Record

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from typing_extensions import TypeIs

    from streamfn.core.events import EventRecord, EventShape
    from streamfn.core.letters import Stored
    from streamfn.telemetry import TelemetryEvent

Clock: TypeAlias = Callable[[], float]
"""Epoch seconds. Delays and deadlines use the event loop's clock."""

Filter: TypeAlias = Callable[[Record], bool]
"""Whether a record is for the function. One that is not counts as done at once."""


# ---------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who reads a source, and from where the first time."""

    group: str
    """Readers of one group share the shards and the checkpoints."""
    starting_position: StartingPosition = StartingPosition.TRIM_HORIZON
    starting_at: float | None = None
    """Epoch seconds, with AT_TIMESTAMP."""


class Shard(Protocol):
    """A part of a source that one worker reads alone."""

    @property
    def id(self) -> str:
        """Unique in its source, and stable."""

    @property
    def shape(self) -> EventShape:
        """How records of this shard become an event."""

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        """Up to `limit` records, waiting at most `wait` seconds for the first; empty when none came.

        A cancelled read loses nothing. Raises ShardClosed at the shard's end, ShardLost when it is another's.
        """


class StreamShard(Shard, Protocol):
    """Ordered: records come in growing positions, and progress is one of them."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The last one committed when this shard was assigned; reading begins after it."""

    @property
    def note_limit(self) -> int:
        """Characters that a checkpoint's note may have."""

    @property
    def commit_interval(self) -> float:
        """Seconds that should lie between two commits; 0 where a commit is cheap. One that comes sooner is
        taken all the same.
        """

    @property
    def lag(self) -> int | None:
        """Records known to wait after those read; None when unknown."""

    @property
    def iterator_age(self) -> float | None:
        """Seconds by which what was read last is behind the newest record; None where the source does not
        tell.
        """

    async def commit(self, checkpoint: Checkpoint) -> None:
        """Durable when it returns. Raises ShardLost when the shard is no longer ours; then nothing was
        written.
        """

    async def close(self) -> None:
        """Gives the shard back: its worker has committed for the last time. Never raises."""


class QueueShard(Shard, Protocol):
    """Records are settled one by one; one that is not comes back after its visibility timeout.

    Settling a record whose delivery is over (it came back meanwhile) changes nothing and raises nothing.
    """

    @property
    def visibility_timeout(self) -> float:
        """Seconds for which a read hides its records."""

    @property
    def depth(self) -> int | None:
        """Records that wait in the queue; None when unknown."""

    async def ack(self, records: Sequence[Record]) -> None:
        """The records are done and never come again."""

    async def release(self, records: Sequence[Record], delay: float | None) -> None:
        """The records come again after `delay` seconds; None: when their visibility timeout is over.

        With delay 0 for records that were never delivered, the read does not count as a receive where the
        source can take it back.
        """

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        """Hides the records for that long from now on."""


class Reason(IntEnum):
    """Why a shard is taken away. One of higher rank overrides."""

    REQUESTED = 1
    """Somebody else is to have it: finish what is in flight, commit, close."""
    ENDED = 2
    LOST = 3
    """Somebody else has it: commit nothing."""


@dataclass(frozen=True, slots=True)
class Assigned:
    shard: StreamShard


@dataclass(frozen=True, slots=True)
class Revoked:
    shard_id: str
    reason: Reason


class StreamSource(Protocol):
    """A source of ordered shards."""

    @property
    def name(self) -> str:
        """What people call it: `kafka://host/topic`, `local:flights`."""

    def shards(
        self, subscription: Subscription
    ) -> AbstractAsyncContextManager[AsyncIterator[Assigned | Revoked]]:
        """The shards this reader has, as they come and go. A shard has one owner in its group at any time.

        Leaving the context gives up what is held. Raises SourceError where the source cannot be read.
        """

    async def check(self) -> None:
        """Proves that the source can be reached. Raises SourceError or ConfigurationError naming the fix."""


class QueueSource(Protocol):
    """A source of messages that any number of readers share."""

    @property
    def name(self) -> str:
        """What people call it."""

    def open(self) -> AbstractAsyncContextManager[QueueShard]:
        """A connection to read through: one for each poller."""

    async def check(self) -> None:
        """Proves that the source can be reached. Raises SourceError or ConfigurationError naming the fix."""


Source: TypeAlias = StreamSource | QueueSource


def is_queue(source: Source) -> TypeIs[QueueSource]:
    """Whether it is a queue. A source is known by what it can do: a stream has `shards`, a queue `open`."""
    return hasattr(source, "open")


# ----------------------------------------------------------------------------------------- destinations


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to a destination."""

    body: bytes
    key: str | None = None
    headers: Headers = ()
    name: str | None = None
    """What it is called where destinations name things: an object's key in S3."""


@dataclass(frozen=True, slots=True)
class SendFailure:
    """A message that was not taken."""

    index: int
    """Its place in what was to be sent."""
    reason: str
    retryable: bool = True


class Destination(Protocol):
    """Where messages go."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def failure_format(self) -> FailureFormat:
        """Which on-failure record it takes."""

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Those that were not taken; the others are durable when it returns. Raises OSError when out of
        reach.
        """

    async def check(self) -> None:
        """Proves that it can be reached. Raises SourceError or ConfigurationError naming the fix."""

    async def close(self) -> None:
        """Lets connections go. What was sent is durable already."""


# ------------------------------------------------------------------------------- asynchronous invocation


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


# ---------------------------------------------------------------------------------------- dead letters


class LetterStore(Protocol):
    """A place with dead letters, to be looked through and put in order."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def removes(self) -> bool:
        """Whether single letters can be taken out. Of a log they cannot: who redrives keeps a list."""

    def scan(self) -> AsyncIterator[Stored]:
        """All letters, the oldest first as far as the store has an order; nothing changes by it, or nothing
        that does not pass by itself. Raises OSError, SourceError.
        """

    async def remove(self, letters: Sequence[Stored]) -> None:
        """Takes out letters of a scan; durable when it returns. Of those that are gone already nothing is
        said. Only where `removes`.
        """

    async def purge(self) -> int | None:
        """Takes out all there is at this time: how many, or None where the store does not tell."""

    async def close(self) -> None:
        """Lets connections go. Letters that a scan had in hand can be seen by others again."""


class SequencedStore(LetterStore, Protocol):
    """A store in which records wait behind letters of their keys."""

    async def reopen(self, letters: Sequence[Stored]) -> int:
        """Lets the mapping deliver letters of a scan once more, and then what waits behind each; how many
        letters it opened. Durable when it returns.
        """


def is_sequenced(store: LetterStore) -> TypeIs[SequencedStore]:
    """Whether records wait behind its letters."""
    return hasattr(store, "reopen")


@dataclass(frozen=True, slots=True)
class Parked:
    """A record with its key, as a letter, in a sequence."""

    key: str
    position: int
    """In its shard."""
    arrived_at: float
    """In epoch seconds. With the position it says which record of the shard it is."""
    body: bytes


class Sequences(Protocol):
    """Dead letters of one mapping by key, and the records of these keys that wait behind them."""

    @property
    def name(self) -> str:
        """What people call it."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """The time within which records are buried and parked. Raises OSError."""

    async def refresh(self) -> None:
        """Learns which keys other processes have closed. Raises OSError."""

    def holds(self, key: str | None) -> bool:
        """Whether records of a key may have to wait. Never wrong when it says no."""

    async def bury(self, shard: str, letters: Sequence[Parked]) -> None:
        """Closes the keys of letters; durable when it returns. Raises OSError."""

    async def park(self, shard: str, records: Sequence[Parked]) -> Sequence[Parked]:
        """Puts records behind what closed their keys; durable when it returns. Gives those whose keys are
        open by now. Raises SequenceFull, OSError.
        """


class LetterFetcher(Protocol):
    """Fetches records back that an on-failure record of Lambda tells of without holding them."""

    async def fetch(self, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The event of the records that a `KinesisBatchInfo` or the like names, as far as they still exist;
        None where none does. Raises OSError, SourceError.
        """

    async def close(self) -> None:
        """Lets connections go."""


# ---------------------------------------------------------------------------------------------- leases


class LeaseStore(Protocol):
    """Leases of a group, changed by compare-and-set on the counter: a commit is fenced by ownership."""

    async def list(self, group: str) -> Sequence[Lease]:
        """All leases of the group."""

    async def create(self, group: str, lease: Lease) -> bool:
        """Whether it was new. An existing one stays as it is."""

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        """Replaces `lease` by `new` if its counter still stands. Of two writers exactly one succeeds."""

    async def delete(self, group: str, lease: Lease) -> bool:
        """Removes it if its counter still stands."""


# ------------------------------------------------------------------------------------------- telemetry


class Telemetry(Protocol):
    """Where typed events go: logs, metrics, traces, tests."""

    def emit(self, event: TelemetryEvent) -> None:
        """Takes an event. Must not block or raise."""


@runtime_checkable
class SourceKind(Protocol):
    """What an entry point of the group `streamfn.sources` gives: a class with this constructor."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Source:
        """The source a URI names. Raises ConfigurationError naming the option and the fix."""


@runtime_checkable
class DestinationKind(Protocol):
    """What an entry point of the group `streamfn.destinations` gives."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Destination:
        """The destination a URI names. Raises ConfigurationError naming the option and the fix."""


@runtime_checkable
class LetterStoreKind(Protocol):
    """What an entry point of the group `streamfn.letters` gives."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> LetterStore:
        """The store a URI names. Raises ConfigurationError naming the option and the fix."""


@runtime_checkable
class LetterFetcherKind(Protocol):
    """What an entry point of the group `streamfn.fetchers` gives."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> LetterFetcher:
        """Fetches from the source that a URI or an ARN names. Raises ConfigurationError."""
