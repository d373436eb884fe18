"""Mappings of SQS queues through the whole engine: vectors recorded on AWS, and what holds beyond them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamfn import App, Batch, ConfigurationError, TooManyRequests
from streamfn_aws import SqsQueue
from tests.aws.queues import SqsEnd, queue_end
from tests.servers.aws import AwsServer
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]


@pytest.fixture
async def queue(aws: AwsServer) -> AsyncIterator[SqsEnd]:
    async with queue_end(aws) as end:
        yield end


class Deliveries:
    """A Lambda function that notes what it is called with, and then does as it is told."""

    def __init__(self, then: Any = lambda bodies: None) -> None:
        self.then = then
        self.events: list[dict[str, Any]] = []
        self.most = self.running = 0

    async def __call__(self, event: dict[str, Any], context: Any) -> Any:
        self.events.append(event)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = self.then([record["body"] for record in event["Records"]])
            return await answer if hasattr(answer, "__await__") else answer
        finally:
            self.running -= 1

    @property
    def bodies(self) -> list[str]:
        return [record["body"] for event in self.events for record in event["Records"]]

    def records(self, body: str) -> list[dict[str, Any]]:
        return [record for event in self.events for record in event["Records"] if record["body"] == body]


@asynccontextmanager
async def running(function: Any, source: str, **options: Any) -> AsyncIterator[App]:
    app = App(name="sqs")
    settings = {name: options.pop(name) for name in ("batch", "timeout") if name in options}
    app.function(name="f", **settings)(function)
    app.event_source_mapping("f", source, **options)
    async with app:
        yield app


def failing(*bad: str) -> Any:
    def then(bodies: list[str]) -> None:
        if set(bodies) & set(bad):
            raise ValueError("bad")

    return then


def reporting(*bad: str) -> Any:
    """Answers of the partial batch response need message ids, so this takes the whole event."""

    async def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        failed = [record["messageId"] for record in event["Records"] if record["body"] in bad]
        return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}

    return handler


async def test_a_failed_message_comes_again_after_its_visibility_timeout(queue: SqsEnd) -> None:
    """A11: the second delivery has the same id and receive count 2."""
    await queue.create(VisibilityTimeout=1)
    calls = 0

    def once(bodies: list[str]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("the first time")

    function = Deliveries(once)
    async with running(function, queue.uri()):
        await queue.put(["m"])
        await until(lambda: calls == 2)
        await queue.empty()
    first, second = function.records("m")
    assert first["messageId"] == second["messageId"]
    assert second["attributes"]["ApproximateReceiveCount"] == "2"


async def test_the_queue_moves_what_was_received_too_often(queue: SqsEnd) -> None:
    """A12: after exactly maxReceiveCount deliveries the message is in the dead-letter queue, its id kept."""
    dead = await queue.another().create()
    await queue.create(VisibilityTimeout=1, dead=dead, max_receive_count=3)
    function = Deliveries(failing("poison"))
    async with running(function, queue.uri(), BatchSize=1):
        await queue.put(["poison", "good"])
        await dead.counted(lambda waiting, hidden: waiting == 1)
    assert len(function.records("poison")) == 3
    assert len(function.records("good")) == 1
    (letter,) = await dead.take_all()
    assert letter["MessageId"] == function.records("poison")[0]["messageId"]
    assert letter["Body"] == "poison"


async def test_only_reported_messages_come_again(queue: SqsEnd) -> None:
    """A13: with ReportBatchItemFailures the others are deleted."""
    dead = await queue.another().create()
    await queue.create(VisibilityTimeout=1, dead=dead, max_receive_count=2)
    await queue.put([str(n) for n in range(10)])
    async with running(reporting("3", "7"), queue.uri(), FunctionResponseTypes=["ReportBatchItemFailures"]):
        await dead.counted(lambda waiting, hidden: waiting == 2)
        await queue.empty()
    assert sorted(letter["Body"] for letter in await dead.take_all()) == ["3", "7"]


async def test_a_window_gathers_batches_of_many_receives(queue: SqsEnd) -> None:
    """A15: 30 messages, BatchSize 20, a window: batches above ten, and never above the size."""
    await queue.create()
    await queue.put([str(n) for n in range(30)])
    function = Deliveries()
    async with running(
        function, queue.uri(), BatchSize=20, MaximumBatchingWindowInSeconds=1, MaximumConcurrency=2
    ):
        await queue.empty()
    sizes = [len(event["Records"]) for event in function.events]
    assert sum(sizes) == 30
    assert max(sizes) > 10
    assert max(sizes) <= 20


async def test_a_function_that_outlives_the_visibility_timeout_is_not_run_twice(queue: SqsEnd) -> None:
    """For three times the timeout another consumer gets nothing."""
    await queue.create(VisibilityTimeout=1)
    go_on = anyio.Event()
    function = Deliveries(lambda bodies: go_on.wait())
    async with running(function, queue.uri()):
        await queue.put(["long"])
        await until(lambda: function.events)
        answer = await queue.sqs.receive_message(QueueUrl=queue.url, WaitTimeSeconds=3)
        assert not answer.get("Messages")
        go_on.set()
        await queue.empty()
    assert function.bodies == ["long"]


async def test_a_queue_that_hides_nothing_is_refused(queue: SqsEnd) -> None:
    """AWS refuses a visibility timeout below the function's timeout; ours is extended, but not from 0."""
    await queue.create(VisibilityTimeout=0)
    with pytest.raises(ConfigurationError, match=r"VisibilityTimeout: .* Fix: set it on the queue"):
        await SqsQueue.from_uri(queue.uri(), {}).check()


async def test_throttles_spend_no_receive(queue: SqsEnd) -> None:
    """With a maximum receive count of 1, a throttle that cost a receive would lose the message."""
    dead = await queue.another().create()
    await queue.create(VisibilityTimeout=1, dead=dead, max_receive_count=1)
    tries = 0

    def throttling(bodies: list[str]) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise TooManyRequests(retry_after=1.0)

    function = Deliveries(throttling)
    async with running(function, queue.uri()):
        await queue.put(["m"])
        await until(lambda: tries == 3)
        await queue.empty()
    assert await dead.counts() == (0, 0)
    assert {record["attributes"]["ApproximateReceiveCount"] for record in function.records("m")} == {"1"}


async def test_maximum_concurrency_is_the_most_that_runs(queue: SqsEnd) -> None:
    """And the most that is hidden: what cannot be delivered is not received."""
    await queue.create()
    await queue.put([str(n) for n in range(40)])
    go_on = anyio.Event()
    function = Deliveries(lambda bodies: go_on.wait())
    async with running(function, queue.uri(), BatchSize=1, MaximumConcurrency=3):
        await until(lambda: function.running == 3)
        assert await queue.counts() == (37, 3)
        go_on.set()
        await queue.empty()
    assert sorted(function.bodies, key=int) == [str(n) for n in range(40)]
    assert function.most == 3


async def test_nothing_is_hidden_after_a_drain(queue: SqsEnd) -> None:
    """What was read and not delivered is given back, also what the last long poll brings."""
    await queue.create(VisibilityTimeout=600)
    await queue.put([str(n) for n in range(200)])
    go_on = anyio.Event()

    def hold_the_later(bodies: list[str]) -> Any:
        return go_on.wait() if len(function.bodies) > 60 else None

    function = Deliveries(hold_the_later)
    source = queue.uri(wait_time_seconds=3)
    async with running(function, source, BatchSize=5, MaximumConcurrency=4) as app:
        await until(lambda: function.running == 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app.stop)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    done = len(function.bodies)
    assert 60 < done < 200
    waiting, hidden = await queue.counts()
    assert hidden == 0
    assert waiting == 200 - done


async def test_a_drain_gives_back_what_the_last_poll_brings(queue: SqsEnd) -> None:
    """The message comes while the app is told to stop: its poll is under way, and is not cancelled."""
    await queue.create(VisibilityTimeout=600)
    function = Deliveries()
    async with running(function, queue.uri(wait_time_seconds=5)) as app:
        await until(lambda: app.statuses()[0].shards > 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app.stop)
            await anyio.wait_all_tasks_blocked()
            await queue.put(["late"])
    assert function.bodies in ([], ["late"])
    assert await queue.counts() == (1 - len(function.bodies), 0)


async def test_fifty_groups_keep_their_order_through_failures(queue: SqsEnd) -> None:
    """FIFO: each group in order, groups beside each other, every fourth message failing once."""
    await queue.create(fifo=True, VisibilityTimeout=1)
    bodies = [f"{group}:{n}" for n in range(6) for group in range(50)]
    await queue.put(bodies, lambda body: body.partition(":")[0])
    done: dict[str, list[int]] = defaultdict(list)
    failed: set[str] = set()
    groups_at_once = 0
    open_groups: set[str] = set()

    async def work(batch: Batch) -> None:
        nonlocal groups_at_once
        groups = {record.key or "" for record in batch}
        assert not groups & open_groups, "two batches of one group at a time"
        open_groups.update(groups)
        groups_at_once = max(groups_at_once, len(open_groups))
        try:
            for record in batch:
                body = (record.value or b"").decode()
                group, _, number = body.partition(":")
                if int(number) % 4 == 1 and body not in failed:
                    failed.add(body)
                    raise ValueError(body)
                await anyio.lowlevel.checkpoint()
                if int(number) not in done[group]:
                    done[group].append(int(number))
        finally:
            open_groups.difference_update(groups)

    async with running(work, queue.uri(), batch=True, MaximumConcurrency=10, RetryDelay=0):
        await queue.empty(60)
    assert dict(done) == {str(group): list(range(6)) for group in range(50)}
    assert len(failed) == 100
    assert groups_at_once > 5


async def test_what_follows_a_reported_message_in_its_group_waits_for_it(queue: SqsEnd) -> None:
    await queue.create(fifo=True, VisibilityTimeout=1)
    await queue.put([f"{group}:{n}" for n in range(4) for group in "ab"], lambda body: body[0])
    order: list[str] = []
    failed: set[str] = set()

    async def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        reported = []
        for record in event["Records"]:
            if record["body"] == "a:1" and "a:1" not in failed:
                failed.add("a:1")
                reported.append(record["messageId"])
            else:
                order.append(record["body"])
        return {"batchItemFailures": [{"itemIdentifier": one} for one in reported]}

    async with running(handler, queue.uri(), FunctionResponseTypes=["ReportBatchItemFailures"]):
        await queue.empty()
    settled = list(dict.fromkeys(reversed([body for body in order if body[0] == "a"])))[::-1]
    assert settled == ["a:0", "a:1", "a:2", "a:3"]
    assert order.count("b:3") == 1


async def test_a_pattern_of_a_message_is_matched_before_it_costs_an_invocation(queue: SqsEnd) -> None:
    """A filter of the app's: what does not match is deleted at once."""
    await queue.create()
    await queue.put([json.dumps({"kind": kind}) for kind in ("a", "b") * 5])
    function = Deliveries()
    async with running(function, queue.uri(), filter=lambda record: record.json()["kind"] == "a"):
        await queue.empty()
    assert function.bodies == ['{"kind": "a"}'] * 5
