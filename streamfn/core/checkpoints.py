"""How far a shard is done: in order in, any order out; and what is written down beside the position."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamfn.core.records import Record

_position = attrgetter("position")
_last = attrgetter("last")


class _Chunk:
    """Records that were read together: which of them are resolved."""

    __slots__ = ("ahead", "head", "last", "records")

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.head = 0
        """All before it are resolved."""
        self.ahead: set[int] = set()
        """Indexes beyond the head that are resolved."""
        self.last = records[-1].position


class CheckpointTracker:
    """Which records of a shard are resolved, and the position below which all are.

    Never passes an unresolved record, whatever the order of resolution. A batch that is resolved as it was
    read costs one comparison of two lists.
    """

    def __init__(self, position: int) -> None:
        self.committable = position
        """All records up to and including this position are resolved."""
        self._chunks: deque[_Chunk] = deque()
        self._open = 0

    @property
    def unresolved(self) -> int:
        """Records read and not resolved."""
        return self._open

    def track(self, records: Sequence[Record]) -> None:
        """Notes records as read. They come in growing positions."""
        if records:
            self._chunks.append(_Chunk(records))
            self._open += len(records)

    def resolve(self, records: Sequence[Record]) -> None:
        """Notes records as done with, each once: processed, filtered out, or given up and sent off."""
        self._open -= len(records)
        done = 0
        while done < len(records):
            done += self._resolve_run(records, done) or self._resolve_one(records[done])
        self._advance()

    def resolved_ahead(self) -> Iterator[tuple[int, int]]:
        """Ranges of positions beyond `committable` that are resolved, first and last, growing."""
        for chunk in self._chunks:
            run: list[int] | None = None
            for index in sorted(chunk.ahead):
                if run is not None and index == run[1] + 1:
                    run[1] = index
                    continue
                if run is not None:
                    yield chunk.records[run[0]].position, chunk.records[run[1]].position
                run = [index, index]
            if run is not None:
                yield chunk.records[run[0]].position, chunk.records[run[1]].position

    def _resolve_run(self, records: Sequence[Record], start: int) -> int:
        """Resolves as many of the records as stand in one piece at the head of the first chunk."""
        chunk = self._chunks[0]
        if chunk.records[chunk.head] is not records[start]:
            return 0
        length = min(len(records) - start, len(chunk.records) - chunk.head)
        # Every one is compared, by identity and in C: a batch of many keys is not in shard order, so its ends
        # may stand as in the chunk while others are between them.
        if list(chunk.records[chunk.head : chunk.head + length]) != list(records[start : start + length]):
            return 0
        chunk.head += length
        self._advance()
        return length

    def _resolve_one(self, record: Record) -> int:
        position = record.position
        chunk = self._chunks[bisect_left(self._chunks, position, key=_last)]
        chunk.ahead.add(bisect_left(chunk.records, position, key=_position))
        return 1

    def _advance(self) -> None:
        while self._chunks:
            chunk = self._chunks[0]
            while chunk.head in chunk.ahead:
                chunk.ahead.discard(chunk.head)
                chunk.head += 1
            if chunk.head < len(chunk.records):
                if chunk.head:
                    self.committable = chunk.records[chunk.head - 1].position
                return
            self.committable = chunk.last
            self._chunks.popleft()


@dataclass(frozen=True, slots=True)
class Held:
    """A batch that had failed before: where it began, how many records it had and how often it had failed."""

    position: int
    size: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What the owner of a shard leaves to the next, beside the position: kept in the commit's metadata."""

    running: bool = False
    """An owner is at work. Found by the next one, it means that the last one ended without a word."""
    delivering: bool = False
    """The first of `held` was being delivered: if its owner ended without a word, it is what ended it."""
    crashes: int = 0
    """Owners in a row that ended so at this very position."""
    held: tuple[Held, ...] = ()
    done: tuple[tuple[int, int], ...] = ()
    """Ranges of positions beyond the committed one that are resolved."""

    def encode(self, position: int, limit: int) -> str | None:
        """Text of at most `limit` characters for a commit at a position; None where it does not fit.

        Held batches are the first to go (they are then tried as new); the ranges never are.
        """
        if not (self.crashes or self.held or self.done):
            word = _RUNNING if self.running else _CLEAN
            return word if len(word) <= limit else None
        numbers = [self.running + 2 * (self.delivering and bool(self.held)), self.crashes, len(self.held)]
        for batch in self.held:
            numbers += [batch.position - position, batch.size, batch.attempt]
        end = position
        for first, last in self.done:
            numbers += [first - end, last - first]
            end = last
        text = _PACKED + b64encode(zlib.compress(b"".join(map(_varint, numbers)), 9)).decode()
        if len(text) <= limit:
            return text
        return replace(self, held=()).encode(position, limit) if self.held else None

    @classmethod
    def decode(cls, text: str, position: int) -> Progress:
        """What `encode` wrote. Text of another writer says nothing, and nothing is what comes of it.

        Raises ValueError for text that begins as ours and is damaged: guessing could lose records.
        """
        if not text.startswith(_OURS):
            return cls()
        if text in (_RUNNING, _CLEAN):
            return cls(running=text == _RUNNING)
        try:
            if not text.startswith(_PACKED):
                raise ValueError("neither word nor numbers")
            numbers = list(_varints(zlib.decompress(b64decode(text[len(_PACKED) :], validate=True))))
            flags, crashes, count = numbers[:3]
            triples = numbers[3 : 3 + 3 * count]
            if len(triples) != 3 * count:
                raise ValueError("a held batch is cut short")
            held = tuple(
                Held(position + triples[i], triples[i + 1], triples[i + 2]) for i in range(0, len(triples), 3)
            )
            done = []
            end = position
            rest = iter(numbers[3 + 3 * count :])
            for gap, length in zip(rest, rest, strict=True):
                done.append((end + gap, end + gap + length))
                end += gap + length
        except (ValueError, IndexError, zlib.error) as error:
            raise ValueError(f"commit metadata at {position} is damaged: {text[:40]!r}") from error
        return cls(bool(flags & 1), bool(flags & 2), crashes, held, tuple(done))


_OURS = "sfn1 "
_CLEAN = _OURS + "clean"
_RUNNING = _OURS + "running"
_PACKED = _OURS + "z "


def _varint(number: int) -> bytes:
    """LEB128 of a number that is not negative."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("a number is cut short")
