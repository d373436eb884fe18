"""What the tests of the core are made of: records, batches, strategies, and a driver without a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from streamfn.core.checkpoints import CheckpointTracker
from streamfn.core.delivery import Discard, decide, screen
from streamfn.core.events import KafkaRecord, KafkaShape, KinesisShape, SqsShape
from streamfn.core.lanes import Lanes, lanes_for
from streamfn.core.outcomes import Cause, Condition, Failed, Outcome, Refused, Succeeded, Throttled
from streamfn.core.policies import Backoff, BatchPolicy, Delays, DeliveryPolicy, Ordering
from streamfn.core.records import Batch, Headers, QueueRecord, Record, StreamRecord

KINESIS = KinesisShape(
    "arn:aws:kinesis:eu-west-1:123456789012:stream/readings", "shardId-000000000003", "eu-west-1"
)
SQS = SqsShape("arn:aws:sqs:eu-west-1:123456789012:orders", "eu-west-1")
KAFKA = KafkaShape("orders", 2, "broker-1:9092,broker-2:9092")
MSK = KafkaShape("orders", 2, "broker-1:9098", "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1f")

SMALL = 10_000
"""A payload limit for tests: about twenty small records."""


@dataclass(slots=True, eq=False, repr=False)
class HeldKafkaRecord(KafkaRecord):
    """A Kafka record held as plain fields."""

    offset: int
    value: bytes | None = b"{}"
    raw_key: bytes | None = None
    headers: Headers = ()
    timestamp: int = 1_700_000_000_123
    timestamp_type: Any = "CREATE_TIME"
    topic: str = "orders"
    partition: int = 2


@dataclass(slots=True, eq=False, repr=False)
class Weighed(StreamRecord):
    """A stream record that says itself how heavy it is."""

    weight: int = 500

    @property
    def size(self) -> int:
        return self.weight


def stream(count: int, *, start: int = 0, key: str | None = None, arrived_at: float = 0.0) -> list[Record]:
    """Records of a stream at growing positions."""
    return [StreamRecord(start + i, b"{}", key, arrived_at) for i in range(count)]


def batch_of(records: Sequence[Record], attempt: int = 0) -> Batch:
    """A batch as a Kinesis mapping has it."""
    return Batch(records, KINESIS, attempt)


def ids(records: Sequence[Record]) -> list[str]:
    """Their ids in order."""
    return [record.id for record in records]


def reported(*names: object) -> dict[str, object]:
    """A partial batch response that names records."""
    return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}


FAILURE = Failed("ValueError", "no", ("  File …",))

keys = st.sampled_from([None, "", "a", "b", "c"])
instants = st.floats(0, 2_000_000_000)


@st.composite
def streams(draw: st.DrawFn, most: int = 12) -> list[Record]:
    """Records of one shard: positions with gaps, few keys."""
    gaps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=most))
    position = draw(st.integers(-1, 100))
    made: list[Record] = []
    for gap in gaps:
        position += gap
        weight = draw(st.sampled_from([500, 501, 900, SMALL, 2 * SMALL]))
        made.append(Weighed(position, b"", draw(keys), draw(st.floats(0, 100)), weight=weight))
    return made


@st.composite
def batches(draw: st.DrawFn, most: int = 12) -> Batch:
    """Batches of any age."""
    attempt, throttles = draw(st.integers(0, 6)), draw(st.integers(0, 70))
    return Batch(draw(streams(most)), KINESIS, attempt, throttles, draw(st.booleans()))


policies = st.builds(
    DeliveryPolicy,
    ordering=st.sampled_from(Ordering),
    report_batch_item_failures=st.booleans(),
    bisect_batch_on_function_error=st.booleans(),
    maximum_retry_attempts=st.none() | st.integers(0, 5),
    maximum_record_age=st.none() | st.floats(1, 200),
)
asynchronous = st.builds(
    replace,
    policies,
    backoff=st.lists(st.floats(0, 200), max_size=3).map(lambda delays: Delays(tuple(delays)))
    | st.just(Backoff()),
    asynchronous=st.just(True),
)
refusals = st.sampled_from([Condition.ZERO_RESERVED_CONCURRENCY, Condition.RECURSIVE_INVOCATION]).map(Refused)


class Strange:
    """What a function might answer that cannot even be compared, as arrays cannot."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:  # pragma: no cover - nobody may ask
        raise ValueError("the truth value is ambiguous")

    def __bool__(self) -> bool:  # pragma: no cover - nobody may ask
        raise ValueError("the truth value is ambiguous")

    def __repr__(self) -> str:  # pragma: no cover - for reports of failures
        return "<strange>"


def nested(depth: int) -> Any:
    """Lists in lists, deeper than `repr` and `json` can follow."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.builds(Strange),
    st.just({1, 2}),
)
anything = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["batchItemFailures", "itemIdentifier", "partition", "offset"])
            | st.integers()
            | st.none()
            | st.tuples(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@st.composite
def answers(draw: st.DrawFn, batch: Batch) -> object:
    """Partial batch responses: right, wrong, and strange ones."""
    known = st.sampled_from(ids(batch.records))
    one = draw(st.integers(0, 3))
    if one == 0:
        return draw(anything)
    if one == 1:
        names = draw(st.lists(known | anything, max_size=4))
        return reported(*names)
    return reported(*draw(st.lists(known, max_size=6)))


@st.composite
def outcomes(draw: st.DrawFn, batch: Batch) -> Outcome:
    """Any outcome of invoking the batch."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return Throttled(draw(st.floats(0, 1000)))
    if kind <= 2:
        return Failed("E", "m", cause=draw(st.sampled_from(Cause)))
    if kind == 3:
        return Succeeded(failed=frozenset(draw(st.lists(st.sampled_from([*ids(batch.records), "?"])))))
    return Succeeded(draw(answers(batch)))


@dataclass
class Run:
    """What a mapping did: each delivery as the ids in it and when, each discard, and the time it took."""

    deliveries: list[list[str]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    discards: list[Discard] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    now: float = 0.0

    @property
    def discarded(self) -> list[str]:
        return [record.id for discard in self.discards for record in discard.batch.records]


def drive(
    records: Sequence[Record],
    function: Callable[[Batch], Outcome],
    policy: DeliveryPolicy,
    *,
    batch_size: int = 100,
    factor: int = 1,
    now: float = 0.0,
    payload_limit: int = SMALL,
    most: int = 10_000,
) -> Run:
    """Delivers all the records as a worker would, without a loop: time jumps to whatever is due."""
    run = Run(now=now)
    batching = BatchPolicy(batch_size, payload_limit=payload_limit)
    lanes: Lanes = lanes_for(policy.ordering, factor, batching, KINESIS)
    tracker = CheckpointTracker(-1)
    tracker.track(records)
    lanes.add(records, now)
    while (due_at := lanes.due_at) is not None:
        run.now = max(run.now, due_at)
        taken = lanes.take(run.now)
        assert taken is not None
        batch, gone = screen(taken, policy, payload_limit, run.now)
        again: tuple[Batch, ...] = ()
        delay = 0.0
        if batch is not None:
            assert len(run.deliveries) < most, "this never ends"
            run.deliveries.append(ids(batch.records))
            run.starts.append(run.now)
            decision = decide(batch, function(batch), policy, run.now)
            run.done += decision.done
            tracker.resolve(decision.done)
            again, delay, gone = decision.retry, decision.delay, (*gone, *decision.discard)
        for discard in gone:
            run.discards.append(discard)
            tracker.resolve(discard.batch.records)
        if again:
            lanes.retry(taken, again, run.now, delay)
        else:
            lanes.finish(taken, run.now)
    assert len(lanes) == 0
    assert tracker.unresolved == 0
    assert tracker.committable == (records[-1].position if records else -1)
    return run


def message(name: str, body: bytes = b"{}", **fields: Any) -> QueueRecord:
    """A message of a queue."""
    return QueueRecord(name, body, **fields)
