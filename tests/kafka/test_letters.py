"""Topics as stores of dead letters, and the records that letters tell of: on a real broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from streamfn import App
from streamfn.core.letters import Form, Letter, Stored, read_letter
from streamfn.core.records import Record
from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import LetterFetcher, LetterStore, Message, StreamShard, Subscription
from streamfn.testing.conformance import (
    LetterFetcherFeatures,
    LetterFetcherHarness,
    LetterFetcherSuite,
    LetterStoreFeatures,
    LetterStoreHarness,
    LetterStoreSuite,
)
from streamfn_kafka import KafkaDestination, KafkaFetcher, KafkaLetters
from tests.kafka.cluster import PATIENCE, Cluster
from tests.servers.kafka_ways import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def nowhere() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


async def put(cluster: Cluster, topic: str, messages: Sequence[Message], partition: int = 0) -> None:
    """Records as they are, keys and headers too."""
    async with cluster.producing(max_request_size=2**22) as producer:
        sent = [
            await producer.send(
                topic,
                message.body,
                key=None if message.key is None else message.key.encode(),
                headers=list(message.headers),
                partition=partition,
            )
            for message in messages
        ]
        for delivered in sent:
            await delivered


async def scanned(store: LetterStore) -> list[Stored]:
    with anyio.fail_after(PATIENCE):
        found = [letter async for letter in store.scan()]
        await store.close()
    return found


# ------------------------------------------------------------------------------------------ conformance


class TopicLetters(LetterStoreHarness):
    def __init__(self, cluster: Cluster, topic: str) -> None:
        self.cluster = cluster
        self.topic = topic

    def store(self) -> LetterStore:
        return KafkaLetters(self.topic, self.cluster.bootstrap)

    async def put(self, messages: Sequence[Message]) -> None:
        await put(self.cluster, self.topic, messages)

    def unreachable(self) -> LetterStore:
        return KafkaLetters(self.topic, nowhere())


class TestKafkaLetters(LetterStoreSuite):
    features = LetterStoreFeatures(removes="Kafka takes no single records out", patience=PATIENCE)

    @pytest.fixture
    async def harness(self, cluster: Cluster) -> LetterStoreHarness:
        return TopicLetters(cluster, await cluster.topic(1))


class TopicRecords(LetterFetcherHarness):
    """Records are read by the source as a mapping would."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self.cluster = cluster
        self.topic = topic
        self.count = 0

    def fetcher(self) -> LetterFetcher:
        return KafkaFetcher(self.topic, self.cluster.bootstrap)

    async def put(self, messages: Sequence[Message]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        await put(self.cluster, self.topic, [Message(b"before"), *messages, Message(b"behind")])
        first, self.count = self.count + 1, self.count + len(messages) + 2
        group = Subscription(f"group-{self.count}")
        async with self.cluster.reading(self.cluster.source(self.topic), group) as reader:
            shard = await reader.shard()
            records = (await take(shard, self.count))[first : first + len(messages)]
            return shard.shape.to_event(records), shard.shape.batch_info(records)["KafkaBatchInfo"]

    async def trim(self, event: Mapping[str, Any], keep: int) -> Mapping[str, Any]:
        ((lane, records),) = event["records"].items()
        before = records[-1]["offset"] + 1 - keep
        await self.cluster.trim(self.topic, before)
        return {**event, "records": {lane: records[len(records) - keep :]}}

    def unreachable(self) -> LetterFetcher:
        return KafkaFetcher(self.topic, nowhere())


async def take(shard: StreamShard, count: int) -> list[Record]:
    records: list[Record] = []
    with anyio.fail_after(PATIENCE):
        while len(records) < count:
            records += await shard.read(count - len(records), 1.0)
    return records


class TestKafkaFetcher(LetterFetcherSuite):
    features = LetterFetcherFeatures(patience=PATIENCE)

    @pytest.fixture
    async def harness(self, cluster: Cluster) -> LetterFetcherHarness:
        return TopicRecords(cluster, await cluster.topic(1))


# -------------------------------------------------------------------------------------------------- scans


async def test_a_letter_names_its_partition_and_its_offset(cluster: Cluster) -> None:
    topic = await cluster.topic(3)
    for partition in range(3):
        await cluster.put(topic, range(700), partition=partition)
    store = KafkaLetters.from_uri(f"kafka://{cluster.bootstrap}/{topic}?client_id=letters", {})
    found = await scanned(store)
    assert store.name == f"kafka://{cluster.bootstrap}/{topic}"
    assert sorted(letter.id for letter in found) == sorted(f"{p}-{n}" for p in range(3) for n in range(700))
    for partition in range(3):
        own = [letter for letter in found if letter.id.startswith(f"{partition}-")]
        assert [letter.body for letter in own] == [str(number).encode() for number in range(700)]


async def test_what_is_no_text_and_what_is_nothing(cluster: Cluster) -> None:
    topic = await cluster.topic()
    async with cluster.producing() as producer:
        await producer.send_and_wait(
            topic, b"v", key=b"\xff\x00", headers=[("a", b"\xfe"), ("n", None)], timestamp_ms=86_400_000
        )
        await producer.send_and_wait(topic, None, key=b"tombstone")
    odd, tombstone = await scanned(KafkaLetters(topic, cluster.bootstrap))
    assert (odd.key or "").encode("utf-8", "surrogateescape") == b"\xff\x00"
    assert odd.headers == (("a", b"\xfe"), ("n", b""))
    assert odd.stored_at == 86_400.0
    assert (tombstone.key, tombstone.body) == ("tombstone", b"")


async def test_a_scan_ends_where_the_topic_ended_when_it_began(cluster: Cluster) -> None:
    topic = await cluster.topic()
    await cluster.put(topic, range(10))
    store = KafkaLetters(topic, cluster.bootstrap)
    found: list[Any] = []
    with anyio.fail_after(PATIENCE):
        async for letter in store.scan():
            if not found:
                await cluster.put(topic, range(10, 20))
            found.append(int(letter.body))
    assert found == list(range(10))
    assert len(await scanned(store)) == 20


async def test_marks_of_transactions_are_no_letters_and_hold_nothing_up(cluster: Cluster) -> None:
    topic = await cluster.topic()
    async with cluster.producing(transactional_id=topic) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
    found = await scanned(KafkaLetters(topic, cluster.bootstrap))
    assert [(letter.id, letter.body) for letter in found] == [("0-0", b"kept"), ("0-2", b"aborted")]


async def test_records_that_go_during_a_scan_hold_nothing_up(cluster: Cluster) -> None:
    """As many as are fetched ahead are seen nevertheless."""
    topic = await cluster.topic()
    await put(cluster, topic, [Message(b"x" * 100_000)] * 60)
    store = KafkaLetters(topic, cluster.bootstrap)
    found: list[Any] = []
    with anyio.fail_after(PATIENCE):
        async for letter in store.scan():
            if not found:
                await cluster.trim(topic, 55)
            found.append(letter.id)
    assert len(found) == len(set(found)) < 60
    assert found[-5:] == [f"0-{number}" for number in range(55, 60)]


async def test_nobody_hears_of_a_scan(cluster: Cluster) -> None:
    """No group is made, and none that is there is moved."""
    topic = await cluster.topic()
    await cluster.put(topic, range(5))
    await cluster.commit_as_nobody(topic, {0: 3}, f"{topic}-group")
    async with cluster.admin() as admin:
        before = await admin.list_consumer_groups()
        assert len(await scanned(KafkaLetters(topic, cluster.bootstrap))) == 5
        assert await admin.list_consumer_groups() == before
    assert await cluster.committed(topic, f"{topic}-group") == {0: 3}


async def test_a_topic_that_is_not_there_is_told_of(cluster: Cluster) -> None:
    store = KafkaLetters("no-such-topic", cluster.bootstrap)
    for asked in (lambda: scanned(store), store.purge):
        with pytest.raises(SourceError, match="no topic no-such-topic.* Fix: create it"):
            await asked()
    with pytest.raises(SourceError, match="no topic no-such-topic"):
        await KafkaFetcher("no-such-topic", cluster.bootstrap).fetch({"recordsInfo": {}})


async def test_single_letters_stay(cluster: Cluster) -> None:
    topic = await cluster.topic()
    await cluster.put(topic, range(2))
    store = KafkaLetters(topic, cluster.bootstrap)
    with pytest.raises(ConfigurationError, match="single records .* Fix: keep a list"):
        await store.remove(await scanned(store))
    assert len(await scanned(store)) == 2


async def test_a_purge_is_of_all_partitions_and_refused_where_records_are_compacted(cluster: Cluster) -> None:
    topic = await cluster.topic(3)
    for partition in (0, 2):
        await cluster.put(topic, range(5), partition=partition)
    await KafkaLetters(topic, cluster.bootstrap).purge()
    await cluster.put(topic, ["new"], partition=2)
    assert [letter.id for letter in await scanned(KafkaLetters(topic, cluster.bootstrap))] == ["2-5"]
    compacted = await cluster.topic(cleanup_policy="compact")
    await cluster.put(compacted, range(2), key="k")
    with pytest.raises(SourceError, match=r"compacted. Fix: add delete to the topic's cleanup.policy"):
        await KafkaLetters(compacted, cluster.bootstrap).purge()


@pytest.mark.parametrize("kind", [KafkaLetters, KafkaFetcher])
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("kafka://h:1/t?group=g", "group: there is no such option"),
        ("kafka://h:1/a b", "no name of a topic"),
        ("kafka://me:secret@h:1/t", "no user or password"),
        ("kafka:///t", "names no broker"),
    ],
)
def test_what_is_refused(kind: type[KafkaLetters], uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        kind.from_uri(uri, {})
    assert "secret" not in str(error.value)


# ------------------------------------------------------------------------------------------------- fetches


async def given_up(cluster: Cluster, topic: str, destination: Any, count: int, **options: Any) -> list[Any]:
    """What a mapping's function saw, which fails; when all of it is in the destination."""
    seen: list[Any] = []
    app = App(name="shop")

    @app.function(name="f")
    async def fail(event: Any, context: Any) -> None:
        seen.append(event)
        raise ValueError("no")

    app.event_source_mapping(
        "f",
        cluster.source(topic),
        name=f"m-{topic}",
        maximum_retry_attempts=0,
        on_failure=destination,
        **options,
    )
    letters = KafkaLetters(destination.topic, cluster.bootstrap)

    async def all_there() -> bool:
        return len(await scanned(letters)) == count

    async with app:
        await cluster.until(all_there, PATIENCE)
    return seen


async def letters_of(cluster: Cluster, topic: str) -> list[Letter]:
    return [read_letter(letter) for letter in await scanned(KafkaLetters(topic, cluster.bootstrap))]


async def test_letters_of_a_real_mapping_hold_the_record_and_tell_where_it_is(cluster: Cluster) -> None:
    """`recordInfo` names no partition: the record is found by its offset and its time."""
    topic, dead = await cluster.topic(2), await cluster.topic()
    for partition in range(2):
        await put(cluster, topic, [Message(b"%d" % partition, "key", (("h", b"1"),))], partition)
    destination = KafkaDestination(dead, cluster.bootstrap)
    seen = await given_up(cluster, topic, destination, 2)
    letters = await letters_of(cluster, dead)
    assert [letter.form for letter in letters] == [Form.BATCH] * 2
    assert [letter.source for letter in letters] == [f"kafka://{cluster.bootstrap}/{topic}"] * 2
    fetcher = KafkaFetcher.from_uri(letters[0].source or "", {})
    for letter in letters:
        assert letter.event in seen
        assert letter.batch_info is not None
        assert await fetcher.fetch(letter.batch_info[1]) == letter.event
    await fetcher.close()


async def test_a_batch_of_several_partitions(cluster: Cluster) -> None:
    topic = await cluster.topic(3)
    for partition in range(3):
        await cluster.put(topic, [f"{partition}/{number}" for number in range(5)], partition=partition)
    lanes = {
        f"{topic}-{partition}": {"firstRecordOffset": "1", "lastRecordOffset": "2"} for partition in (0, 2)
    }
    info = {"eventSourceArn": "arn:aws:kafka:us-east-1:1:cluster/c", "recordsInfo": lanes}
    fetcher = KafkaFetcher(topic, cluster.bootstrap)
    event = await fetcher.fetch({**info, "bootstrapServers": "b-1:9098"})
    await fetcher.close()
    assert event is not None
    assert (event["eventSource"], event["eventSourceArn"]) == ("aws:kafka", info["eventSourceArn"])
    assert event["bootstrapServers"] == "b-1:9098"
    found = {lane: [item["offset"] for item in items] for lane, items in event["records"].items()}
    assert found == {f"{topic}-0": [1, 2], f"{topic}-2": [1, 2]}


async def test_other_records_at_the_same_offsets_are_not_taken_for_those(cluster: Cluster) -> None:
    """As after a topic was deleted and made anew."""
    topic = await cluster.topic()
    harness = TopicRecords(cluster, topic)
    _, info = await harness.put([Message(b"1"), Message(b"2")])
    (lane,) = info["recordsInfo"]
    fetcher = harness.fetcher()
    for name in ("firstRecordTimestamp", "lastRecordTimestamp"):
        other = {**info["recordsInfo"][lane], name: "2020-01-01T00:00:00.000Z"}
        assert await fetcher.fetch({**info, "recordsInfo": {lane: other}}) is None
    ahead = {"firstRecordOffset": "1000", "lastRecordOffset": "1001"}
    assert await fetcher.fetch({**info, "recordsInfo": {lane: ahead}}) is None
    elsewhere = {f"{topic}-7": info["recordsInfo"][lane]}
    assert await fetcher.fetch({**info, "recordsInfo": elsewhere}) is None
    assert await fetcher.fetch(info) is not None
    await fetcher.close()


async def test_a_record_that_may_be_in_two_places_is_not_guessed(cluster: Cluster) -> None:
    topic = await cluster.topic(2)
    async with cluster.producing() as producer:
        for partition in range(2):
            await producer.send_and_wait(topic, b"v", partition=partition, timestamp_ms=1_700_000_000_123)
    fetcher = KafkaFetcher(topic, cluster.bootstrap)
    info = {"recordInfo": {"offset": "0", "timestamp": "2023-11-14T22:13:20.123Z"}}
    with pytest.raises(SourceError, match=r"which of the partitions \[0, 1\]"):
        await fetcher.fetch(info)
    await cluster.trim(topic, 1, partition=1)
    event = await fetcher.fetch(info)
    await fetcher.close()
    assert event is not None
    assert [*event["records"]] == [f"{topic}-0"]


async def test_what_tells_of_no_records_of_this_topic_is_refused(cluster: Cluster) -> None:
    fetcher = KafkaFetcher(await cluster.topic(), cluster.bootstrap)
    with pytest.raises(SourceError, match=r"were in the topic other. Fix: name that topic"):
        await fetcher.fetch({"recordsInfo": {"other-0": {"firstRecordOffset": "1", "lastRecordOffset": "1"}}})
    for info in ({}, {"recordsInfo": 3}, {"recordInfo": {"offset": "x"}}):
        with pytest.raises(SourceError, match="does not say where its records were"):
            await fetcher.fetch(info)
    await fetcher.close()
    with pytest.raises(ConfigurationError, match="how to reach its brokers.* Fix: write kafka://"):
        KafkaFetcher.from_uri("arn:aws:kafka:us-east-1:1:cluster/c/uuid", {})
