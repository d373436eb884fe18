"""The other end of a queue of SQS: what a test puts there, and what is left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio

from tests.servers.aws import KEY, REGION, SECRET, AwsServer
from tests.waiting import PATIENCE, until


class SqsEnd:
    """One queue, made for a test, with the client of its own that a producer would have."""

    def __init__(self, server: AwsServer, sqs: Any) -> None:
        self.server = server
        self.sqs = sqs
        self.name = ""
        self.url = ""
        self.arn = ""

    async def create(self, *, fifo: bool = False, dead: SqsEnd | None = None, **attributes: Any) -> SqsEnd:
        """Makes it. `dead`: where messages go after `max_receive_count` receives."""
        self.name = self.server.unique("queue") + (".fifo" if fifo else "")
        texts = {name: str(value) for name, value in attributes.items()}
        if fifo:
            texts |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        if dead is not None:
            most = int(texts.pop("max_receive_count"))
            texts["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": most})
        self.url = (await self.sqs.create_queue(QueueName=self.name, Attributes=texts))["QueueUrl"]
        found = await self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = found["Attributes"]["QueueArn"]
        return self

    def another(self) -> SqsEnd:
        """A queue beside it, to be created."""
        return SqsEnd(self.server, self.sqs)

    def uri(self, endpoint: str | None = None, **options: Any) -> str:
        """What an app names it by."""
        given = {
            "endpoint_url": endpoint or self.server.endpoint,
            "region": REGION,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "wait_time_seconds": 1,
            **options,
        }
        return f"sqs://{self.name}?" + "&".join(f"{name}={value}" for name, value in given.items())

    async def put(self, bodies: Sequence[str], group: Callable[[str], str] | None = None) -> None:
        """Puts messages, in order; with `group` the MessageGroupId of each."""
        for first in range(0, len(bodies), 10):
            entries = []
            for index, body in enumerate(bodies[first : first + 10]):
                entry = {"Id": str(index), "MessageBody": body}
                if group is not None:
                    entry["MessageGroupId"] = group(body)
                entries.append(entry)
            answer = await self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)
            assert not answer.get("Failed"), answer["Failed"]

    async def put_many(self, bodies: Sequence[str], at_once: int = 8) -> None:
        """Many messages in no order. Unsigned and unchecked: a client of AWS's would take half a minute."""
        batches = [bodies[first : first + 10] for first in range(0, len(bodies), 10)]
        headers = {"X-Amz-Target": "AmazonSQS.SendMessageBatch", "Content-Type": "application/x-amz-json-1.0"}

        async def put(http: aiohttp.ClientSession) -> None:
            while batches:
                entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(batches.pop())]
                body = json.dumps({"QueueUrl": self.url, "Entries": entries})
                async with http.post(self.server.endpoint, data=body, headers=headers) as response:
                    assert len((await response.json(content_type=None))["Successful"]) == len(entries)

        async with aiohttp.ClientSession() as http, anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(put, http)

    async def counts(self) -> tuple[int, int]:
        """Messages that wait, and messages that are hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = await self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        waiting, hidden = (int(found["Attributes"][name]) for name in names)
        return waiting, hidden

    async def take_all(self) -> list[dict[str, Any]]:
        """All messages that wait; they are deleted."""
        taken: list[dict[str, Any]] = []
        while True:
            answer = await self.sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
            )
            messages = answer.get("Messages", [])
            if not messages:
                return taken
            taken += messages
            entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
            await self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)

    async def empty(self, seconds: float = PATIENCE) -> None:
        """Returns when nothing waits and nothing is hidden."""
        await self.counted(lambda waiting, hidden: waiting == hidden == 0, seconds)

    async def counted(self, holds: Callable[[int, int], bool], seconds: float = PATIENCE) -> None:
        """Returns when it holds of what waits and what is hidden."""

        async def asked() -> bool:
            return holds(*await self.counts())

        await until(asked, seconds)


@asynccontextmanager
async def queue_end(server: AwsServer) -> AsyncIterator[SqsEnd]:
    """A queue to be created, while the block lasts."""
    async with server.client("sqs", max_pool_connections=50) as sqs:
        yield SqsEnd(server, sqs)
