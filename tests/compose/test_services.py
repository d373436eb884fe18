"""Each service of docker-compose.yml that is ours runs as its command says, here, against real servers."""

from __future__ import annotations

import csv
import io
import re
import signal
import zipfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from streamfn.demo import dataset
from tests.compose.compose import Natively, services
from tests.servers.aws import run_ministack
from tests.servers.kafka import run_kafka
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SENT = 1000
PATIENCE = 30.0

OF_THIS_PLACE = ("CLUSTER_ID", "NODE_ID", "PROCESS_ROLES", "LISTENER", "CONTROLLER", "LOG_DIRS")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def kafka_settings() -> Mapping[str, str]:
    """What the file tells its Kafka, but for where it listens and what it is called."""
    said = services()["kafka"]["environment"]
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in said.items()
        if not any(word in name for word in OF_THIS_PLACE)
    }


def never_arrived() -> tuple[int, int]:
    """How many of the flights that are sent are to fail: in Kafka and in SQS."""
    try:
        table = dataset.fetch()
    except dataset.NoFlights as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(table) as archive, archive.open("flights.csv") as file:
        rows = islice(csv.DictReader(io.TextIOWrapper(file, "utf-8")), SENT)
        failing = [number for number, row in enumerate(rows) if row["arr_delay"] == "NA"]
    in_sqs = sum(number % 10 == 0 for number in failing)
    return len(failing) - in_sqs, in_sqs


async def test_flights_flow_and_failures_become_dead_letters(tmp_path: Path) -> None:
    in_kafka, in_sqs = never_arrived()
    assert in_kafka
    assert in_sqs
    with run_kafka(kafka_settings()) as kafka, run_ministack() as aws:
        places = {"kafka:9092": kafka.bootstrap, "http://aws:4566": aws.endpoint}
        here = Natively(tmp_path, places, FLIGHTS=str(SENT), RATE=str(SENT))
        for _ in range(2):  # `up` comes again
            assert "topics and queues are there" in await to_thread.run_sync(here.run, "setup")
        with here.started("worker") as worker:

            async def is_healthy() -> bool:
                assert worker.poll() is None, here.log("worker")
                return await to_thread.run_sync(here.is_healthy, "worker")

            await until(is_healthy, PATIENCE)
            assert f"{SENT:,} flights sent" in await to_thread.run_sync(here.run, "producer")

            def lines(start: str) -> int:
                return len(re.findall(rf"(?m)^{start}", here.log("worker")))

            await until(lambda: lines("Kafka, dead letter") >= in_kafka, PATIENCE)
            await until(lambda: lines("SQS, dead letter") >= in_sqs, PATIENCE)
            said = here.log("worker")
            assert lines("Kafka, dead letter") == in_kafka, said
            assert lines("SQS, dead letter") == in_sqs, said
            assert lines("Kafka: 501 flights") == 1, said
            assert lines("SQS: 1 flights") == 1, said
            worker.send_signal(signal.SIGTERM)
            drain = float(services()["worker"]["stop_grace_period"].removesuffix("s"))
            with anyio.fail_after(drain):
                assert await to_thread.run_sync(worker.wait, drain) == 0, here.log("worker")
