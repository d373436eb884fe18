"""What a connector declares of its broker. A test of what is off is skipped, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import pytest

Has: TypeAlias = bool | str
"""True; or why not, in the words that stand behind a skipped test and in the table of capabilities."""


def needs(has: Has, what: str) -> None:
    """Skips the test that calls it, unless the feature is there."""
    if has is not True:
        pytest.skip(f"{what}: {has or 'not declared'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to wait for a broker."""

    patience: float = 10.0
    """Seconds within which it does what it promises."""
    moment: float = 0.5
    """Seconds after which what has not happened is taken not to happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFeatures(Pace):
    """A source of ordered shards."""

    shares: Has = True
    """Readers of one group share the shards, among which there may be several."""
    waits_for_close: Has = True
    """A shard asked for with REQUESTED is nobody else's until it is closed."""
    latest: Has = True
    at_timestamp: Has = True
    headers: Has = True
    tombstones: Has = True
    notes: Has = True
    losing: Has = True
    """The harness can take a shard away without asking."""
    trimming: Has = True
    """The harness can remove records that were not read."""
    ending: Has = True
    """The harness can end a shard."""
    restarting: Has = True
    """The harness can restart the broker, and records and checkpoints survive it."""
    unreachable: Has = True
    """The harness can give a source that nobody answers."""
    max_payload: int = 1_000_000
    """Bytes of the largest value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFeatures(Pace):
    """A source of messages."""

    visibility_timeout: float = 2.0
    """Seconds that the tests hide messages for; some brokers know whole seconds only."""
    redelivers: Has = True
    """What is neither settled nor extended comes back while its poller stays open."""
    delays: Has = True
    """A release may hold messages back."""
    extends: Has = True
    takes_back: Has = True
    """A release without delay undoes the receive."""
    receive_counts: Has = True
    """Records say how often they were received."""
    fifo: Has = True
    """Messages of one key come in order, one after the other."""
    keys: Has = True
    headers: Has = True
    any_text: Has = True
    """A body may be any text: empty, and with control characters in it."""
    restarting: Has = True
    unreachable: Has = True
    max_batch: int = 10
    """Most records of one read."""
    max_payload: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFeatures(Pace):
    """A destination."""

    keys: Has = True
    headers: Has = True
    any_text: Has = True
    """A body may be any text: empty, and with control characters in it."""
    refusing: Has = True
    """The harness can make a message that is refused while others are taken."""
    unreachable: Has = True
    max_payload: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStoreFeatures(Pace):
    """A store of leases."""

    reopening: Has = True
    """The harness can close the store and open it again, and leases survive it."""
    note: int = 4096
    """Characters of the longest note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterStoreFeatures(Pace):
    """A store of dead letters."""

    removes: Has = True
    """Single letters can be taken out."""
    ordered: Has = True
    """The oldest comes first."""
    keys: Has = True
    headers: Has = True
    any_text: Has = True
    """A body may be any text: empty, and with control characters in it."""
    unreachable: Has = True
    """The harness can give a store that nobody answers for."""
    many: int = 1_100
    """Letters that are more than one page or answer holds."""
    max_payload: int = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFetcherFeatures(Pace):
    """What fetches records back."""

    trimming: Has = True
    """The harness can remove the oldest records."""
    unreachable: Has = True
    """The harness can give a fetcher that nobody answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQueueFeatures(Pace):
    """A queue of asynchronous invocations."""

    visibility_timeout: float = 30.0
    """Seconds for which a read hides its events."""
    shared: Has = True
    """Several processes may use it at the same time."""
    dying: Has = True
    """The harness can end a reader without a word."""
    unusable: Has = True
    """The harness can give a queue that cannot be used."""
    max_payload: int = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFeatures(Pace):
    """A runtime, with the function of `streamfn.testing.conformance.function`."""

    timeout: float = 1.0
    """Seconds of an invocation, as the harness has it set up."""
    ending: float = 3.0
    """Seconds that ending a function takes at most, and making a new one of it."""
    capacity: int = 1
    """Invocations of one environment at a time, as the harness has it set up."""
    request_ids: Has = True
    """The function is told the request id of the caller."""
    arns: Has = True
    """The function is told the ARN that it was invoked by."""
    traces: Has = True
    client_contexts: Has = True
    logs: Has = True
    deadlines: Has = True
    """The function knows how much time it has left."""
    dying: Has = True
    """A function whose process ends is told apart from one that raises."""
    apart: Has = True
    """Environments share nothing, so each counts for itself."""
    resetting: Has = True
    """What a function that was cut off kept in memory is gone."""
    init: Has = True
    """The harness can make functions that do not initialise."""
    slow_init: Has = True
    """The harness can make functions whose init lasts, and time passes quickly enough for it."""
    cutting: Has = True
    """What is cut off runs no more."""
    breaking: Has = True
    """The harness can break an environment."""
    unusable: Has = True
    """The harness can give a runtime that can make no environment."""
    large: Has = True
    """An answer above 6 MB is refused as Lambda does."""
    streaming: Has = "its answers are whole"
    """The harness can make functions that stream, and their answers come piece by piece."""
    max_payload: int = 5_000_000
    """Bytes of the largest event and answer."""
