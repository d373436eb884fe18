"""The dead letters of sequenced mappings: the first of each key, with the number of records behind it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from streamfn.core.letters import Stored
from streamfn.errors import ConfigurationError
from streamfn.local import queues
from streamfn.local.broker import Broker
from streamfn.local.naming import state_of
from streamfn.local.schema import PER_PARENT, unpack_text
from streamfn.local.sequences import give_up, queue_of, reopen

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streamfn.local.queues import Queue

_PAGE: Final = 500


class SequenceLetters:
    """A LetterStore over the sequences of a mapping: `sequence:APP.MAPPING`.

    To remove a letter gives up its record alone: what waits behind it goes on. `reopen` delivers the record
    once more first.
    """

    removes = True

    def __init__(self, mapping: str, **options: object) -> None:
        if not mapping:
            raise ConfigurationError("names no mapping", field="Store", fix="write sequence:APP.MAPPING")
        self._mapping = mapping
        self._path, self._clock = state_of(options)
        self._opening = anyio.Lock()
        self._resources = AsyncExitStack()
        self._broker: Broker | None = None

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`sequence:APP.MAPPING`. Raises ConfigurationError naming the fix."""
        return cls(uri.partition(":")[2], **options)

    @property
    def name(self) -> str:
        return f"sequence:{self._mapping}"

    async def scan(self) -> AsyncIterator[Stored]:
        """Raises ConfigurationError where no sequenced mapping of that name has been here."""
        broker, queue = await self._open()
        after = 0
        while page := await broker.database.read(partial(_heads, queue=queue, after=after)):
            for number, message_id, key, sent_at, body, behind in page:
                yield Stored(message_id, body, unpack_text(key), (), sent_at, None, number, behind=behind)
            after = page[-1][0]

    async def remove(self, letters: Sequence[Stored]) -> None:
        broker, queue = await self._open()
        numbers = [letter.receipt for letter in letters]
        await broker.database.write(lambda transaction: give_up(transaction, queue, numbers))

    async def purge(self) -> int:
        """Gives up the first of each key; what waits behind them goes on."""
        broker, queue = await self._open()
        numbers = [letter.receipt async for letter in self.scan()]
        return await broker.database.write(lambda transaction: give_up(transaction, queue, numbers))

    async def reopen(self, letters: Sequence[Stored]) -> int:
        """Lets the mapping deliver letters once more, and then what waits behind them; how many letters."""
        broker, queue = await self._open()
        numbers, now = [letter.receipt for letter in letters], self._clock()
        return await broker.database.write(lambda transaction: reopen(transaction, queue, numbers, now))

    async def close(self) -> None:
        async with self._opening:
            self._broker = None
            await self._resources.aclose()

    async def _open(self) -> tuple[Broker, Queue]:
        async with self._opening:
            if self._broker is None and await anyio.Path(self._path).exists():
                shared = Broker.shared(self._path, clock=self._clock)
                self._broker = await self._resources.enter_async_context(shared)
            broker = self._broker
        name = queue_of(self._mapping)
        if broker is not None:
            queue = await broker.database.read(lambda connection: queues.find(connection, name))
            if queue is not None:
                return broker, queue
        raise ConfigurationError(f"there is no {self.name}", fix="`streamfn dlq stores` lists what there is")


def _heads(connection: sqlite3.Connection, queue: Queue, after: int) -> list[Any]:
    return connection.execute(
        "SELECT id, message_id, key, sent_at, value, "
        "(SELECT count(*) - 1 FROM messages AS others "
        " WHERE others.queue = head.queue AND others.fifo = 1 AND others.key = head.key) "
        "FROM messages AS head WHERE id > ? AND id < ? AND visible_at = ? ORDER BY id LIMIT ?",
        (max(after, queue.id * PER_PARENT), (queue.id + 1) * PER_PARENT, inf, _PAGE),
    ).fetchall()
