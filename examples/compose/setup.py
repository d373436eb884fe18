"""Makes the topics and queues of app.py, those that are not there yet."""

import asyncio
import json
import os
from urllib.parse import urlsplit

from aiobotocore.session import get_session
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

SERVERS = urlsplit(os.environ["KAFKA"]).netloc


async def topics(*names: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=SERVERS)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, 4, 1) for name in names])
        for name, code, *message in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(name, *message)
    finally:
        await admin.close()


async def queues(name: str, dead: str, tries: int) -> None:
    async with get_session().create_client("sqs") as sqs:
        url = (await sqs.create_queue(QueueName=dead))["QueueUrl"]
        known = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        redrive = {"deadLetterTargetArn": known["Attributes"]["QueueArn"], "maxReceiveCount": tries}
        await sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(redrive)})


async def main() -> None:
    await topics("flights", "flights-dead")
    await queues("flights", "flights-dead", tries=3)
    print("topics and queues are there")


asyncio.run(main())
