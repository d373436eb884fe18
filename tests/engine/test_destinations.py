"""On-failure destinations: taken before the records count as resolved; what happens when they are down."""

from __future__ import annotations

import re
from collections.abc import Sequence

import anyio
import pytest

from streamfn import ConfigurationError
from streamfn.core.envelopes import FailureFormat
from streamfn.engine.plan import mapping_id
from streamfn.ports import Message, SendFailure
from streamfn.telemetry import DestinationDeliveryFailed
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryStream
from tests.engine.conftest import Bench, Calls, DeadLetters, raising

pytestmark = pytest.mark.anyio


async def test_records_are_not_resolved_before_the_destination_has_them(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(raising("0")), DeadLetters()
    dead.down = True
    stream.put([b"value"] * 2)
    async with bench.running(calls, stream, batch_size=1, maximum_retry_attempts=0, on_failure=dead):
        await anyio.sleep(3600)
        assert calls.ids == [["0"]]
        assert stream.checkpoint().position == -1
        dead.down = False
        await stream.wait_done()
    assert len(dead.sent) == 1
    assert calls.ids == [["0"], ["1"]]
    assert dead.refused > 100


async def test_a_mapping_that_drops_gives_up_and_says_so(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(raising("0")), DeadLetters()
    dead.down = True
    stream.put([b"value"] * 2)
    began = clock()
    async with bench.running(
        calls, stream, batch_size=1, maximum_retry_attempts=0, on_failure=dead, when_destination_fails="drop"
    ) as app:
        await stream.wait_done()
        [status] = app.statuses()
    assert clock() - began < 10
    assert calls.ids == [["0"], ["1"]]
    assert status.counters["DroppedEventCount"] == 1
    assert "OnFailureDestinationDeliveredEventCount" not in status.counters
    assert [event.dropped for event in bench.seen.of(DestinationDeliveryFailed)] == [
        False,
        False,
        False,
        True,
    ]


async def test_a_stop_while_the_destination_is_down_loses_nothing(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(raising("0")), DeadLetters()
    dead.down = True
    stream.put([b"value"])
    app = bench.declare(calls, stream, maximum_retry_attempts=0, on_failure=dead)
    await app.start()
    await anyio.sleep(10)
    assert await app.stop(grace=5) is False
    dead.down = False
    async with bench.running(calls, stream, maximum_retry_attempts=0, on_failure=dead):
        await stream.wait_done()
    assert len(dead.sent) == 1


async def test_a_destination_by_record_gets_one_message_a_record_with_its_payload(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(raising()), DeadLetters(FailureFormat.RECORD)
    stream.put([b"one", b"two"], key="k")
    async with bench.running(calls, stream, maximum_retry_attempts=0, on_failure=dead):
        await stream.wait_done()
    assert [document["requestContext"]["condition"] for document in dead.sent] == ["RetriesExhausted"] * 2
    assert [document["payload"]["Records"][0]["kinesis"]["data"] for document in dead.sent] == [
        "b25l",
        "dHdv",
    ]
    assert dead.sent[0]["requestContext"]["functionArn"].endswith(":f:$LATEST")
    assert dead.sent[0]["responsePayload"]["errorMessage"] == "bad record 0"


class Named(DeadLetters):
    """Keeps the names, and at first takes only the first message."""

    def __init__(self, style: FailureFormat) -> None:
        super().__init__(style)
        self.names: list[list[str | None]] = []

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        self.names.append([message.name for message in messages])
        if len(self.names) == 1:
            return [SendFailure(index, "busy") for index in range(1, len(messages))]
        return await super().send(messages)


@pytest.mark.parametrize("style", FailureFormat)
async def test_each_document_has_a_name_of_its_own_that_stays(bench: Bench, style: FailureFormat) -> None:
    stream, dead = MemoryStream(), Named(style)
    stream.put([b"1", b"2", b"3"], key="k")
    async with bench.running(Calls(raising()), stream, maximum_retry_attempts=0, on_failure=dead):
        await stream.wait_done()
    first, *again = dead.names
    assert again == ([first[1:]] if style is FailureFormat.RECORD else [])
    assert len(set(first)) == len(first)
    mapping, uuid = mapping_id("bench", "m"), "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(uuid, mapping)
    pattern = rf"aws/lambda/{mapping}/shard-0/\d{{4}}/\d\d/\d\d/\d{{4}}-\d\d-\d\dT\d\d\.\d\d\.\d\d-{uuid}"
    assert all(re.fullmatch(pattern, name or "") for name in first)


def test_a_mapping_keeps_its_id_and_shares_it_with_nobody() -> None:
    ids = [mapping_id(app, mapping) for app in ("a", "b") for mapping in ("m", "n")]
    assert len(set(ids)) == 4
    assert mapping_id("a", "m") == ids[0] == "25b1ca5f-d83d-564e-b515-cd501f821783"


async def test_failures_may_not_go_back_into_their_source(bench: Bench) -> None:
    app = bench.declare(Calls(), "local:here", on_failure="local:here")
    with pytest.raises(ConfigurationError, match="is the source itself"):
        await app.start()
    with pytest.raises(ConfigurationError, match="is the topic that the mapping reads"):
        bench.declare(Calls(), "kafka://h:9092/t", app=bench.new_app(), on_failure="kafka://h:9092/t")
