"""Redriving: letters are sent, then written down, then taken out of their store.

In this order nothing can be lost, and what was written down is never sent again. Killed between the first two
steps, a run leaves a batch at most that the next one sends once more.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, assert_never

import anyio

from streamfn.letters.audit import Done, Entry
from streamfn.letters.box import CHUNK, Box, Found
from streamfn.letters.report import Fate, Report
from streamfn.letters.sending import Delivery
from streamfn.letters.targets import Dispatch, Fetch, Obstacle, Order, Plan, Refusal, guard, plan, records_of
from streamfn.ports import is_sequenced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from streamfn.letters.audit import Run
    from streamfn.letters.selection import Selection
    from streamfn.ports import Message

_BATCH_BYTES: Final = 8 * 1024 * 1024
"""What is sent together stays below that, but for a single letter."""


class Senders(Protocol):
    """What a redrive asks of the ends that letters go to (`Ends`)."""

    async def send(self, uri: str, messages: Sequence[Message]) -> Delivery:
        """What became of the messages."""

    async def fetch(self, place: str, info: Mapping[str, Any]) -> Mapping[str, Any] | str:
        """The event, or why there is none."""


@dataclass(slots=True)
class Redrive:
    """One run over a store."""

    box: Box
    ends: Senders
    selection: Selection
    order: Order
    stop: anyio.Event
    """Ends the run after the batch in hand."""
    run: Run | None = None
    """None: a dry run, which changes nothing."""
    rate: float | None = None
    """Letters a second."""
    limit: int | None = None
    """Letters to be sent."""
    tell: Callable[[Report], None] = lambda report: None
    """Hears how far it is, after each batch."""
    report: Report = field(init=False)
    _batch: list[_Ready] = field(default_factory=list, init=False)
    _weight: int = field(default=0, init=False)
    _due: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.report = Report(dry=self.run is None)

    async def __call__(self) -> Report:
        """Does it. Raises OSError and SourceError of the store and of the audit; then what the report counts
        as sent was sent, and up to a batch more.
        """
        report = self.report
        seen: set[str] = set()
        all_of_it = True
        while True:
            before = report.fates[Fate.SENT]
            all_of_it = await self._pass(seen)
            # What a store keeps back it shows when what it has shown is out.
            if not all_of_it or self.box.saw_all or self.run is None or report.fates[Fate.SENT] == before:
                break
        if all_of_it:
            report.unknown = sorted(self.selection.ids - seen)
            report.unseen = not self.box.saw_all
        report.stopped = self.stop.is_set()
        report.newer = self.box.newer
        return report

    async def _pass(self, seen: set[str]) -> bool:
        """Redrives what the store shows and was not seen before; whether it came to the end."""
        size = CHUNK if self.rate is None else max(1, min(CHUNK, int(self.rate)))
        async with aclosing(self.box.letters(self.selection, size)) as chunks:
            async for shown in chunks:
                chunk = [found for found in shown if found.stored.id not in seen]
                seen.update(found.stored.id for found in chunk)
                if self.box.store.removes or not all(map(self._is_over, chunk)):
                    await self._begin(chunk)
                await self._go(chunk)
                self.tell(self.report)
                if self.stop.is_set() or self._room() <= 0:
                    return False
        return True

    async def _begin(self, chunk: Sequence[Found]) -> None:
        if chunk and self.run is not None and self.report.run is None:
            await self.box.audit.begin(self.run)
            self.report.run = self.run.id

    async def _go(self, chunk: Sequence[Found]) -> None:
        room = self._room()
        await self._finish([found for found in chunk if self._is_over(found)])
        for found in chunk:
            if self._is_over(found):
                continue
            if self._refused(found):
                continue
            if room <= 0 or self.stop.is_set():
                self.report.count(Fate.LEFT)
                continue
            ready = await self._ready(found)
            if ready is None:
                continue
            room -= 1
            self._weight += ready.dispatch.size
            if self._batch and self._weight > _BATCH_BYTES:
                await self._send()
                self._weight = ready.dispatch.size
            self._batch.append(ready)
        await self._send()

    def _room(self) -> int:
        return CHUNK if self.limit is None else self.limit - self.report.fates[Fate.SENT]

    # ------------------------------------------------------------------------------------ what to do with it

    def _is_over(self, found: Found) -> bool:
        """Whether an earlier run had sent or purged it, and it is not asked for once more by name."""
        if not found.is_done:
            return False
        return self.box.store.removes or not self.selection.ids

    async def _finish(self, over: Sequence[Found]) -> None:
        if self.box.store.removes:
            self.report.count(Fate.FINISHED, len(over))
            if self.run is not None:
                await self.box.take_out(over)

    def _refused(self, found: Found) -> bool:
        entry = found.entry
        if entry is None or entry.done is Done.REOPENED or self.order.force:
            return False
        if entry.done is Done.PARTLY:
            reason = f"run {entry.run} sent what still existed of it: purge it, or say --force"
        else:
            reason = f"run {entry.run} has {entry.done.value} it: say --force to send it again"
        self.report.trouble(found.stored.id, Fate.REFUSED, reason)
        return True

    async def _ready(self, found: Found) -> _Ready | None:
        """The letter with what is to be sent, or None where it stays; then the report has the reason."""
        letter, done = found.letter, Done.REDRIVEN
        planned: Plan
        if self.order.goes_back and is_sequenced(self.box.store):
            done = Done.REOPENED
            planned = guard(letter, self.order) or Dispatch(self.box.store.name, ())
        else:
            planned = plan(letter, self.order)
        if isinstance(planned, Fetch):
            event = await self.ends.fetch(planned.place, planned.info)
            if isinstance(event, str):
                self.report.trouble(found.stored.id, Fate.FAILED, event)
                return None
            size = planned.info.get("batchSize")
            if isinstance(size, int) and records_of(event) < size:
                done = Done.PARTLY
            planned = plan(replace(letter, event=event), self.order)
        match planned:
            case Dispatch():
                return _Ready(found, planned, done)
            case Refusal(reason):
                fate, reason = Fate.REFUSED, f"{reason}: say --force to redrive it all the same"
            case Obstacle(reason):
                fate = Fate.FAILED
            case Fetch(place):
                fate, reason = Fate.FAILED, f"its records cannot be fetched from {place}"
            case _:  # pragma: no cover
                assert_never(planned)
        self.report.trouble(found.stored.id, fate, reason)
        return None

    # ---------------------------------------------------------------------------------------------- sending

    async def _send(self) -> None:
        batch, self._batch, self._weight = self._batch, [], 0
        if not batch:
            return
        if self.run is None:
            for one in batch:
                self.report.sent(one.dispatch.target)
            return
        await self._pace(len(batch))
        if self.stop.is_set():
            self.report.count(Fate.LEFT, len(batch))
            return
        for target, letters in _by_target(batch).items():
            if letters[0].done is Done.REOPENED:
                await self._reopen(letters)
                delivery = Delivery()
            else:
                messages = [message for one in letters for message in one.dispatch.messages]
                delivery = await self.ends.send(target, messages)
            await self._settle(self.run, target, _sent(letters, delivery, self.report))

    async def _reopen(self, letters: Sequence[_Ready]) -> None:
        if is_sequenced(self.box.store):
            await self.box.store.reopen([one.found.stored for one in letters])

    async def _settle(self, run: Run, target: str, sent: Sequence[_Ready]) -> None:
        now = self.box.audit.clock()
        await self.box.audit.record(
            [
                Entry(
                    run.id,
                    self.box.store.name,
                    one.found.stored.id,
                    one.found.stored.stored_at,
                    one.done,
                    target.partition("?")[0],
                    one.found.letter.redrives + 1,
                    now,
                )
                for one in sent
            ]
        )
        for one in sent:
            if one.done is Done.PARTLY:
                reason = "what still existed of its records was sent; the others are gone, and it stays"
                self.report.targets[target] += 1
                self.report.trouble(one.found.stored.id, Fate.FAILED, reason)
            else:
                self.report.sent(target)
        await self.box.take_out([one.found for one in sent if one.done is Done.REDRIVEN])

    async def _pace(self, letters: int) -> None:
        """Waits until so many letters may go, or until it is told to stop."""
        if self.rate is None:
            return
        now = anyio.current_time()
        begin = now if self._due is None else max(self._due, now)
        self._due = begin + letters / self.rate
        with anyio.move_on_after(begin - now):
            await self.stop.wait()


@dataclass(frozen=True, slots=True)
class _Ready:
    found: Found
    dispatch: Dispatch
    done: Done


def _by_target(batch: Sequence[_Ready]) -> dict[str, list[_Ready]]:
    found: dict[str, list[_Ready]] = {}
    for one in batch:
        found.setdefault(one.dispatch.target, []).append(one)
    return found


def _sent(letters: Sequence[_Ready], delivery: Delivery, report: Report) -> list[_Ready]:
    """The letters of which every message was taken; the report has the others."""
    sent = []
    begin = 0
    for one in letters:
        places = range(begin, begin + len(one.dispatch.messages))
        begin = places.stop
        reason = next((delivery.failures[place] for place in places if place in delivery.failures), None)
        if reason is None:
            sent.append(one)
        else:
            report.trouble(one.found.stored.id, Fate.FAILED, reason)
    return sent
