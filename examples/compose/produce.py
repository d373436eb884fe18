"""Sends FLIGHTS flights, RATE a second, to Kafka, and every tenth to SQS instead."""

import asyncio
import csv
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from itertools import islice

from streamfn.demo import dataset
from streamfn.ports import Destination, Message
from streamfn_aws import SqsDestination
from streamfn_kafka import KafkaDestination

FLIGHTS, RATE = int(os.environ["FLIGHTS"]), int(os.environ["RATE"])


def flights() -> Iterator[Message]:
    with zipfile.ZipFile(dataset.fetch()) as archive, archive.open("flights.csv") as file:
        for row in islice(csv.DictReader(io.TextIOWrapper(file, "utf-8")), FLIGHTS):
            yield Message(json.dumps(row).encode(), key=row["carrier"])


async def send(destination: Destination, messages: list[Message]) -> None:
    for failure in await destination.send(messages):
        sys.exit(f"{destination.name}: {failure.reason}")


async def main() -> None:
    kafka = KafkaDestination.from_uri(f"{os.environ['KAFKA']}/flights", {})
    sqs = SqsDestination("flights")
    rows, sent = flights(), 0
    try:
        while second := list(islice(rows, RATE)):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send(kafka, [row for n, row in enumerate(second) if n % 10]))
                tasks.create_task(send(sqs, second[::10]))
                tasks.create_task(asyncio.sleep(1))
            sent += len(second)
            if sent % (10 * RATE) == 0 or sent == FLIGHTS:
                print(f"{sent:,} flights sent")
    finally:
        await kafka.close()
        await sqs.close()


asyncio.run(main())
