"""SQS: how much of the bare client's rate is left, at what price, and what idle queues cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.aws import elasticmq, fill_queue, new_queues, options
from benchmarks.counting import counted
from benchmarks.measuring import Watch, delivering, figures, program, rates
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn_aws.sqs import SqsQueue
from tests.servers.aws import AwsServer

_WINDOW = 60
"""Seconds for which idle queues are watched: three long polls of each."""


class Throughput:
    """A queue that is full, and so many pollers: the bare loop, and the engine by both of its transports."""

    def __init__(self, pollers: int, messages: int) -> None:
        self._pollers = pollers
        self._messages = messages
        of = f"SQS, {pollers} poller{'s' * (pollers > 1)}, 1 KB messages, batch size 10, whole Lambda event"
        against = "bare: aiobotocore's receive_message, then delete_message_batch"
        cpu = "messages per second of the client's CPU"
        self.scenarios: Sequence[Scenario] = (
            Scenario(
                f"sqs-{pollers}-lean",
                f"{of}; {against}",
                "messages/s",
                "lean",
                "bare",
                Target("ratio", at_least=0.9),
            ),
            Scenario(
                f"sqs-{pollers}-lean-cpu",
                f"{of}: {cpu}; {against}",
                "messages/CPU-s",
                "lean-cpu",
                "bare-cpu",
                Target("ratio", at_least=2.5),
            ),
            Scenario(
                f"sqs-{pollers}-botocore",
                f"{of}, transport=botocore; {against}",
                "messages/s",
                "botocore",
                "bare",
                Target("ratio", at_least=0.9),
            ),
            Scenario(
                f"sqs-{pollers}-botocore-cpu",
                f"{of}, transport=botocore: {cpu}; {against}",
                "messages/CPU-s",
                "botocore-cpu",
                "bare-cpu",
            ),
        )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        server = elasticmq()
        messages = settings.size(self._messages, 200)
        name, url = settings.run(new_queues(server, 1))[0]

        def side(way: str, reads: Callable[[Watch], Awaitable[object]]) -> dict[str, Side]:
            def prepare() -> None:
                settings.run(fill_queue(server, url, messages))

            return rates(way, messages, reads, settings, prepare)

        sides = {
            **side("bare", lambda watch: self._bare(server, url, watch)),
            **side("lean", lambda watch: self._streamfn(server, name, "lean", watch)),
            **side("botocore", lambda watch: self._streamfn(server, name, "botocore", watch)),
        }
        for warm in sides.values():
            warm()  # Once unmeasured: a server is slow until its code is compiled.
        yield sides

    async def _streamfn(self, server: AwsServer, name: str, transport: str, watch: Watch) -> None:
        async def nothing(event: dict[str, Any], context: Any) -> None:
            watch.saw(len(event["Records"]))

        source = SqsQueue(name, wait_time_seconds=1, transport=transport, **options(server.endpoint))
        async with delivering(
            nothing,
            source,
            batch=False,
            batch_size=10,
            maximum_batching_window_in_seconds=0,
            maximum_concurrency=self._pollers,
        ):
            await watch.rate()

    async def _bare(self, server: AwsServer, url: str, watch: Watch) -> None:
        """At least once by hand, with all that an event shows of a message: receive, call, delete."""

        async def nothing(messages: Sequence[Any]) -> None:
            watch.saw(len(messages))

        async def poll(sqs: Any) -> None:
            while not watch.is_done:
                answer = await sqs.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=10,
                    WaitTimeSeconds=1,
                    MessageSystemAttributeNames=["All"],
                    MessageAttributeNames=["All"],
                )
                messages = answer.get("Messages")
                if not messages:
                    continue
                await nothing(messages)
                entries = [
                    {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                    for index, message in enumerate(messages)
                ]
                await sqs.delete_message_batch(QueueUrl=url, Entries=entries)

        async with server.client("sqs") as sqs, asyncio.TaskGroup() as tasks:
            for _ in range(self._pollers):
                tasks.create_task(poll(sqs))


class Idle:
    """Many queues in which there is nothing."""

    def __init__(self, queues: int) -> None:
        self._queues = queues
        of = f"{queues} idle mappings on {queues} queues of SQS"
        self.scenarios: Sequence[Scenario] = (
            Scenario(
                "sqs-idle-cpu",
                f"{of}: share of one core",
                "%",
                "cpu",
                None,
                Target("figure", at_most=1),
            ),
            Scenario(
                "sqs-idle-requests",
                f"{of}: requests; a long poll lasts 20 s",
                "requests/s",
                "requests",
                None,
                Target("figure", at_most=queues / 20),
            ),
        )

    def repeats(self, settings: Settings) -> int:
        return 1

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        server = elasticmq()
        window = settings.size(_WINDOW, 1)
        queues = settings.run(new_queues(server, settings.size(self._queues, 10)))
        with (
            counted(server.endpoint) as proxy,
            program("sqs_idle", proxy.endpoint, *(name for name, _ in queues)) as mappings,
        ):
            mappings.next()
            # What starting has left behind is not idleness; and the next polls begin well within the window.
            time.sleep(settings.size(5, 0))
            process = psutil.Process(mappings.pid)

            def measured() -> Mapping[str, float]:
                before, asked = process.cpu_times(), proxy.requests.total()
                began = time.perf_counter()
                time.sleep(window)
                after, took = process.cpu_times(), time.perf_counter() - began
                used = after.user + after.system - before.user - before.system
                return {"cpu": 100 * used / took, "requests": (proxy.requests.total() - asked) / took}

            yield figures("cpu", measured, "requests")


GROUPS = (Throughput(1, 3000), Throughput(8, 6000), Idle(100))
