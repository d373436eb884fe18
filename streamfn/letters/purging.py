"""Purging: letters are written down as purged, then taken out of their store."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from streamfn.letters.audit import Done, Entry
from streamfn.letters.report import Fate

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio

    from streamfn.letters.audit import Run
    from streamfn.letters.box import Box, Found
    from streamfn.letters.report import Report
    from streamfn.letters.selection import Selection


async def purge(
    box: Box,
    selection: Selection,
    run: Run | None,
    report: Report,
    stop: anyio.Event,
    tell: Callable[[Report], None] = lambda report: None,
) -> None:
    """Takes out what is meant, in one go where that is all. Without a run it counts only.

    A store that cannot remove single letters keeps them, and they are hidden. Raises OSError and SourceError
    of the store and of the audit; the report has what was done before.
    """
    report.dry = run is None
    if run is not None and selection.takes_all:
        await _begin(box, run, report)
        number = await box.store.purge()
        report.count(Fate.PURGED, number or 0)
        report.purged_all = True
        return
    missing = set(selection.ids)
    while True:
        before = report.fates[Fate.PURGED]
        await _pass(box, selection, run, report, stop, tell, missing)
        # What a store keeps back it shows when what it has shown is out.
        if stop.is_set() or box.saw_all or run is None or report.fates[Fate.PURGED] == before:
            break
    if not stop.is_set():
        report.unknown, report.unseen = sorted(missing), not box.saw_all
    report.stopped, report.newer = stop.is_set(), box.newer


async def _pass(
    box: Box,
    selection: Selection,
    run: Run | None,
    report: Report,
    stop: anyio.Event,
    tell: Callable[[Report], None],
    missing: set[str],
) -> None:
    async with aclosing(box.letters(selection)) as chunks:
        async for chunk in chunks:
            missing.difference_update(found.stored.id for found in chunk)
            fresh = [found for found in chunk if not found.is_done]
            over = [found for found in chunk if found.is_done] if box.store.removes else []
            if run is not None and (fresh or over):
                await _begin(box, run, report)
                await box.audit.record([_entry(run, box, found) for found in fresh])
                await box.take_out([*fresh, *over])
            report.count(Fate.PURGED, len(fresh))
            report.count(Fate.FINISHED, len(over))
            tell(report)
            if stop.is_set():
                return


async def _begin(box: Box, run: Run, report: Report) -> None:
    if report.run is None:
        await box.audit.begin(run)
        report.run = run.id


def _entry(run: Run, box: Box, found: Found) -> Entry:
    stored = found.stored
    return Entry(
        run.id, box.store.name, stored.id, stored.stored_at, Done.PURGED, None, None, box.audit.clock()
    )
