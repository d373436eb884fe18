"""The whole of it: worker processes on a stream, with leases in DynamoDB, one of them killed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest

from streamfn.ports import Message
from tests.aws.kinesis_made import producer
from tests.servers.aws import KEY, SECRET, Ministack
from tests.workers import working

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(180)]

KEYS = 50


@pytest.mark.parametrize(
    ("consumer", "records"),
    [
        pytest.param(None, 20_000, id="polling"),
        pytest.param("workers", 10_000, id="fan-out"),
        pytest.param(None, 100_000, id="polling many", marks=pytest.mark.bench),
        pytest.param("workers", 40_000, id="fan-out of many", marks=pytest.mark.bench),
    ],
)
async def test_a_worker_is_killed_in_the_middle(
    aws: Ministack, tmp_path: Path, consumer: str | None, records: int
) -> None:
    """Nothing is lost, nothing overtakes, and little comes twice."""
    options = {
        "endpoint_url": aws.endpoint,
        "region": aws.region,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "lease_table": aws.unique("leases"),
        "lease_time": "6",
        **({} if consumer is None else {"consumer": consumer}),
    }
    async with producer(aws) as stream:
        await stream.create(4)
        for first in range(0, records, 500):
            numbers = range(first, first + 500)
            await stream.put([Message(str(n // KEYS).encode(), f"key-{n % KEYS}") for n in numbers])
        place = f"kinesis://{stream.name}?{urlencode(options)}"
        batches = {"BatchSize": 200, "StartingPosition": "TRIM_HORIZON"}
        async with working(tmp_path, "kinesis", place, **batches) as group:
            first_worker = group.start(seconds=0.1)
            await group.until_done(records // 8)
            group.start(seconds=0.1)
            await group.until_done(records // 4)
            group.kill(first_worker)
            at_kill = group.count()
            assert at_kill < records
            group.start(seconds=0.1)
            await group.until_done(records)
            group.assert_order_held()
            # Of each shard that it had: what it did since its last commit, of which there is one a second.
            assert group.twice() <= at_kill
