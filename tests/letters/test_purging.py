"""Purging some, or all."""

from __future__ import annotations

from pathlib import Path

import anyio

from streamfn.letters import (
    Report,
    Selection,
    new_run,
    purge,
)
from streamfn.testing.clock import clock
from tests.letters.made import of_queue, of_stream
from tests.letters.running import DEAD, LOG, Memory, fates, opened, put, redriven, stored


async def test_purging_what_is_meant(tmp_path: Path) -> None:
    for uri, kept in ((DEAD, 1), (LOG, 2)):
        await put(tmp_path, uri, [of_stream(), of_queue()])
        async with opened(tmp_path, uri) as box:
            dry, wet = Report(), Report()
            await purge(box, Selection(mapping="pack-parcels"), None, dry, anyio.Event())
            run = new_run("purge", uri, "", ("a", "b"), clock())
            await purge(box, Selection(mapping="pack-parcels"), run, wet, anyio.Event())
        assert fates(dry) == fates(wet) == {"purged": 1}
        assert len(await stored(tmp_path, uri)) == kept
        async with opened(tmp_path, uri) as box:
            found = [one async for chunk in box.letters(Selection()) for one in chunk]
        assert [one.is_done for one in found] == [False, True][:kept]
        assert fates(await redriven(tmp_path, uri, ends=Memory())) == {"sent": 1}


async def test_purging_all(tmp_path: Path) -> None:
    for uri in (DEAD, LOG):
        await put(tmp_path, uri, [of_stream(), of_queue()])
        async with opened(tmp_path, uri) as box:
            report = Report()
            await purge(box, Selection(), None, report, anyio.Event())
            assert (fates(report), await box.count()) == ({"purged": 2}, 2)
            report = Report()
            run = new_run("purge", uri, "", ("a", "b"), clock())
            await purge(box, Selection(), run, report, anyio.Event())
            assert (fates(report), await box.count(), report.purged_all) == ({"purged": 2}, 0, True)
            assert await box.audit.run(run.id) is not None


async def test_a_purge_that_is_stopped_says_so(tmp_path: Path) -> None:
    await put(tmp_path, DEAD, [of_queue(str(number)) for number in range(1100)])
    stop = anyio.Event()
    async with opened(tmp_path) as box:
        report = Report()
        run = new_run("purge", DEAD, "", ("a", "b"), clock())
        wanted = Selection(mapping="pack-parcels")
        await purge(box, wanted, run, report, stop, lambda report: stop.set())
    assert (fates(report), report.stopped, report.is_clean) == ({"purged": 500}, True, False)
    assert len(await stored(tmp_path, DEAD)) == 600
