"""What destinations on AWS do beyond what all destinations do: order, attributes, limits, faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import Message
from streamfn.testing.conformance.reading import messages
from tests.aws.destinations import (
    TOO_LARGE,
    BucketEnd,
    BusEnd,
    End,
    FifoEnd,
    FifoTopicEnd,
    QueueEnd,
    StreamEnd,
    TopicEnd,
)
from tests.servers.aws import ACCOUNT, REGION, AwsServer, Ministack
from tests.servers.aws_process import frozen, need_restart
from tests.servers.microburst import (
    Microburst,
    answer_lost,
    error,
    reset,
    run_microburst,
    throttle,
    unavailable,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    # aiohttp says so of what aiobotocore hands it above 1 MiB; outside of tests nobody hears it.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

ENDS: dict[type[End], tuple[str, str]] = {
    QueueEnd: ("sqs", "SendMessageBatch"),
    TopicEnd: ("sns", "PublishBatch"),
    BucketEnd: ("s3", "PutObject"),
    BusEnd: ("events", "PutEvents"),
    StreamEnd: ("kinesis", "PutRecords"),
}
each = pytest.mark.parametrize("kind", ENDS, ids=lambda kind: kind.__name__)

DOCUMENTS = [Message(b'{"text":"%d"}' % number) for number in range(12)]


async def bodies(end: End) -> list[bytes]:
    if isinstance(end, BusEnd):
        return sorted(b'{"text":"%s"}' % message.body for message in await end.received())
    return sorted(message.body for message in await end.received())


# -------------------------------------------------------------------------------------- keys, order


@pytest.mark.parametrize("kind", [FifoEnd, FifoTopicEnd])
async def test_messages_of_one_group_keep_their_order(aws: AwsServer, kind: type[End]) -> None:
    async with kind(aws) as end:
        destination = end.destination()
        sent = [Message(b"%d" % number, f"key-{number % 3 if number % 2 else 0}") for number in range(150)]
        assert not await destination.send(sent)
        await destination.close()
        of_key = defaultdict(list)
        for message in await end.received():
            of_key[message.key].append(message.body)
        expected = defaultdict(list)
        for message in sent:
            expected[message.key].append(message.body)
        assert of_key == expected


async def test_records_of_one_key_keep_their_order_in_one_shard(aws: AwsServer) -> None:
    async with StreamEnd(aws) as end:
        destination = end.destination()
        sent = [Message(b"%d %s" % (number, b"x" * 20_000), f"key-{number % 7}") for number in range(700)]
        assert not await destination.send(sent)
        await destination.close()
        of_key = defaultdict(list)
        for message in await end.received():
            of_key[message.key].append(int(message.body.split()[0]))
        assert of_key == {f"key-{key}": list(range(key, 700, 7)) for key in range(7)}


async def test_of_equal_bodies_one_arrives_unless_they_are_told_apart(aws: AwsServer) -> None:
    async with FifoEnd(aws) as end:
        destination = end.destination()
        told_apart = [Message(b"same", "k", (("MessageDeduplicationId", b"%d" % n),)) for n in range(3)]
        assert not await destination.send([Message(b"one"), Message(b"one"), *told_apart])
        await destination.close()
        received = [(message.body, message.key) for message in await end.received()]
        assert received == [(b"one", "streamfn"), *[(b"same", "k")] * 3]


@pytest.mark.parametrize("kind", [QueueEnd, TopicEnd])
async def test_headers_arrive_as_attributes(aws: AwsServer, kind: type[End]) -> None:
    async with kind(aws) as end:
        destination = end.destination()
        headers = [("a", b"1"), ("b.c-d_e", "✓".encode())]
        if kind is QueueEnd:  # ministack's topics lose those of PublishBatch that are bytes
            headers.append(("bytes", b"\xff\x00"))
        failures = await destination.send(
            [Message(b"good", None, tuple(headers)), Message(b"bad", None, (("a", b""),))]
        )
        assert [(failure.index, failure.retryable) for failure in failures] == [(1, False)]
        assert [(m.body, sorted(m.headers)) for m in await end.received()] == [(b"good", sorted(headers))]
        await destination.close()


async def test_an_object_of_the_same_key_is_replaced_by_the_last(aws: AwsServer) -> None:
    async with BucketEnd(aws) as end:
        end.place += "/some/where"
        destination = end.destination()
        assert not await destination.send([Message(b"%d" % n, f"k/{n % 2}") for n in range(20)])
        await destination.close()
        end.place = end.place.partition("/")[0]
        received = {message.key: message.body for message in await end.received()}
        assert received == {"some/where/k/0": b"18", "some/where/k/1": b"19"}


async def test_events_say_where_they_come_from(aws: AwsServer) -> None:
    async with BusEnd(aws) as end:
        destination = end.destination(source="shop", detail_type="Order placed")
        assert not await destination.send([Message(b'{"a":1}')])
        await destination.close()
        (event,) = await end.events()
        shown = (event["source"], event["detail-type"], event["detail"])
        assert shown == ("shop", "Order placed", {"a": 1})


# ----------------------------------------------------------------------------------------- limits


async def test_large_and_small_messages_in_any_mixture(aws: AwsServer) -> None:
    sizes = [1, 300_000, 10, 900_000, 2**20, 5, 262_000, 2**20 + 1, 700_000, 400_000, 7]
    for kind in (QueueEnd, StreamEnd):
        async with kind(aws) as end:
            destination = end.destination()
            sent = [Message(b"x" * size, "k" if kind is QueueEnd else "") for size in sizes]
            failures = await destination.send(sent)
            await destination.close()
            most = 2**20 if kind is QueueEnd else 2**20 - 36
            too_large = [index for index, size in enumerate(sizes) if size > most]
            assert [(failure.index, failure.retryable) for failure in failures] == [
                (index, False) for index in too_large
            ]
            assert sorted(map(len, await bodies(end))) == sorted(size for size in sizes if size <= most)


async def test_what_a_queue_of_its_own_limit_refuses_is_told_one_by_one(aws: AwsServer) -> None:
    async with QueueEnd(aws) as end:
        await end.sqs.set_queue_attributes(QueueUrl=end.url, Attributes={"MaximumMessageSize": "1024"})
        destination = end.destination()
        sent = [Message(b"%d" % n * (2000 if n in (3, 11) else 1)) for n in range(15)]
        failures = await destination.send(sent)
        await destination.close()
        assert [(failure.index, failure.retryable) for failure in failures] == [(3, False), (11, False)]
        assert "must be shorter than 1024 bytes" in failures[0].reason
        assert len(await bodies(end)) == 13


async def test_what_a_stream_refuses_a_whole_call_for_is_found(aws: AwsServer) -> None:
    async with StreamEnd(aws) as end:
        destination = end.destination(max_record_size=3 * 2**20)
        sent = [Message(b"%d" % n * (1_100_000 if n in (2, 7) else 1), "k") for n in range(10)]
        failures = await destination.send(sent)
        await destination.close()
        assert [(failure.index, failure.retryable) for failure in failures] == [(2, False), (7, False)]
        assert [message.body for message in await end.received()] == [
            b"%d" % n for n in (0, 1, 3, 4, 5, 6, 8, 9)
        ]


# ------------------------------------------------------------------------------- what is not there


@each
async def test_what_is_not_there_is_said_with_its_fix(aws: AwsServer, kind: type[End]) -> None:
    async with kind(aws) as end:
        end.place = f"not-{end.place}"
        destination = end.destination()
        with pytest.raises(ConfigurationError, match="create it, or check name") as found:
            await destination.check()
        assert found.value.field == "Destination"
        if kind is BusEnd:
            return  # AWS takes events for a bus that is not there, and drops them
        with pytest.raises(SourceError, match="create it, or check name") as sent:
            await destination.send(DOCUMENTS[:1])
        assert not sent.value.retryable
        await destination.close()


ARNS = {
    QueueEnd: f"arn:aws:sqs:{REGION}:{ACCOUNT}:",
    TopicEnd: f"arn:aws:sns:{REGION}:{ACCOUNT}:",
    BucketEnd: "arn:aws:s3:::",
    BusEnd: f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/",
    StreamEnd: f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/",
}


@each
async def test_an_arn_names_it_too(aws: AwsServer, kind: type[End]) -> None:
    async with kind(aws) as end:
        end.place = ARNS[kind] + end.place
        destination = end.destination(transport="botocore")
        if kind is not BusEnd:  # ministack finds a bus by its name only, where AWS takes both
            await destination.check()
        assert not await destination.send(DOCUMENTS)
        await destination.close()
        end.place = end.place.removeprefix(ARNS[kind])
        assert await bodies(end) == sorted(message.body for message in DOCUMENTS)


async def test_an_account_names_a_topic_without_asking(aws: AwsServer, burst: Microburst) -> None:
    async with TopicEnd(aws) as end:
        burst.rules(error("sts", "GetCallerIdentity", "AccessDenied", 403))
        with pytest.raises(SourceError, match="GetCallerIdentity"):
            await end.at(burst.endpoint).send(DOCUMENTS)
        end.place = f"{ACCOUNT}/{end.place}"
        destination = end.at(burst.endpoint)
        assert not await destination.send(DOCUMENTS)
        await destination.close()
        assert len(await bodies(end)) == len(DOCUMENTS)


# ----------------------------------------------------------------------------------------- faults


@pytest.fixture(scope="module")
def microburst(aws: AwsServer) -> Iterator[Microburst]:
    with run_microburst(aws.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def burst(microburst: Microburst) -> AsyncIterator[Microburst]:
    await anyio.to_thread.run_sync(microburst.reset)
    yield microburst
    await anyio.to_thread.run_sync(microburst.reset)


async def fail(burst: Microburst, *rules: Any) -> None:
    await anyio.to_thread.run_sync(burst.rules, *rules)


@each
@pytest.mark.parametrize("fault", [throttle, unavailable, reset])
async def test_what_passes_is_outlasted(
    aws: AwsServer, burst: Microburst, kind: type[End], fault: Any
) -> None:
    async with kind(aws) as end:
        await fail(burst, fault(*ENDS[kind], times=2))
        destination = end.at(burst.endpoint)
        assert not await destination.send(DOCUMENTS)
        await destination.close()
        assert len(await anyio.to_thread.run_sync(burst.fired)) == 2
        assert await bodies(end) == sorted(message.body for message in DOCUMENTS)


@each
async def test_what_does_not_pass_is_told_in_time(aws: AwsServer, burst: Microburst, kind: type[End]) -> None:
    async with kind(aws) as end:
        await fail(burst, throttle(*ENDS[kind]))
        destination = end.at(burst.endpoint, timeout=1.5)
        with anyio.fail_after(5):
            failures = await destination.send(DOCUMENTS)
        assert [(failure.index, failure.retryable) for failure in failures] == [
            (index, True) for index in range(len(DOCUMENTS))
        ]
        await fail(burst)
        assert not await destination.send(DOCUMENTS)
        await destination.close()
        assert await bodies(end) == sorted(message.body for message in DOCUMENTS)


@each
async def test_what_is_forbidden_is_said_with_its_fix(
    aws: AwsServer, burst: Microburst, kind: type[End]
) -> None:
    service, operation = ENDS[kind]
    async with kind(aws) as end:
        await fail(burst, error(service, operation, "AccessDenied", 403))
        destination = end.at(burst.endpoint)
        with pytest.raises(SourceError, match=f"allow the action {operation}") as sent:
            await destination.send(DOCUMENTS[:10])
        assert not sent.value.retryable
        await destination.close()
        assert await bodies(end) == []


async def test_an_answer_that_is_lost_loses_nothing(aws: AwsServer, burst: Microburst) -> None:
    for kind, doubled in ((QueueEnd, True), (FifoEnd, False)):
        async with kind(aws) as end:
            await fail(burst, answer_lost("sqs", "SendMessageBatch", times=1))
            destination = end.at(burst.endpoint)
            assert not await destination.send(messages(5))
            await destination.close()
            expected = sorted(message.body for message in messages(5)) * (2 if doubled else 1)
            assert await bodies(end) == sorted(expected)


async def test_a_server_that_hangs_is_out_of_reach_in_time(own_aws: Ministack) -> None:
    need_restart(own_aws)
    async with QueueEnd(own_aws) as end:
        connected, new = end.destination(timeout=1), end.destination(timeout=1)
        assert not await connected.send(messages(1))
        with frozen(own_aws), anyio.fail_after(5):
            for destination in (connected, new):
                with pytest.raises(TimeoutError, match="sqs://"):
                    await destination.send([Message(b"x"), TOO_LARGE])
        assert not await new.send(messages(1, 1))
        await connected.close()
        await new.close()
