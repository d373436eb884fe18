"""The embedded broker: durable streams and queues in one SQLite file, shared by the processes of one
machine.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import anyio

from streamfn.local import messages as queue_messages
from streamfn.local import queues, streams
from streamfn.local.queues import Queue, QueueOptions
from streamfn.local.schema import SCRIPTS
from streamfn.local.streams import Put, Stream, StreamOptions
from streamfn.local.watch import Watch
from streamfn.stores.database import Database, Transaction
from streamfn.stores.sqlite import SqliteLeaseStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from streamfn.core.records import Record
    from streamfn.local.messages import QueueMessage, Receipt, Received
    from streamfn.ports import Clock, Message


_AS_IT_IS = StreamOptions()
_AS_IT_STANDS = QueueOptions()


class Broker:
    """One broker file, open. What `put` and `send` were given is durable when they return.

    Everything raises OSError where the file cannot be used (`Database`), and what raised was not done. A
    broker belongs to the event loop it was opened on. Several may use one file, in one process or in many.
    """

    def __init__(self, path: str | Path, *, clock: Clock = time.time) -> None:  # noqa: TID251 - a root of its own
        self.path = Path(path)
        self.clock = clock
        self.watch = Watch()
        self.database = Database(self.path, SCRIPTS, self.watch.tell)
        self.leases = SqliteLeaseStore(self.database)
        self._spread = 0

    async def __aenter__(self) -> Self:
        await self.database.open()
        try:
            await self.watch.open(self.database)
        except BaseException:
            await self.database.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watch.close()
        await self.database.close()

    @classmethod
    @asynccontextmanager
    async def shared(cls, path: str | Path, *, clock: Clock = time.time) -> AsyncIterator[Broker]:  # noqa: TID251
        """The broker of this file in this event loop: opened by the first who asks, closed by the last to
        leave.
        """
        shares = _shares.setdefault(asyncio.get_running_loop(), {})
        key = _key(path, clock)
        share = shares.setdefault(key, _Share())
        share.users += 1
        try:
            async with share.lock:
                if share.broker is None:
                    broker = cls(path, clock=clock)
                    await broker.__aenter__()
                    share.broker = broker
            yield share.broker
        finally:
            share.users -= 1
            if share.users == 0:
                # Whoever asks from now on opens one of its own.
                del shares[key]
                if share.broker is not None:
                    with anyio.CancelScope(shield=True):
                        await share.broker.__aexit__(None, None, None)

    # ------------------------------------------------------------------------------------------- streams

    async def stream(self, name: str, options: StreamOptions = _AS_IT_IS) -> Stream:
        """The stream of that name, made if need be. Raises ConfigurationError where it has other shards."""
        found = await self.database.read(lambda connection: streams.find(connection, name))
        if found is not None and options == _AS_IT_IS:
            return found
        now = self.clock()
        return await self.database.write(lambda transaction: streams.ensure(transaction, name, options, now))

    async def put(self, stream: Stream, messages: Sequence[Message]) -> None:
        """Appends messages. Those of one key stay in order; those without a key go to the shards in turn."""
        if messages:
            self._spread += 1
            put = Put(stream, messages, self._spread)
            now = self.clock()
            await self.database.write(lambda transaction: put.work(transaction, now))

    # -------------------------------------------------------------------------------------------- queues

    async def queue(self, name: str, options: QueueOptions = _AS_IT_STANDS) -> Queue:
        """The queue of that name, made if need be: a FIFO queue if the name ends in `.fifo`."""
        found = await self.database.read(lambda connection: queues.find(connection, name))
        if found is not None and options == _AS_IT_STANDS:
            return found
        now = self.clock()
        return await self.database.write(lambda transaction: queues.ensure(transaction, name, options, now))

    async def send(self, queue: Queue, messages: Sequence[QueueMessage]) -> Sequence[str]:
        """Appends messages: their ids. A duplicate in a FIFO queue gets the first one's and is not
        appended.
        """
        if not messages:
            return ()
        now = self.clock()
        return await self.database.write(
            lambda transaction: queue_messages.send(transaction, queue, messages, now)
        )

    async def receive(self, queue: Queue, limit: int) -> Received:
        """Up to `limit` visible messages, hidden for the queue's visibility timeout. Cancelled, none are."""
        taken: list[Received] = []
        now = self.clock()

        def work(transaction: Transaction) -> Received:
            taken.append(queue_messages.receive(transaction, queue, limit, now))
            return taken[-1]

        try:
            # Not fsynced: after a power failure nobody has them, and they are visible again all the sooner.
            return await self.database.write(work, durable=False)
        except asyncio.CancelledError:
            if taken and taken[-1].records:
                with anyio.CancelScope(shield=True):
                    await self.release(queue, taken[-1].records, 0)
            raise

    async def ack(self, queue: Queue, records: Sequence[Record], *, durable: bool = True) -> int:
        """Removes messages, but for those that were delivered again meanwhile; how many it removed.

        Without `durable`, they may come again after a power failure.
        """
        receipts = _receipts(records)
        if not receipts:
            return 0
        return await self.database.write(
            lambda transaction: queue_messages.ack(transaction, queue, receipts), durable=durable
        )

    async def release(self, queue: Queue, records: Sequence[Record], delay: float) -> None:
        """Makes messages visible after `delay` seconds; with 0 the receive does not count."""
        receipts = _receipts(records)
        if receipts:
            now = self.clock()
            await self.database.write(
                lambda transaction: queue_messages.release(transaction, queue, receipts, delay, now),
                durable=False,
            )

    async def extend(self, queue: Queue, records: Sequence[Record], seconds: float) -> None:
        """Hides messages for that long from now on."""
        receipts = _receipts(records)
        if receipts:
            now = self.clock()
            await self.database.write(
                lambda transaction: queue_messages.extend(transaction, queue, receipts, seconds, now),
                durable=False,
            )


def _receipts(records: Sequence[Record]) -> list[Receipt]:
    return [record.receipt for record in records]  # type: ignore[attr-defined]


def _key(path: str | Path, clock: Clock) -> tuple[Path, Clock]:
    return Path(path).absolute(), clock


class _Share:
    def __init__(self) -> None:
        self.broker: Broker | None = None
        self.users = 0
        self.lock = asyncio.Lock()


_shares: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Path, Clock], _Share]] = WeakKeyDictionary()
"""One connection to a file serves all mappings of an app, which do not know each other."""
