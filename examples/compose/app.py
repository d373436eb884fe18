"""Flights from Kafka and from SQS. Those that never arrived fail, and come back here as dead letters."""

import json
import os
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass
from typing import Any

from streamfn import App

KAFKA = os.environ["KAFKA"]
DEAD = "{}, dead letter: {carrier} {flight} to {dest} never arrived"

app = App(name="airport")
seen: Counter[str] = Counter()


@dataclass
class Flight:
    arr_delay: str


@app.function(each=Flight)
async def from_kafka(flight: Flight) -> None:
    note("Kafka", flight)


@app.function(each=Flight)
async def from_sqs(flight: Flight) -> None:
    note("SQS", flight)


def note(source: str, flight: Flight) -> None:
    minutes = float(flight.arr_delay)  # fails on "NA": it never arrived
    seen[source] += 1
    if seen[source] % 500 == 1:
        print(f"{source}: {seen[source]:,} flights, this one {minutes:+.0f} minutes")


@app.function(each=dict)
async def dead_in_kafka(letter: dict[str, Any]) -> None:
    for records in letter["payload"]["records"].values():
        for record in records:
            print(DEAD.format("Kafka", **json.loads(b64decode(record["value"]))))


@app.function(each=dict)
async def dead_in_sqs(flight: dict[str, Any]) -> None:
    print(DEAD.format("SQS", **flight))


report: Any = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
bisect: Any = {**report, "BisectBatchOnFunctionError": True, "MaximumRetryAttempts": 1}
app.event_source_mapping(from_kafka, f"{KAFKA}/flights", OnFailure=f"{KAFKA}/flights-dead", **bisect)
app.event_source_mapping(dead_in_kafka, f"{KAFKA}/flights-dead", **report)
# SQS itself gives them up. A drain lets a poll end, and shorter ones end sooner.
app.event_source_mapping(from_sqs, "sqs://flights?wait_time_seconds=5", RetryDelay=1, **report)
app.event_source_mapping(dead_in_sqs, "sqs://flights-dead?wait_time_seconds=5", **report)
