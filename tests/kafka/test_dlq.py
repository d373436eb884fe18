"""`streamfn dlq` as people run it, on what real mappings left in topics of a real broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamfn.core.letters import REDRIVES
from streamfn.ports import FailureFormat, Message
from streamfn.testing.memory import MemoryDestination
from tests.kafka.cluster import Cluster
from tests.shop import Shop

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]

ORDERS = [
    Message(b'{"n": %d}' % number, f"key-{number}", (("carrier", b"Z\xc3\xbcrich"), ("raw", b"\xff")))
    for number in range(3)
]
AGAIN = [Message(one.body, one.key, (*one.headers, (REDRIVES, b"1"))) for one in ORDERS]
"""As they come back from their first redrive."""


class Topics:
    """A shop with a topic of orders and one of dead letters."""

    def __init__(self, shop: Shop, cluster: Cluster, orders: str, dead: str) -> None:
        self.shop, self.cluster = shop, cluster
        self.orders, self.dead = orders, dead
        self.source = f"kafka://{cluster.bootstrap}/{orders}"
        self.store = f"kafka://{cluster.bootstrap}/{dead}"

    async def put(self, *messages: Message) -> None:
        async with self.cluster.producing() as producer:
            for one in messages:
                key = None if one.key is None else one.key.encode()
                await producer.send_and_wait(self.orders, one.body, key=key, headers=list(one.headers))

    async def all_of(self, topic: str) -> Sequence[Message]:
        return await self.cluster.all_of(topic)

    async def give_up(self, letters: int, **options: Any) -> None:
        """Serves the orders until there are so many letters, and what was given up is committed."""

        async def all_there() -> bool:
            done = sum((await self.cluster.committed(self.orders, f"{self.orders}.m")).values())
            orders = await self.all_of(self.orders)
            return len(await self.all_of(self.dead)) == letters and done == len(orders)

        given = {"dead_letters": self.store, "consumer_group_id": f"{self.orders}.m", **options}
        await self.shop.open(f"{self.source}?session_timeout=3", all_there, **given)

    async def ship(self, count: int) -> list[Message]:
        """What the mended function takes, once it has so many."""
        self.shop.broken = False
        given = {"consumer_group_id": f"{self.orders}.m"}
        await self.shop.open(
            f"{self.source}?session_timeout=3", lambda: len(self.shop.shipped) == count, **given
        )
        return self.shop.shipped


@pytest.fixture
async def topics(cluster: Cluster, tmp_path: Path) -> Topics:
    return Topics(Shop(tmp_path), cluster, await cluster.topic(), await cluster.topic())


async def test_letters_in_a_topic_go_back_to_theirs(topics: Topics) -> None:
    """With value, key and headers; once, and counted when they fail again."""
    shop, store = topics.shop, topics.store
    await topics.put(*ORDERS)
    await topics.give_up(3)
    listed = await shop.asked("ls", store)
    assert [(row["id"], row["mapping"], row["source"], row["redrives"]) for row in listed] == [
        (f"0-{number}", "orders", topics.source, 0) for number in range(3)
    ]
    assert (await shop.asked("stats", store))["byError"] == [["ValueError", 3]]
    assert "key-1" in await shop.dlq("show", store, "0-1")
    assert (await shop.asked("redrive", store, "--dry-run"))["targets"] == {topics.source: 3}
    assert await shop.redriven(store) == {"sent": 3}
    assert await shop.redriven(store) == {}
    assert list(await topics.all_of(topics.orders)) == [*ORDERS, *AGAIN]
    assert await shop.asked("ls", store) == []
    assert {row["done"] for row in await shop.asked("ls", store, "--all")} == {"redriven"}

    await topics.give_up(6)
    assert {row["redrives"] for row in await shop.asked("ls", store)} == {1}
    assert await shop.redriven(store, "--max-redrives", "1") == {"refused": 3}
    assert await shop.redriven(store, "--max-redrives", "1", "--force") == {"sent": 3}
    shipped = await topics.ship(3)
    assert [dict(one.headers)[REDRIVES] for one in shipped] == [b"2"] * 3
    assert [one.body for one in shipped] == [one.body for one in ORDERS]
    runs = await shop.asked("audit")
    assert [run["counts"] for run in runs] == [{"sent": 3}, {"refused": 3}, {"sent": 3}]


async def test_a_letter_is_sent_once_more_by_name_and_force(topics: Topics) -> None:
    shop, store = topics.shop, topics.store
    await topics.put(*ORDERS)
    await topics.give_up(3)
    assert await shop.redriven(store, "0-1") == {"sent": 1}
    assert "say --force to send it again" in await shop.dlq("redrive", store, "0-1", code=1)
    assert await shop.redriven(store, "0-1", "--force") == {"sent": 1}
    assert await shop.redriven(store) == {"sent": 2}
    assert len(await topics.all_of(topics.orders)) == 3 + 4


async def test_a_topic_is_exported_purged_and_imported(topics: Topics) -> None:
    shop, store = topics.shop, topics.store
    await topics.put(*ORDERS)
    await topics.give_up(3)
    before = await topics.all_of(topics.dead)
    await shop.dlq("export", store, "dead.jsonl")
    assert "would be gone for good" in await shop.dlq("purge", store, code=2)
    await shop.dlq("purge", store, "--yes")
    assert await shop.asked("ls", store) == []
    await shop.dlq("import", "dead.jsonl", store)
    assert await topics.all_of(topics.dead) == before
    assert await shop.redriven(store) == {"sent": 3}
    await shop.dlq("import", "dead.jsonl", "local:queue/dead-letters")
    assert await shop.redriven("--error", "ValueError") == {"sent": 3}
    assert [one.body for one in await topics.all_of(topics.orders)] == [one.body for one in ORDERS] * 3


async def test_some_of_a_topic_are_purged_by_hiding_them(topics: Topics) -> None:
    shop, store = topics.shop, topics.store
    await topics.put(*ORDERS)
    await topics.give_up(3)
    assert "1 purged" in await shop.dlq("purge", store, "--match", '{"data": {"n": [1]}}', "--yes")
    assert [row["id"] for row in await shop.asked("ls", store)] == ["0-0", "0-2"]
    assert await shop.redriven(store) == {"sent": 2}


async def test_records_of_an_on_failure_topic(topics: Topics) -> None:
    """AWS's documents, of one record each, with the event in them."""
    shop, store = topics.shop, topics.store
    await topics.put(*ORDERS)
    await topics.give_up(3, dead_letters=False, on_failure=store)
    documents = [json.loads(one.body) for one in await topics.all_of(topics.dead)]
    assert [one["KafkaBatchInfo"]["recordInfo"]["offset"] for one in documents] == ["0", "1", "2"]
    listed = await shop.asked("ls", store)
    assert {(row["form"], row["function"], row["source"]) for row in listed} == {
        ("batch", "ship", topics.source)
    }
    assert await shop.redriven(store) == {"sent": 3}
    assert await shop.redriven(store) == {}
    assert await topics.ship(3) == AGAIN


async def test_records_that_are_not_in_their_letter_are_fetched_by_offset(topics: Topics) -> None:
    """As a queue of SQS is told of them, batch by batch. What was trimmed since does not come back."""
    shop = topics.shop
    told = MemoryDestination(failure_format=FailureFormat.METADATA)
    await topics.put(*ORDERS)
    await shop.open(
        f"{topics.source}?session_timeout=3",
        lambda: told.messages,
        batch_size=3,
        on_failure=told,
        consumer_group_id=f"{topics.orders}.m",
    )
    await shop.put("local:queue/failed", *[Message(one.body) for one in told.messages])
    (row,) = await shop.asked("ls", "local:queue/failed")
    assert (await shop.asked("show", "local:queue/failed", row["id"]))["event"] is None
    await topics.cluster.trim(topics.orders, before=1)
    said = await shop.dlq("redrive", "local:queue/failed", code=1)
    assert "what still existed of its records was sent; the others are gone, and it stays" in said
    assert await shop.redriven("local:queue/failed") == {"refused": 1}
    assert await topics.ship(2) == AGAIN[1:]
