"""Who waits for what in one SQLite file, and who is told when: by this process at once, by others soon.

There is no task and no polling of tables. While somebody waits, a timer compares the file's version, which
takes two microseconds for all shards of the process together. Only when it changed, one of those who wait
asks the tables what is new, for all.
"""

from __future__ import annotations

import asyncio
import errno
from collections import defaultdict
from typing import TYPE_CHECKING

from streamfn.local.schema import queue_channel, shard_channel
from streamfn.stores.sqlite import channel as lease_channel

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Hashable

    from streamfn.stores.database import Changes, Database

_SOON, _LATER = 0.02, 0.05
"""Seconds between two looks at the version: while other processes write, and while they do not."""
_SURELY = 2.0
"""Seconds after which the tables are asked in any case."""


class Watch:
    """The last known value of each channel, which only grows, and those who wait for the next one."""

    def __init__(self) -> None:
        self._values: dict[Hashable, int] = {}
        self._waiting: defaultdict[Hashable, set[asyncio.Future[bool]]] = defaultdict(set)
        self._stamp = 0
        """All changes up to it are known."""
        self._version = -1
        """As it was before the tables were asked last."""
        self._asked_at = 0.0
        self._asking = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._database: Database

    async def open(self, database: Database) -> None:
        """`database` is open; its `on_commit` is `tell`."""
        self._database = database
        await self.catch_up()

    def close(self) -> None:
        """Those who wait get an OSError."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiting in self._waiting.values():
            for future in waiting:
                _wake(future, ask=False)

    def value(self, channel: Hashable) -> int:
        """The last known value; 0 for what nothing is known of."""
        return self._values.get(channel, 0)

    def tell(self, changes: Changes) -> None:
        """Something was committed: by us, or found out."""
        for channel, value in changes.items():
            if value > self._values.get(channel, 0):
                self._values[channel] = value
                for future in self._waiting.get(channel, ()):
                    _wake(future, ask=False)

    async def catch_up(self) -> None:
        """Afterwards everything is known that any process had committed before. Nearly free if nothing
        was.
        """
        version = self._database.version()
        if version == self._version and version >= 0:
            return
        stamp, changes = await self._database.read(self._changes)
        self._stamp = max(self._stamp, stamp)
        self._version = version
        self._asked_at = asyncio.get_running_loop().time()
        self.tell(changes)

    async def wait(self, channel: Hashable, known: int, seconds: float) -> None:
        """Returns when the channel's value is above `known`, or after that many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.value(channel) <= known and loop.time() < until:
            if self._closed:
                raise OSError(errno.EBADF, f"{self._database.path} was closed")
            future: asyncio.Future[bool] = loop.create_future()
            self._waiting[channel].add(future)
            timeout = loop.call_at(until, _wake, future, False)
            self._set_timer()
            try:
                ask = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled() and future.result():
                    self._asking = False
                raise
            finally:
                timeout.cancel()
                waiting = self._waiting[channel]
                waiting.discard(future)
                if not waiting:
                    del self._waiting[channel]
            if ask:
                try:
                    await self.catch_up()
                finally:
                    self._asking = False

    def _changes(self, connection: sqlite3.Connection) -> tuple[int, Changes]:
        connection.execute("BEGIN")
        try:
            since = (self._stamp,)
            changes: dict[Hashable, int] = {}
            for shard, following in connection.execute(
                "SELECT id, next FROM shards WHERE changed > ?", since
            ):
                changes[shard_channel(shard)] = following
            for queue, stamp in connection.execute("SELECT id, changed FROM queues WHERE changed > ?", since):
                changes[queue_channel(queue)] = stamp
            for group, stamp in connection.execute(
                "SELECT grp, max(changed) FROM leases WHERE changed > ? GROUP BY grp", since
            ):
                changes[lease_channel(group)] = stamp
            return connection.execute("SELECT value FROM stamp").fetchone()[0], changes
        finally:
            connection.execute("COMMIT")

    # --------------------------------------------------------------------------------------------- timer

    def _set_timer(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            quiet = loop.time() - self._asked_at > 1.0
            self._timer = loop.call_later(_LATER if quiet else _SOON, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        late = asyncio.get_running_loop().time() - self._asked_at > _SURELY
        if not self._asking and (late or self._database.version() != self._version):
            if late:
                self._version = -1
            self._choose()
        self._set_timer()

    def _choose(self) -> None:
        """Sends one of those who wait to ask the tables."""
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    self._asking = True
                    _wake(future, ask=True)
                    return


def _wake(future: asyncio.Future[bool], ask: bool) -> None:
    if not future.done():
        future.set_result(ask)
