"""Sequenced mode at its limits: age, room, faults, destinations, and mappings that come and go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from streamfn import App, local
from streamfn.core.envelopes import FailureFormat
from streamfn.core.records import StreamRecord
from streamfn.errors import ConfigurationError
from streamfn.local import LocalSequences
from streamfn.ports import Parked
from streamfn.telemetry import DestinationDeliveryFailed
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryStream
from tests.engine.conftest import DeadLetters
from tests.engine.sequenced import OPTIONS, Line, dead_of, items
from tests.waiting import until

pytestmark = pytest.mark.anyio


# -------------------------------------------------------------------------------------------------- the age


async def test_what_is_too_old_closes_its_key_for_what_follows_in_its_batch(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.app = line.declare(maximum_record_age_in_seconds=60, batch_size=10)
    await line.put(("a", 0), ("b", 0))
    await anyio.sleep(70)
    await line.put(("a", 1), ("c", 1))
    async with line.running(maximum_record_age_in_seconds=60, batch_size=10):
        await line.closed(a=1, b=0)
        assert dead_of((await line.letters())["a"])["condition"] == "RecordAgeExceeded"
        await until(lambda: line.done == [("c", 1)])
        # Parked records do not grow old: they had to wait.
        await anyio.sleep(100)
        await line.put(("a", 2))
        await line.closed(a=2, b=0)
        await line.reopen("a")
        await until(lambda: line.of("a") == [0, 1, 2])


async def test_what_is_too_old_waits_for_a_younger_one_before_it(tmp_path: Path) -> None:
    """Their producers set the times of Kafka's records, and not all clocks are right."""
    line, stream = Line(tmp_path, "batch"), MemoryStream()
    line.bad = {("a", 0)}
    now = clock()
    stream.put([StreamRecord(0, b'{"k": "a", "v": 0}', "a", now)])
    stream.put([StreamRecord(0, b'{"k": "a", "v": 1}', "a", now - 100)])
    stream.put([StreamRecord(0, b'{"k": "a", "v": 2}', "a", now)])
    async with line.running(source=stream, maximum_record_age_in_seconds=60, batch_size=10):
        await line.closed(a=2)
        line.bad.clear()
        await line.reopen("a")
        await line.until_done(*items("a", range(3)))
    assert line.done == items("a", range(3))


# ------------------------------------------------------------------------------------------------ the limit


async def test_beyond_the_limit_the_shard_waits_and_goes_on(tmp_path: Path) -> None:
    """With one place for the function alone, which what waits must not keep."""
    line = Line(tmp_path, reserved_concurrency=1)
    line.bad = {("a", 0)}
    async with line.running(sequenced_limit=3):
        await line.put(*items("a", range(6)))
        await line.closed(a=2)
        await until(lambda: line.seen.of(DestinationDeliveryFailed))
        waits = line.seen.of(DestinationDeliveryFailed)[0]
        assert (waits.destination, waits.role, waits.dropped) == ("sequence:app.m", "DeadLetters", False)
        assert "SequencedLimit is 3" in waits.reason
        # Letters are always taken, and other keys go on.
        line.bad.add(("b", 0))
        await line.put(("b", 0), ("c", 0))
        await line.closed(a=2, b=0)
        await until(lambda: ("c", 0) in line.done)
        line.bad.clear()
        await line.reopen("a")
        await until(lambda: line.of("a") == list(range(6)), 120)


async def test_what_waits_for_room_keeps_no_drain_waiting(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running(sequenced_limit=1) as app:
        await line.put(*items("a", range(3)))
        await until(lambda: line.seen.of(DestinationDeliveryFailed))
        began = clock()
        assert await app.stop(grace=30)
        assert clock() - began < 1
    line.bad.clear()
    async with line.running():
        await line.closed(a=2)
        await line.reopen("a")
        await line.until_done(*items("a", range(3)))
    assert line.done == items("a", range(3))


# ---------------------------------------------------------------------------------------------- the disk


class Faulty(LocalSequences):
    """Sequences on a disk that fails for a while."""

    faults: ClassVar[list[str]] = []

    async def bury(self, shard: str, letters: Sequence[Parked]) -> None:
        self._fail("bury")
        await super().bury(shard, letters)

    async def park(self, shard: str, records: Sequence[Parked]) -> Sequence[Parked]:
        self._fail("park")
        return await super().park(shard, records)

    def _fail(self, action: str) -> None:
        if action in self.faults:
            self.faults.remove(action)
            raise OSError(28, f"no space left to {action}")


async def test_a_disk_that_fails_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LocalSequences", Faulty)
    monkeypatch.setattr(Faulty, "faults", ["bury", "bury", "park"])
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running():
        await line.put(*items("a", range(3)), ("b", 0))
        await line.closed(a=2)
        reasons = [event.reason for event in line.seen.of(DestinationDeliveryFailed)]
        assert [reason.split()[-1] for reason in reasons] == ["bury", "bury", "park"]
        line.bad.clear()
        await line.reopen("a")
        await until(lambda: line.of("a") == [0, 1, 2])
    assert Faulty.faults == []


# ------------------------------------------------------------------------------------- destinations and life


@pytest.mark.parametrize("style", list(FailureFormat))
async def test_the_on_failure_destination_is_told_as_well(tmp_path: Path, style: FailureFormat) -> None:
    """Also of what had only been parked, in the same words."""
    line, dead = Line(tmp_path), DeadLetters(style)
    line.bad = {("a", 0), ("a", 1)}
    async with line.running(on_failure=dead, maximum_retry_attempts=2):
        await line.put(("a", 0), ("a", 1), ("a", 2))
        await line.closed(a=2)
        assert len(dead.sent) == 1
        line.bad = {("a", 1)}
        await line.reopen("a")
        await line.closed(a=1)
    at_first, then = dead.sent
    context = then["requestContext"]
    assert context == {**at_first["requestContext"], "requestId": context["requestId"]}
    assert context["approximateInvokeCount"] == 3
    assert then.keys() == at_first.keys()
    assert then["responseContext"] == at_first["responseContext"]
    assert then["KinesisBatchInfo"]["batchSize"] == 1
    if style is not FailureFormat.METADATA:
        assert then["responsePayload"]["errorMessage"] == "bad ('a', 1)"
        payload = json.loads(then["payload"]) if style is FailureFormat.PAYLOAD else then["payload"]
        assert len(payload["Records"]) == 1


async def test_a_key_is_closed_when_the_on_failure_destination_has_taken_it(tmp_path: Path) -> None:
    line, dead = Line(tmp_path), DeadLetters()
    line.bad = {("a", 0)}
    dead.down = True
    async with line.running(on_failure=dead, maximum_retry_attempts=0):
        await line.put(("a", 0), ("a", 1))
        await until(lambda: dead.refused > 2)
        assert (await line.letters(), line.done) == ({}, [])
        dead.down = False
        await line.closed(a=1)
    assert len(dead.sent) == 1


async def test_a_drain_and_a_restart_keep_the_order(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    for first in range(0, 9, 3):
        async with line.running():
            await line.put(*items("a", range(first, first + 3)))
            await line.closed(a=first + 2)
    line.bad.clear()
    async with line.running():
        await line.reopen("a")
        await line.put(*items("a", range(9, 12)))
        await line.until_done(*items("a", range(12)))
    assert line.done == items("a", range(12))


async def test_pausing_pauses_the_sequences_too(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running() as app:
        await line.put(("a", 0), ("a", 1))
        await line.closed(a=1)
        await app.pause("m")
        line.bad.clear()
        await line.reopen("a")
        await line.put(("a", 2), ("b", 0))
        await anyio.sleep(60)
        assert line.done == []
        await app.resume("m")
        await line.until_done(*items("a", range(3)), ("b", 0))
        assert line.of("a") == [0, 1, 2]


async def test_options_change_for_the_sequences_too_and_the_mode_comes_and_goes(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running() as app:
        await line.put(("a", 0), ("a", 1))
        await line.closed(a=1)
        await app.update_mapping("m", maximum_retry_attempts=3)
        line.tried.clear()
        await line.reopen("a")
        await line.closed(a=1)
        assert line.tried == [("a", 0)] * 4
        await app.update_mapping("m", sequenced=False)
        assert "m:sequence" not in app._running().mappings
        await line.put(("a", 2))
        await line.until_done(("a", 2))
        await app.pause("m")
        await app.update_mapping("m", sequenced=True)
        line.bad.clear()
        await line.reopen("a")
        await anyio.sleep(60)
        assert line.done == [("a", 2)]
        await app.resume("m")
        await line.until_done(("a", 2), ("a", 0), ("a", 1))
        await app.remove_mapping("m")
        assert not {"m", "m:sequence"} & app._running().mappings.keys()
    assert line.done == [("a", 2), ("a", 0), ("a", 1)]


async def test_a_function_that_is_switched_off_gives_nothing_up(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running():
        await line.put(("a", 0))
        await line.closed(a=0)
    line.bad.clear()
    line.function = {"reserved_concurrency": 0}
    async with line.running():
        await line.reopen("a")
        await anyio.sleep(60)
        assert await line.letters() == {}
    line.function = {}
    async with line.running():
        await line.until_done(("a", 0))


# ---------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ordering": "shard"}, "goes with ordering key only"),
        ({"ordering": None}, "goes with ordering key only"),
        ({"dead_letters": False}, "needs dead letters"),
        ({"sequenced": False, "sequenced_limit": 5}, "goes with sequenced only"),
        ({"sequenced_limit": 0}, "SequencedLimit"),
        ({"source": "local:queue/q.fifo", "ordering": None}, "Sequenced"),
    ],
)
async def test_what_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    wanted = {name: value for name, value in {**OPTIONS, **options}.items() if value is not None}
    app = App(name="app", state_dir=tmp_path, clock=clock)
    app.function(name="f")(lambda event, context: None)
    with pytest.raises(ConfigurationError, match=problem):
        app.event_source_mapping("f", wanted.pop("source", "local:s"), **wanted)
        await app.start()


async def test_an_app_without_dead_letters_has_no_sequences(tmp_path: Path) -> None:
    app = App(name="app", state_dir=tmp_path, clock=clock, dead_letters=False)
    app.function(name="f")(lambda event, context: None)
    app.event_source_mapping("f", "local:s", **OPTIONS)
    with pytest.raises(ConfigurationError, match="the app has them switched off"):
        await app.start()
