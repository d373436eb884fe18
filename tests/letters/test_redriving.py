"""Redriving over real stores: each letter has one fate, in any order of failures and stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn.core.letters import REDRIVES
from streamfn.core.lineage import TRACE_HEADER
from streamfn.letters import (
    Audit,
    Box,
    Done,
    Ends,
    Fate,
    Order,
    Redrive,
    Report,
    Selection,
    new_run,
    purge,
    writable,
)
from streamfn.letters.sending import TRIES, Delivery
from streamfn.local import LocalEvents
from streamfn.ports import Message
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryDestination
from tests.letters import made
from tests.letters.made import metadata, of_invocation, of_queue, of_stream
from tests.letters.running import DEAD, LOG, Memory, Stops, bodies, fates, opened, put, redriven, stored


async def test_all_go_where_they_came_from(tmp_path: Path) -> None:
    await put(
        tmp_path, DEAD, [of_stream({"n": 1}, headers=(("h", b"1"),)), of_queue("two"), of_invocation([3])]
    )
    report = await redriven(tmp_path)
    assert fates(report) == {"sent": 3}
    assert report.targets == {"local:orders": 1, "local:queue/parcels": 1, "function:resize": 1}
    assert report.is_clean
    (order,) = await stored(tmp_path, "local:orders")
    assert (order.body, order.key) == (b'{"n":1}', "k")
    assert tuple(order.headers) == (("h", b"1"), (REDRIVES, b"1"))
    assert await bodies(tmp_path, "local:queue/parcels") == [b"two"]
    assert await stored(tmp_path, DEAD) == []


async def test_an_event_waits_in_the_queue_of_its_function(tmp_path: Path) -> None:
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793"
    await put(tmp_path, DEAD, [of_invocation([3], headers=((TRACE_HEADER, trace.encode()),))])
    assert fates(await redriven(tmp_path)) == {"sent": 1}
    async with LocalEvents(tmp_path, clock=clock).source("resize").open() as shard:
        (event,) = await shard.read(10, 0)
    assert event.value == b"[3]"
    assert dict(event.headers)[REDRIVES] == b"1"
    assert dict(event.headers)[TRACE_HEADER].decode().startswith(trace)


async def test_a_redrive_is_written_down(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(headers=((REDRIVES, b"1"),))])
    (letter,) = await stored(tmp_path, DEAD)
    report = await redriven(tmp_path, order=Order("local:else?shards=1"))
    async with Audit.at(tmp_path, clock) as audit:
        assert report.run is not None
        ((_, entry),) = await audit.entries(report.run, 0, 10)
    assert (entry.letter, entry.stored_at, entry.done) == (letter.id, letter.stored_at, Done.REDRIVEN)
    assert (entry.store, entry.target, entry.redrives) == (DEAD, "local:else", 2)


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(), of_queue(), b"plain"])
    report = await redriven(tmp_path, dry=True)
    assert fates(report) == {"sent": 2, "failed": 1}
    assert report.targets == {"local:orders": 1, "local:queue/parcels": 1}
    assert (report.run, report.dry) == (None, True)
    assert len(await stored(tmp_path, DEAD)) == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("letters")] == []


async def test_what_was_sent_before_the_end_came_is_taken_out_and_not_sent_again(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(number=number) for number in range(4)])
    letters = await stored(tmp_path, DEAD)
    await redriven(tmp_path, selection=Selection(frozenset({letters[1].id})))
    await put(tmp_path, DEAD, [of_stream(number=1)])  # as another letter

    memory = Memory()
    async with opened(tmp_path) as box:
        dying = DyingBox(box.store, box.audit)
        run = new_run("redrive", DEAD, "", ("ann", "box"), clock())
        with pytest.raises(KeyboardInterrupt):
            await Redrive(dying, memory, Selection(), Order(), anyio.Event(), run)()
    assert len(memory.destinations["local:orders"].messages) == 4
    assert len(await stored(tmp_path, DEAD)) == 4
    again = Memory()
    report = await redriven(tmp_path, ends=again)
    assert fates(report) == {"finished": 4}
    assert again.destinations == {}
    assert await stored(tmp_path, DEAD) == []


class DyingBox(Box):
    """The process ends before it takes letters out."""

    async def take_out(self, letters: Sequence[Any]) -> None:
        if letters:
            raise KeyboardInterrupt


async def test_letters_that_come_back_meanwhile_wait_for_the_next_run(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(number=number) for number in range(3)])

    class FailsAtOnce(Memory):
        async def send(self, uri: str, messages: Sequence[Message]) -> Delivery:
            await anyio.sleep(1)
            await put(tmp_path, DEAD, [of_stream(headers=message.headers) for message in messages])
            return await super().send(uri, messages)

    ends = FailsAtOnce()
    for number in (1, 2, 3):
        assert fates(await redriven(tmp_path, ends=ends)) == {"sent": 3}
        assert len(ends.destinations["local:orders"].messages) == 3 * number
    report = await redriven(tmp_path, ends=ends)
    assert fates(report) == {"refused": 3}
    assert not report.is_clean
    assert "redriven 3 times already: say --force" in report.problems[0].reason
    assert fates(await redriven(tmp_path, ends=ends, order=Order(force=True))) == {"sent": 3}


async def test_what_came_after_the_run_began_waits_for_the_next(tmp_path: Path) -> None:
    await made.put(tmp_path, DEAD, [of_stream(), of_stream()], clock=lambda: clock() + 60)
    await put(tmp_path, DEAD, [of_queue()])
    report = await redriven(tmp_path, ends=Memory())
    assert (fates(report), report.newer, report.is_clean) == ({"sent": 1}, 2, True)
    await anyio.sleep(61)
    assert fates(await redriven(tmp_path, ends=Memory())) == {"sent": 2}


async def test_a_log_keeps_its_letters_and_they_are_done_once(tmp_path: Path) -> None:
    await put(tmp_path, LOG, [of_stream(number=number) for number in range(3)])
    (first, *_) = await stored(tmp_path, LOG)
    one = frozenset({first.id})
    assert fates(await redriven(tmp_path, LOG, Selection(one))) == {"sent": 1}
    refused = await redriven(tmp_path, LOG, Selection(one))
    assert fates(refused) == {"refused": 1}
    assert refused.problems[0].reason.endswith("has redriven it: say --force to send it again")
    assert fates(await redriven(tmp_path, LOG, Selection(one), Order(force=True))) == {"sent": 1}
    assert fates(await redriven(tmp_path, LOG)) == {"sent": 2}
    assert fates(await redriven(tmp_path, LOG)) == {}
    assert len(await stored(tmp_path, LOG)) == 3
    assert len(await stored(tmp_path, "local:orders")) == 4


async def test_records_are_fetched_back(tmp_path: Path) -> None:
    await put(
        tmp_path, "local:orders?shards=1&max_records=4", [Message(b"%d" % n, f"k{n}") for n in range(4)]
    )
    await put(tmp_path, DEAD, [metadata(1, 2), metadata(90, 99), metadata(0, 1, stream="gone")])
    report = await redriven(tmp_path, order=Order("local:again", writable=writable))
    assert fates(report) == {"sent": 1, "failed": 2}
    assert [problem.reason for problem in report.problems] == [
        "its records no longer exist in local:orders",
        "its records no longer exist in local:gone",
    ]
    assert sorted((one.key, one.body) for one in await stored(tmp_path, "local:again")) == [
        ("k1", b"1"),
        ("k2", b"2"),
    ]
    assert len(await stored(tmp_path, DEAD)) == 2


async def test_what_exists_in_part_is_sent_once_and_stays(tmp_path: Path) -> None:
    await put(tmp_path, "local:orders?shards=1", [Message(b"%d" % n) for n in range(4)])
    await put(tmp_path, DEAD, [metadata(2, 6)])
    first = await redriven(tmp_path, order=Order("local:again"))
    assert fates(first) == {"failed": 1}
    assert first.targets == {"local:again": 1}
    assert "the others are gone, and it stays" in first.problems[0].reason
    second = await redriven(tmp_path, order=Order("local:again"))
    assert fates(second) == {"refused": 1}
    assert "purge it, or say --force" in second.problems[0].reason
    assert await bodies(tmp_path, "local:again") == [b"2", b"3"]
    async with opened(tmp_path) as box:
        report = Report()
        await purge(box, Selection(), new_run("purge", DEAD, "", ("a", "b"), clock()), report, anyio.Event())
    assert await stored(tmp_path, DEAD) == []


async def test_what_cannot_be_reached_is_told_and_the_others_go(tmp_path: Path) -> None:
    await put(
        tmp_path,
        DEAD,
        [of_stream(), of_queue(), of_stream(), metadata(1, 2).replace(b":kinesis:", b":other:")],
    )
    down = MemoryDestination("local:orders")
    down.faults.down = True
    report = await redriven(tmp_path, ends=Memory(local_orders=down))
    assert fates(report) == {"sent": 1, "failed": 3}
    assert len(down.sends) == TRIES
    assert report.problems[-1].reason.startswith("local:orders cannot be reached: ")
    assert len(await stored(tmp_path, DEAD)) == 3


async def test_an_end_of_an_unknown_kind_fails_its_letters_only(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(), of_stream().replace(b'"local:orders"', b'"nowhere:x"')])
    report = await redriven(tmp_path, order=Order("source"))
    assert fates(report) == {"sent": 1, "failed": 1}
    assert "there is no destination of kind 'nowhere'" in report.problems[0].reason
    await put(tmp_path, DEAD, [metadata(1, 2).replace(b"arn:aws:kinesis:local", b"arn:aws:nowhere:eu")])
    assert "no source to fetch from of kind 'nowhere'" in (await redriven(tmp_path)).problems[-1].reason


async def test_an_end_that_is_lost_is_not_tried_again_in_the_run(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_queue(str(number)) for number in range(1001)])
    ends = Ends({"state_dir": tmp_path})
    began = anyio.current_time()
    report = await redriven(tmp_path, order=Order("local:queue/x?state_dir=/dev/null/x"), ends=ends)
    await ends.close()
    assert fates(report) == {"failed": 1001}
    assert anyio.current_time() - began < 5
    assert len(report.problems) == 1000
    assert report.problems[0].reason.startswith("local:queue/x cannot be reached: ")


async def test_a_limit_leaves_the_rest(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(number=number) for number in range(5)])
    report = await redriven(tmp_path, limit=2)
    assert fates(report) == {"sent": 2, "left": 3}
    assert report.is_clean
    assert len(await stored(tmp_path, DEAD)) == 3
    assert len(await stored(tmp_path, "local:orders")) == 2


async def test_so_many_a_second(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(number=number) for number in range(25)])
    memory = Memory()
    began = anyio.current_time()
    await redriven(tmp_path, ends=memory, rate=10.0)
    assert [len(send) for send in memory.destinations["local:orders"].sends] == [10, 10, 5]
    assert anyio.current_time() - began == pytest.approx(2.4, abs=0.5)
    await put(tmp_path, DEAD, [of_stream(number=number) for number in range(3)])
    began = anyio.current_time()
    await redriven(tmp_path, rate=0.5)
    assert anyio.current_time() - began == pytest.approx(4.9, abs=1)


async def test_a_stop_ends_the_wait_for_a_rate(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(number=number) for number in range(3)])
    stop = anyio.Event()
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def later() -> None:
            await anyio.sleep(50)
            stop.set()

        tasks.start_soon(later)
        report = await redriven(tmp_path, stop=stop, rate=0.01)
    assert anyio.current_time() - began == pytest.approx(50, abs=1)
    assert fates(report) == {"sent": 1, "left": 1}
    assert report.stopped
    assert len(await stored(tmp_path, DEAD)) == 2


async def test_a_stop_lets_the_batch_in_hand_end(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(number=number) for number in range(1200)])
    stop = anyio.Event()
    heard: list[int] = []
    report = await redriven(
        tmp_path,
        stop=stop,
        ends=Stops(stop, Memory()),
        tell=lambda report: heard.append(report.fates[Fate.SENT]),
    )
    assert fates(report) == {"sent": 500}
    assert heard == [500]
    assert report.stopped
    assert not report.is_clean
    assert len(await stored(tmp_path, DEAD)) == 700


async def test_large_letters_are_sent_a_few_at_a_time(tmp_path: Path) -> None:
    large = "x" * (3 * 1024 * 1024)
    await put(tmp_path, DEAD, [of_invocation(large) for _ in range(5)])
    memory = Memory()
    await redriven(tmp_path, ends=memory)
    assert max(len(send) for send in memory.destinations["function:resize"].sends) == 2
    assert len(memory.destinations["function:resize"].messages) == 5


async def test_ids_that_are_not_there(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream(), of_stream()])
    letters = await stored(tmp_path, DEAD)
    report = await redriven(tmp_path, selection=Selection(frozenset({letters[1].id, "b", "a"})))
    assert (fates(report), report.unknown, report.is_clean) == ({"sent": 1}, ["a", "b"], False)
    assert await stored(tmp_path, DEAD) == letters[:1]


async def test_order_within_a_target_is_kept(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_queue(str(number)) for number in range(1100)])
    await redriven(tmp_path)
    found = [one.body for one in await stored(tmp_path, "local:queue/parcels")]
    assert found == [str(number).encode() for number in range(1100)]


async def test_a_full_disk_ends_the_run_and_nothing_is_taken_out(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_stream()])

    class Full(Audit):
        async def record(self, entries: Sequence[Any]) -> None:
            raise OSError(28, "the disk is full")

    async with opened(tmp_path) as box, Audit.at(tmp_path, clock) as audit:
        full = Box(box.store, Full(audit._database, clock))
        run = new_run("redrive", DEAD, "", ("a", "b"), clock())
        redrive = Redrive(full, Memory(), Selection(), Order(), anyio.Event(), run)
        with pytest.raises(OSError, match="the disk is full"):
            await redrive()
        assert fates(redrive.report) == {}
    assert len(await stored(tmp_path, DEAD)) == 1


KINDS = {
    "stream": of_stream(),
    "queue": of_queue(),
    "invocation": of_invocation({}),
    "plain": b"plain",
    "often": of_stream(headers=((REDRIVES, b"3"),)),
    "gone": metadata(1, 2),
}


runs = st.tuples(
    st.booleans(),
    st.sets(st.integers(0, 11)),
    st.booleans(),
    st.sampled_from([None, "source", "function"]),
    st.booleans(),
    st.none() | st.integers(1, 5),
)
"""Whether the stream is down; which messages it refuses, and for good or not; the order; the limit."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=12), st.lists(runs, min_size=1, max_size=3))
async def test_each_letter_has_one_fate_and_is_sent_or_still_there(
    tmp_path_factory: Any, names: list[str], plans: list[Any]
) -> None:
    state_dir = tmp_path_factory.mktemp("law")
    await put(state_dir, DEAD, [KINDS[name] for name in names])
    sent = 0
    for down, refused, retryable, to, force, limit in plans:
        before = len(await stored(state_dir, DEAD))
        orders = MemoryDestination("local:orders")
        orders.faults.down = down
        orders.fail_indexes(*refused, times=9, retryable=retryable)
        ends = Memory(local_orders=orders)
        report = await redriven(state_dir, ends=ends, order=Order(to, force=force), limit=limit)
        after = len(await stored(state_dir, DEAD))
        assert report.fates.total() == before
        assert report.fates[Fate.SENT] == before - after == report.targets.total()
        assert limit is None or report.fates[Fate.SENT] <= limit
        assert sum(len(one.messages) for one in ends.destinations.values()) == before - after
        sent += report.fates[Fate.SENT]
    assert sent + len(await stored(state_dir, DEAD)) == len(names)
