"""SQS that is away, has too much to do, or answers and is not heard; and workers that are killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from streamfn import App, Batch
from streamfn.telemetry import SettlementFailed, TelemetryEvent
from tests.aws.queues import SqsEnd, queue_end
from tests.servers.aws import Ministack
from tests.servers.aws_process import frozen
from tests.servers.elasticmq import run_elasticmq
from tests.servers.microburst import (
    Microburst,
    Rule,
    answer_lost,
    error,
    latency,
    reset,
    run_microburst,
    throttle,
    unavailable,
)
from tests.waiting import until
from tests.workers import working

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def proxy(own_aws: Ministack) -> Iterator[Microburst]:
    with run_microburst(own_aws.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def queue(own_aws: Ministack) -> AsyncIterator[SqsEnd]:
    async with queue_end(own_aws) as end:
        yield end


class Trouble:
    """The troubles of an app: what could not be settled."""

    def __init__(self) -> None:
        self.events: list[SettlementFailed] = []

    def emit(self, event: TelemetryEvent) -> None:
        if isinstance(event, SettlementFailed):
            self.events.append(event)


class Noted:
    """A batch function that notes the bodies it was given."""

    def __init__(self) -> None:
        self.bodies: Counter[str] = Counter()

    async def __call__(self, batch: Batch) -> None:
        self.bodies.update((record.value or b"").decode() for record in batch)


def app_of(function: Any, source: str, trouble: Trouble, **options: Any) -> App:
    app = App(name="outages", telemetry=[trouble])
    app.function(name="f", batch=True)(function)
    app.event_source_mapping("f", source, **options)
    return app


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(throttle("sqs", "ReceiveMessage", times=2), id="a throttled receive"),
        pytest.param(throttle("sqs", "DeleteMessageBatch", times=3), id="a throttled delete"),
        pytest.param(unavailable("sqs", "ReceiveMessage", times=4), id="a receive of a service that is away"),
        pytest.param(unavailable("sqs", "DeleteMessageBatch", times=4), id="a delete of one"),
        pytest.param(reset("sqs", "ReceiveMessage", times=4), id="a broken connection of a receive"),
        pytest.param(reset("sqs", "DeleteMessageBatch", times=4), id="a broken connection of a delete"),
        pytest.param(latency("sqs", None, 300, times=6), id="a slow service"),
        pytest.param(answer_lost("sqs", "DeleteMessageBatch", times=2), id="a delete whose answer is lost"),
        pytest.param(
            error("sqs", "DeleteMessageBatch", "InternalError", 500, times=4), id="a failure of the service"
        ),
    ],
)
async def test_trouble_that_passes_costs_no_message_and_repeats_none(
    queue: SqsEnd, proxy: Microburst, rule: Rule
) -> None:
    await queue.create(VisibilityTimeout=30)
    await queue.put([str(n) for n in range(50)])
    proxy.rules(rule)
    function, trouble = Noted(), Trouble()
    async with app_of(function, queue.uri(proxy.endpoint), trouble):
        await queue.empty()
    assert proxy.fired()
    assert function.bodies == Counter(str(n) for n in range(50))
    assert trouble.events == []


async def test_a_receive_whose_answer_is_lost_comes_again(queue: SqsEnd, proxy: Microburst) -> None:
    """Its messages are hidden, and come when their visibility timeout is over."""
    await queue.create(VisibilityTimeout=2)
    await queue.put([str(n) for n in range(10)])
    proxy.rules(answer_lost("sqs", "ReceiveMessage", times=1))
    function, trouble = Noted(), Trouble()
    async with app_of(function, queue.uri(proxy.endpoint), trouble):
        await queue.empty()
    assert function.bodies == Counter(str(n) for n in range(10))


async def test_what_cannot_be_deleted_for_long_is_told_and_comes_again(
    queue: SqsEnd, proxy: Microburst
) -> None:
    await queue.create(VisibilityTimeout=1)
    await queue.put(["m"])
    proxy.rules(throttle("sqs", "DeleteMessageBatch"))
    function, trouble = Noted(), Trouble()
    async with app_of(function, queue.uri(proxy.endpoint), trouble):
        await until(lambda: function.bodies["m"] >= 2 and bool(trouble.events))
        assert {event.action for event in trouble.events} == {"ack"}
        assert "RequestThrottled" in trouble.events[0].reason
        proxy.reset()
        await queue.empty()


async def test_a_server_that_stops_and_comes_back(queue: SqsEnd, own_aws: Ministack) -> None:
    await queue.create(VisibilityTimeout=2)
    function, trouble = Noted(), Trouble()
    async with app_of(function, queue.uri(), trouble) as app:
        await queue.put(["before"])
        await until(lambda: function.bodies["before"] > 0)
        await queue.empty()
        await to_thread.run_sync(own_aws.stop)
        await to_thread.run_sync(own_aws.start)
        await queue.put(["after"])
        await until(lambda: function.bodies["after"] > 0)
        assert app.statuses()[0].state == "Enabled"


async def test_a_server_that_hangs(queue: SqsEnd, own_aws: Ministack) -> None:
    """It does so while a function runs, whose delete then waits for it."""
    await queue.create(VisibilityTimeout=30)
    begun, go_on, returned = anyio.Event(), anyio.Event(), anyio.Event()
    function, trouble = Noted(), Trouble()

    async def held(batch: Batch) -> None:
        begun.set()
        await go_on.wait()
        await function(batch)
        returned.set()

    async with app_of(held, queue.uri(), trouble):
        await queue.put(["before"])
        await begun.wait()
        with frozen(own_aws):
            go_on.set()
            await returned.wait()
            await anyio.wait_all_tasks_blocked()
        await queue.put(["after"])
        await queue.empty()
    assert function.bodies == Counter({"before": 1, "after": 1})
    assert trouble.events == []


@pytest.mark.parametrize("count", [10_000, pytest.param(50_000, marks=pytest.mark.bench)])
async def test_a_worker_is_killed_in_the_middle_of_thousands(tmp_path: Path, count: int) -> None:
    """Nothing is lost; what comes twice is what was in flight, or was done and not yet deleted."""
    in_flight = 10 * 10
    # The other server takes seconds for each receive with as many messages as this.
    with run_elasticmq() as server:
        async with queue_end(server) as queue:
            await queue.create(VisibilityTimeout=3)
            await queue.put_many([str(number) for number in range(count)])
            async with working(tmp_path, queue.name, queue.uri(), maximum_concurrency=10, name="m") as group:
                first = group.start()
                await group.until_done(count // 4)
                group.kill(first)
                assert group.count() < count
                group.start()
                await group.until_done(count)
                assert {number for _, number in group.done()} == set(range(count))
                assert group.twice() <= 2 * in_flight
                await queue.empty()
