"""A store of dead letters, seen together with what was done to its letters before."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from streamfn.core.letters import Letter, Stored, read_letter
from streamfn.errors import SourceError
from streamfn.letters.audit import Audit, Entry, Key, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamfn.letters.selection import Selection
    from streamfn.ports import LetterStore

CHUNK: Final = 500
"""Letters that are sent, written down and taken out together."""
_CHUNK_BYTES: Final = 8 * 1024 * 1024


@runtime_checkable
class Countable(Protocol):
    """A store that can tell how many letters it has without reading them."""

    async def count(self) -> int:
        """How many there are now."""


@runtime_checkable
class Partial(Protocol):
    """A store of which a scan may show a part, until that is removed."""

    saw_all: bool
    """Whether the last scan has shown all there was."""


@dataclass(frozen=True, slots=True)
class Found:
    """A letter of a store."""

    stored: Stored
    letter: Letter
    entry: Entry | None = None
    """What was done to it last."""

    @property
    def is_done(self) -> bool:
        """Whether it is over with it, though it may still be in its store."""
        return self.entry is not None and self.entry.done.is_final


@dataclass(slots=True)
class Box:
    """A store with its audit. Letters that come while one looks, one's own come back among them, are left."""

    store: LetterStore
    audit: Audit
    begun: float = field(init=False)
    newer: int = field(default=0, init=False)
    """Letters that came since then."""

    def __post_init__(self) -> None:
        self.begun = self.audit.clock()

    async def letters(self, selection: Selection, size: int = CHUNK) -> AsyncGenerator[list[Found], None]:
        """Letters that are meant, some at a time, the oldest first as far as the store has an order.

        It ends early once it has all ids that were asked for. Raises OSError, SourceError.
        """
        wanted = set(selection.ids)
        chunk: dict[Key, tuple[Stored, Letter]] = {}  # a queue may give the same one twice
        weight = 0
        async with _closing(self.store.scan()) as letters:
            async for stored in letters:
                if wanted and stored.id not in wanted:
                    continue
                if stored.stored_at is not None and stored.stored_at > self.begun:
                    self.newer += 1
                    continue
                letter = read_letter(stored)
                if selection.takes(letter):
                    chunk[key_of(stored)] = stored, letter
                    weight += len(stored.body)
                if len(chunk) >= size or weight >= _CHUNK_BYTES:
                    yield await self._found([*chunk.values()])
                    chunk, weight = {}, 0
                if wanted:
                    wanted.discard(stored.id)
                    if not wanted:
                        break
            if chunk:
                yield await self._found([*chunk.values()])

    @property
    def saw_all(self) -> bool:
        """Whether nothing was kept back from the last look."""
        return not isinstance(self.store, Partial) or self.store.saw_all

    async def count(self) -> int | None:
        """How many letters there are now; None where the store does not tell."""
        return await self.store.count() if isinstance(self.store, Countable) else None

    async def take_out(self, letters: Sequence[Found]) -> None:
        """Removes letters where the store can do that. Elsewhere the audit alone says that they are done."""
        if letters and self.store.removes:
            await self.store.remove([found.stored for found in letters])

    async def _found(self, chunk: Sequence[tuple[Stored, Letter]]) -> list[Found]:
        known = await self.audit.known(self.store.name, [stored for stored, _ in chunk])
        return [Found(stored, letter, known.get(key_of(stored))) for stored, letter in chunk]


@asynccontextmanager
async def _closing(letters: AsyncIterator[Stored]) -> AsyncIterator[AsyncIterator[Stored]]:
    """A scan that is left early ends at once where it is a generator, and not when it is collected."""
    try:
        yield letters
    finally:
        if isinstance(letters, AsyncGenerator):
            await letters.aclose()


@contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Held by whoever changes letters, so that nothing is sent by two at once. It ends with its process.

    Raises SourceError when somebody else has it.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "letters.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SourceError(
                f"another redrive, purge or import is at work in {state_dir}: let it end first"
            ) from None
        yield
