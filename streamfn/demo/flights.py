"""Arrival delays by carrier: the app of `streamfn demo`. It runs on the embedded broker or on Kafka as it is.

streamfn run streamfn.demo.flights:app
FLIGHTS=kafka://localhost:9092/flights streamfn run streamfn.demo.flights:app
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from streamfn import App

FLIGHTS = os.environ.get("FLIGHTS", "local:flights")
DEAD_LETTERS = f"{FLIGHTS}-dead"

app = App(name="flights")


@dataclass
class Flight:
    carrier: str
    arr_delay: str
    """Minutes late, below 0 when early; "NA" if the flight was cancelled or diverted."""


@dataclass
class Delays:
    flights: int = 0
    minutes: float = 0.0
    late: int = 0


delays: defaultdict[str, Delays] = defaultdict(Delays)


@app.function(each=Flight)
async def delay_by_carrier(flight: Flight) -> None:
    minutes = float(flight.arr_delay)  # a bug: some 9,000 flights never arrived, and "NA" is no number
    carrier = delays[flight.carrier]
    carrier.flights += 1
    carrier.minutes += minutes
    carrier.late += minutes >= 15


app.event_source_mapping(
    delay_by_carrier,
    FLIGHTS,
    name="delays",
    BatchSize=100,
    MaximumBatchingWindowInSeconds=0,
    # What fails is cut out of its batch at once and goes to the dead letters; the shard goes on.
    FunctionResponseTypes=["ReportBatchItemFailures"],
    BisectBatchOnFunctionError=True,
    MaximumRetryAttempts=0,
    RetryBackoff={"First": 0},
    DestinationConfig={"OnFailure": {"Destination": DEAD_LETTERS}},
)


# The fixed function, for what the first one could not take. Its mapping is off until somebody resumes it.

missing: defaultdict[str, Counter[str]] = defaultdict(Counter)


@app.function(each=dict)
async def not_arrived_by_carrier(letter: dict[str, Any]) -> None:
    for flight in originals(letter):
        cancelled = flight["dep_delay"] == "NA"
        missing[flight["carrier"]]["cancelled" if cancelled else "diverted"] += 1


app.event_source_mapping(
    not_arrived_by_carrier,
    DEAD_LETTERS,
    name="redrive",
    Enabled=False,
    BatchSize=100,
    MaximumBatchingWindowInSeconds=0,
    FunctionResponseTypes=["ReportBatchItemFailures"],
)


def originals(letter: dict[str, Any]) -> list[dict[str, Any]]:
    """The records within a dead letter, which holds the event as the function got it."""
    event = letter["payload"]
    if "Records" in event:  # of a stream
        data = [record["kinesis"]["data"] for record in event["Records"]]
    else:  # of Kafka, by topic and partition
        data = [record["value"] for records in event["records"].values() for record in records]
    return [json.loads(b64decode(text)) for text in data]
