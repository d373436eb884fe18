"""`streamfn dlq` as people run it, on what real mappings left in queues and buckets of real servers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamfn.core.letters import REDRIVES
from streamfn.ports import Message
from tests.aws.letters import BucketLetters, FifoLetters, KinesisRecords, QueueLetters, TableRecords
from tests.aws.test_letters import scanned
from tests.letters.made import of_stream
from tests.servers.aws import ACCOUNT, KEY, REGION, SECRET, AwsServer, Ministack
from tests.servers.elasticmq import ElasticMQ
from tests.shop import Shop
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

ORDERS = [
    Message(b'{"n": %d}' % number, "porto", (("carrier", b"Z\xc3\xbcrich"), ("raw", b"\xff")))
    for number in range(3)
]
QUICK = "leases=sqlite&lease_time=2&poll_interval=0.2"


def once(message: Message) -> Message:
    """As it comes back from its first redrive."""
    return Message(message.body, message.key, (*message.headers, (REDRIVES, b"1")))


@pytest.fixture
def shop(aws: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop that has an AWS and its login in the environment, as on a machine of AWS."""
    return shop_at(aws, tmp_path, monkeypatch)


def shop_at(server: AwsServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for name, value in {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    return Shop(folder)


@pytest.fixture
async def queue(aws: AwsServer) -> AsyncIterator[QueueLetters]:
    async with QueueLetters(aws) as end:
        yield end


@pytest.fixture
async def bucket(aws: AwsServer) -> AsyncIterator[BucketLetters]:
    async with BucketLetters(aws) as end:
        yield end


def store_of(queue: QueueLetters) -> str:
    """The queue, without the second that each look at it would wait."""
    return f"sqs://{queue.place}?wait_time_seconds=0"


def holding(queue: QueueLetters, count: int) -> Any:
    async def holds() -> bool:
        return await queue.counts() == (count, 0)

    return holds


# ------------------------------------------------------------------------------ letters of a mapping, in SQS


async def test_letters_in_a_queue_go_back_to_their_stream(shop: Shop, queue: QueueLetters) -> None:
    await shop.put("local:orders", *ORDERS)
    await shop.open("local:orders", holding(queue, 3), dead_letters=f"sqs://{queue.place}")
    store = store_of(queue)
    listed = await shop.asked("ls", store)
    assert [(row["function"], row["mapping"], row["source"]) for row in listed] == [
        ("ship", "orders", "local:orders")
    ] * 3
    assert {(row["form"], row["errorType"], row["redrives"]) for row in listed} == {
        ("letter", "ValueError", 0)
    }
    assert (await shop.asked("stats", store))["letters"] == 3
    shown = await shop.dlq("show", store, listed[0]["id"])
    assert "no such city" in shown
    assert "porto" in shown
    dry = await shop.asked("redrive", store, "--dry-run")
    assert (dry["sent"], dry["targets"], dry["run"]) == (3, {"local:orders": 3}, None)
    await until(holding(queue, 3))

    assert await shop.redriven(store) == {"sent": 3}
    assert await shop.redriven(store) == {}
    assert await queue.counts() == (0, 0)
    shop.broken = False
    await shop.open("local:orders", lambda: len(shop.shipped) == 3)
    by_value = sorted(shop.shipped, key=lambda message: message.body)
    assert by_value == [once(order) for order in ORDERS]
    (run,) = await shop.asked("audit")
    assert (run["store"], run["counts"]) == (f"sqs://{queue.place}", {"sent": 3})
    entries = await shop.asked("audit", run["run"])
    assert {entry["id"] for entry in entries} == {row["id"] for row in listed}
    assert {(entry["done"], entry["target"]) for entry in entries} == {("redriven", "local:orders")}


async def test_what_fails_again_counts_and_is_refused_in_the_end(shop: Shop, queue: QueueLetters) -> None:
    await shop.put("local:orders", ORDERS[0])
    store = store_of(queue)
    for redrives in (0, 1):
        await shop.open("local:orders", holding(queue, 1), dead_letters=f"sqs://{queue.place}")
        (row,) = await shop.asked("ls", store)
        assert row["redrives"] == redrives
        assert await shop.redriven(store, "--max-redrives", "1") == {("sent", "refused")[redrives]: 1}
    assert "was redriven once already: say --force" in await shop.dlq(
        "redrive", store, "--max-redrives", "1", code=1
    )
    assert await shop.redriven(store, "--max-redrives", "1", "--force") == {"sent": 1}
    (order,) = (await shop.kept("local:orders"))[-1:]
    assert order.headers[-1] == (REDRIVES, b"2")


# ----------------------------------------------------------------------- AWS's on-failure records, in SQS


async def test_records_of_kinesis_are_fetched_back_for_the_function(
    shop: Shop, queue: QueueLetters, aws: AwsServer
) -> None:
    """The letter has metadata only."""
    stream = KinesisRecords(aws, shop.folder)
    async with aws.client("kinesis") as stream.client:
        await stream.create()
        await stream.write([Message(b"1", "a"), Message(b"2", "b"), Message(b"3", "a")])
    given = {"batch": False, "batch_size": 3, "on_failure": f"sqs://{queue.place}"}
    await shop.open(f"kinesis://{stream.place}?{QUICK}", holding(queue, 1), **given)
    await fetched_back(shop, queue, shop.events[-1])


async def test_records_of_a_table_are_fetched_back_for_the_function(
    shop: Shop, queue: QueueLetters, aws: AwsServer
) -> None:
    """They cannot go into the table: so they go there without being asked to."""
    table = TableRecords(aws, shop.folder)
    async with aws.client("dynamodb") as table.client:
        await table.create()
        await table.write([Message(b"1", "a"), Message(b"2", "b")])
    given = {"batch": False, "batch_size": 2, "on_failure": f"sqs://{queue.place}"}
    await shop.open(f"dynamodb://{table.place}?{QUICK}", holding(queue, 1), **given)
    await fetched_back(shop, queue, shop.events[-1])


async def fetched_back(shop: Shop, queue: QueueLetters, event: Any) -> None:
    """Redrives the letter of an event, and the function is given the same."""
    store = store_of(queue)
    (row,) = await shop.asked("ls", store)
    assert (row["form"], row["function"]) == ("batch", "ship")
    assert row["source"] == event["Records"][0]["eventSourceARN"]
    assert (await shop.asked("show", store, row["id"]))["event"] is None
    assert await shop.redriven(store, "--to", "function") == {"sent": 1}
    assert await shop.redriven(store, "--to", "function") == {}
    shop.broken = False
    shop.events.clear()
    await shop.open("local:queue/idle", lambda: shop.events, batch=False)
    assert shop.events == [event]


async def test_records_of_kinesis_go_back_to_their_stream(
    shop: Shop, queue: QueueLetters, aws: AwsServer
) -> None:
    stream = KinesisRecords(aws, shop.folder)
    async with aws.client("kinesis") as stream.client:
        await stream.create()
        await stream.write([Message(b"1", "a"), Message(b"2", "b")])
        source = f"kinesis://{stream.place}?{QUICK}"
        await shop.open(source, holding(queue, 2), on_failure=f"sqs://{queue.place}")
        assert await shop.redriven(store_of(queue)) == {"sent": 2}
        shop.broken = False
        await shop.open(source, lambda: len(shop.shipped) == 2)
    assert sorted((one.key, one.body) for one in shop.shipped) == [("a", b"1"), ("b", b"2")]


async def test_what_is_gone_from_its_stream_stays_and_says_so(
    shop: Shop, queue: QueueLetters, aws: AwsServer
) -> None:
    stream = KinesisRecords(aws, shop.folder)
    async with aws.client("kinesis") as stream.client:
        await stream.create()
        await stream.write([Message(b"1", "a")])
        await shop.open(
            f"kinesis://{stream.place}?{QUICK}", holding(queue, 1), on_failure=f"sqs://{queue.place}"
        )
        await stream.client.delete_stream(StreamName=stream.place)
    said = await shop.dlq("redrive", store_of(queue), "--to", "function", code=1)
    assert "1 failed, and stay" in said
    assert stream.place in said
    assert await queue.counts() == (1, 0)


# -------------------------------------------------------------------------------------- redrive policies


@asynccontextmanager
async def policy(
    server: AwsServer, kind: type[QueueLetters]
) -> AsyncIterator[tuple[QueueLetters, QueueLetters]]:
    """A queue, and the one where its messages go when they are received a second time."""
    async with kind(server) as dead, kind(server) as source:
        said = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{dead.place}", "maxReceiveCount": 1}
        await source.client.set_queue_attributes(
            QueueUrl=source.url, Attributes={"RedrivePolicy": json.dumps(said), "VisibilityTimeout": "0"}
        )
        yield source, dead


async def moved(source: QueueLetters, dead: QueueLetters, count: int) -> None:
    async def all_moved() -> bool:
        await source.client.receive_message(QueueUrl=source.url, MaxNumberOfMessages=10)
        return await dead.counts() == (count, 0)

    await until(all_moved)
    await source.client.set_queue_attributes(QueueUrl=source.url, Attributes={"VisibilityTimeout": "30"})


async def test_messages_of_a_redrive_policy_go_back_to_their_queue(shop: Shop, aws: AwsServer) -> None:
    async with policy(aws, QueueLetters) as (source, dead):
        full = {f"attribute-{number}": b"x" for number in range(10)}
        await source.put(
            [
                Message(b"ink", None, (("city", b"Porto"),)),
                Message(b'{"item": "tea"}'),
                Message(b"full", None, tuple(full.items())),
            ]
        )
        await moved(source, dead, 3)
        listed = await shop.asked("ls", store_of(dead))
        assert {(row["form"], row["source"]) for row in listed} == {
            ("message", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{source.place}")
        }
        assert await shop.redriven(store_of(dead)) == {"sent": 3}
        assert await shop.redriven(store_of(dead)) == {}
        assert (await dead.counts(), await source.counts()) == ((0, 0), (3, 0))
        back = await scanned(source.store())
        assert {one.body: dict(one.headers) for one in back} == {
            b"ink": {"city": b"Porto", REDRIVES: b"1"},
            b'{"item": "tea"}': {REDRIVES: b"1"},
            b"full": full,
        }


async def test_one_redrive_empties_a_fifo_queue_in_order(
    elasticmq: ElasticMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS hands out ten of a group, and the next when these are gone. Two bodies are equal."""
    shop = shop_at(elasticmq, tmp_path, monkeypatch)
    values = [b"%d" % (number if number != 20 else 3) for number in range(25)]
    async with FifoLetters(elasticmq) as dead:
        await shop.put("local:orders", *[Message(value, "group") for value in values])
        await shop.open("local:orders", holding(dead, 25), dead_letters=f"sqs://{dead.place}")
        assert await shop.redriven(store_of(dead)) == {"sent": 25}
        assert await dead.counts() == (0, 0)
        await dead.put([Message(of_stream(number), "group") for number in range(25)])
        dry = await shop.asked("redrive", store_of(dead), "--dry-run")
        assert (dry["sent"], dry["unseen"]) == (10, True)
        said = await shop.dlq("redrive", store_of(dead), "--error", "Other", code=1)
        assert "some 15 letters wait behind" in said
        assert f"sqs://{dead.place} did not show all that it has" in said
        assert "25 purged" in await shop.dlq("purge", store_of(dead), "--error", "ValueError", "--yes")
        assert await dead.counts() == (0, 0)
    assert [one.body for one in await shop.kept("local:orders")] == values * 2
    assert {one.key for one in await shop.kept("local:orders")} == {"group"}


async def test_a_fifo_queue_gets_its_own_back_in_order(
    elasticmq: ElasticMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within five minutes too, in which a queue drops what it has seen."""
    shop = shop_at(elasticmq, tmp_path, monkeypatch)
    async with policy(elasticmq, FifoLetters) as (source, dead):
        await source.put([Message(b"%d" % number, "group") for number in range(25)])
        await moved(source, dead, 25)
        assert await shop.redriven(store_of(dead)) == {"sent": 25}
        assert await dead.counts() == (0, 0)
        store = source.store()
        taken = []
        async for stored in store.scan():
            await store.remove([stored])
            taken.append(int(stored.body))
        await store.close()
    assert taken == list(range(25))


# --------------------------------------------------------------------------------------------- buckets


async def test_failures_in_a_bucket(shop: Shop, bucket: BucketLetters, aws: AwsServer) -> None:
    """AWS's records, which hold the event there, and letters beside them."""
    stream = KinesisRecords(aws, shop.folder)
    store = f"s3://{bucket.place}/dead"

    async def both() -> bool:
        return len(await bucket.keys()) == 1 + 4

    async with aws.client("kinesis") as stream.client:
        await stream.create()
        await stream.write([Message(b'{"n": 1}', "a"), Message(b'{"n": 2}', "b")])
        source = f"kinesis://{stream.place}?{QUICK}"
        await shop.open(source, both, on_failure=store, dead_letters=store)
        listed = await shop.asked("ls", store)
        assert sorted(row["form"] for row in listed) == ["batch", "batch", "letter", "letter"]
        assert (await shop.asked("stats", store))["byError"] == [["ValueError", 4]]
        assert await shop.redriven(store, "--match", '{"data": {"n": [1]}}') == {"sent": 2}
        assert await shop.redriven(store, "--match", '{"data": {"n": [1]}}') == {}
        assert len(await bucket.keys()) == 1 + 2
        shop.broken = False
        await shop.open(source, lambda: len(shop.shipped) == 2)
        assert [(one.key, one.body) for one in shop.shipped] == [("a", b'{"n": 1}')] * 2
    assert "2 purged" in await shop.dlq("purge", store, "--yes")
    assert await bucket.keys() == ["other/object"]


# ------------------------------------------------------------------------------- asynchronous invocations


async def test_events_go_back_to_a_worker_that_runs(shop: Shop, aws: AwsServer) -> None:
    """From an invocation record, which names the function, and from a classic dead-letter queue."""
    async with QueueLetters(aws) as records, QueueLetters(aws) as classic:
        app = shop.app(batch=False)
        app.event_invoke_config(
            "ship",
            MaximumRetryAttempts=0,
            OnFailure=f"sqs://{records.place}",
            DeadLetterConfig={"TargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{classic.place}"},
        )
        async with app:
            request = await app.enqueue("ship", {"item": "ink"})
            await until(holding(records, 1))
            await until(holding(classic, 1))
        forms = {}
        for queue in (records, classic):
            (row,) = await shop.asked("ls", store_of(queue))
            assert row["requestId"] == request
            forms[row["form"]] = row["function"]
        assert forms == {"invocation": "ship", "dead-letter queue": None}
        async with shop.worker() as processed:
            assert await shop.redriven(store_of(records)) == {"sent": 1}
            await until(lambda: processed() == [{"item": "ink"}])
            assert "say --to function:NAME" in await shop.dlq("redrive", store_of(classic), code=1)
            assert await shop.redriven(store_of(classic), "--to", "function:ship") == {"sent": 1}
            await until(lambda: processed() == [{"item": "ink"}] * 2)
            assert await shop.redriven(store_of(records)) == {}
        assert (await records.counts(), await classic.counts()) == ((0, 0), (0, 0))


# -------------------------------------------------------------------------------------------- kill -9


async def test_killed_in_the_middle_nothing_is_lost(shop: Shop, queue: QueueLetters) -> None:
    """What the dead run had in hand is hidden for its visibility timeout."""
    values = [b"%d" % number for number in range(1200)]
    await queue.put([Message(of_stream(number)) for number in range(1200)])
    await shop.put("local:orders", Message(b"there before"))
    store = f"{store_of(queue)}&visibility_timeout=6"

    async def begun() -> bool:
        return len(await shop.kept("local:orders")) > 1

    assert await shop.kill("redrive", store, when=begun) == -9
    assert sum(await queue.counts()) > 0
    if (await queue.counts())[1]:
        assert "of a scan that was killed" in await shop.dlq("redrive", store, "--error", "Other")
    await until(holding(queue, sum(await queue.counts())))
    await shop.dlq("redrive", store)
    assert await queue.counts() == (0, 0)
    arrived = [one.body for one in await shop.kept("local:orders")][1:]
    assert set(arrived) == set(values)
    assert len(arrived) <= len(values) + 500
