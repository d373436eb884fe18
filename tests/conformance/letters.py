"""Dead letters in memory: a store that hides what it hands out, and a log that records are fetched from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from anyio import lowlevel

from streamfn.core.events import KinesisShape
from streamfn.core.letters import Stored
from streamfn.core.records import StreamRecord
from streamfn.errors import SourceError
from streamfn.ports import LetterFetcher, LetterStore, Message
from streamfn.testing.clock import clock
from streamfn.testing.conformance import LetterFetcherHarness, LetterStoreHarness

SHAPE = KinesisShape("arn:aws:kinesis:us-east-1:123456789012:stream/memory", "shard-0", "us-east-1")


class Shelf:
    """What all stores over it share."""

    def __init__(self) -> None:
        self.letters: dict[str, Stored] = {}
        self.hidden: set[str] = set()
        self.count = 0
        self.is_there = True

    def put(self, message: Message) -> None:
        self.count += 1
        letter = Stored(str(self.count), message.body, message.key, message.headers, clock())
        self.letters[letter.id] = letter


class MemoryLetters:
    """A `LetterStore`."""

    name = "memory"
    removes = True

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.held: set[str] = set()

    async def scan(self) -> AsyncIterator[Stored]:
        await self._reach()
        self._give_back()
        for letter in list(self.shelf.letters.values()):
            if letter.id not in self.shelf.hidden and letter.id in self.shelf.letters:
                self.held.add(letter.id)
                self.shelf.hidden.add(letter.id)
                yield letter

    async def remove(self, letters: Sequence[Stored]) -> None:
        await self._reach()
        for letter in letters:
            self.shelf.letters.pop(letter.id, None)

    async def purge(self) -> int | None:
        await self._reach()
        count = len(self.shelf.letters)
        self.shelf.letters.clear()
        return count

    async def close(self) -> None:
        await lowlevel.checkpoint()
        self._give_back()

    async def _reach(self) -> None:
        await lowlevel.checkpoint()
        if not self.shelf.is_there:
            raise SourceError("memory: out of reach, the test planned it")

    def _give_back(self) -> None:
        self.shelf.hidden -= self.held
        self.held.clear()


class MemoryLettersHarness(LetterStoreHarness):
    def __init__(self) -> None:
        self.shelf = Shelf()

    def now(self) -> float:
        return clock()

    def store(self) -> LetterStore:
        return MemoryLetters(self.shelf)

    async def put(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.shelf.put(message)

    def unreachable(self) -> LetterStore:
        shelf = Shelf()
        shelf.is_there = False
        return MemoryLetters(shelf)


class MemoryFetcher:
    """A `LetterFetcher` over a list of records."""

    def __init__(self, log: list[StreamRecord] | None) -> None:
        self.log = log

    async def fetch(self, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        await lowlevel.checkpoint()
        if self.log is None:
            raise SourceError("memory: out of reach, the test planned it")
        first, last = int(info["startSequenceNumber"]), int(info["endSequenceNumber"])
        records = [record for record in self.log if first <= record.position <= last]
        return SHAPE.to_event(records) if records else None

    async def close(self) -> None:
        await lowlevel.checkpoint()


class MemoryFetcherHarness(LetterFetcherHarness):
    def __init__(self) -> None:
        self.log: list[StreamRecord] = []
        self.count = 0

    def fetcher(self) -> LetterFetcher:
        return MemoryFetcher(self.log)

    async def put(self, messages: Sequence[Message]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        self.append([Message(b"before")])
        records = self.append(messages)
        self.append([Message(b"behind")])
        return SHAPE.to_event(records), SHAPE.batch_info(records)["KinesisBatchInfo"]

    def append(self, messages: Sequence[Message]) -> list[StreamRecord]:
        records = []
        for message in messages:
            self.count += 3
            records.append(StreamRecord(self.count, message.body, message.key, clock()))
        self.log += records
        return records

    async def trim(self, event: Mapping[str, Any], keep: int) -> Mapping[str, Any]:
        items = event["Records"]
        kept = items[len(items) - keep :]
        last = int(items[-1]["kinesis"]["sequenceNumber"])
        first = int(kept[0]["kinesis"]["sequenceNumber"]) if kept else last + 1
        self.log[:] = [record for record in self.log if record.position >= first]
        return {**event, "Records": kept}

    def unreachable(self) -> LetterFetcher:
        return MemoryFetcher(None)
