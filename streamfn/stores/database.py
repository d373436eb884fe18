"""One SQLite file, used from the event loop by several processes at once, without losing what it was told.

Writes that come while another is under way are done together, in one transaction and with one fsync. Nothing
here starts a task: whoever finds the line idle runs the next group for all who wait, and hands on. Threads
are anyio's.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
import anyio.to_thread

from streamfn.errors import ConfigurationError

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds to wait for a lock that another process holds."""
_PAGE_SIZE = 8192
_CHECKPOINT_PAGES = 2000
"""Pages in the write-ahead log before they are moved into the file: 16 MB."""

Changes = Mapping[Hashable, int]
"""What a transaction touched, for those who wait for it."""


class Transaction:
    """What a write works with."""

    __slots__ = ("_stamp", "changes", "connection")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.changes: dict[Hashable, int] = {}
        """Filled by the work; told to `on_commit` when all is durable."""
        self._stamp: int | None = None

    @property
    def stamp(self) -> int:
        """A number that grows with every transaction that asks for it, in any process."""
        if self._stamp is None:
            row = self.connection.execute("UPDATE stamp SET value = value + 1 RETURNING value").fetchone()
            self._stamp = int(row[0])
        return self._stamp


class _Job(Generic[T]):
    __slots__ = ("changes", "done", "durable", "error", "result", "wake", "work")

    def __init__(self, work: Callable[[Any], T], durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.done = False
        self.result: T
        self.error: Exception | None = None
        self.changes: Changes = {}
        self.wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Line:
    """Jobs for one connection. While one group runs in a thread, the next gathers."""

    def __init__(
        self, run: Callable[[Sequence[_Job[Any]]], None], finished: Callable[[Changes], None]
    ) -> None:
        self._run = run
        self._tell = finished
        self._waiting: list[_Job[Any]] = []
        self._led = False
        self._idle: asyncio.Event | None = None
        self._limiter = anyio.CapacityLimiter(1)

    async def do(self, work: Callable[[Any], T], *, durable: bool = False) -> T:
        """What `work` returns or raises. Cancelled before it began, it never runs; after that, it is done
        first.
        """
        job = _Job(work, durable)
        self._waiting.append(job)
        try:
            if self._led:
                await job.wake
            if not job.done:
                await self._lead()
        except asyncio.CancelledError:
            await self._leave(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    async def drain(self) -> None:
        """Returns when no job runs."""
        while self._led:
            self._idle = self._idle or asyncio.Event()
            await self._idle.wait()

    async def _lead(self) -> None:
        self._led = True
        group, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        start = threading.Lock()

        def run() -> None:
            if start.acquire(blocking=False):
                try:
                    self._run(group)
                finally:
                    loop.call_soon_threadsafe(self._finished, group)

        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(run, limiter=self._limiter)
        except asyncio.CancelledError:
            # Cancelled by asyncio itself, which knows no shields. If the thread has begun, it ends the group.
            if start.acquire(blocking=False):
                self._waiting[:0] = group
                self._hand_on()
            raise

    def _finished(self, group: Sequence[_Job[Any]]) -> None:
        changes: dict[Hashable, int] = {}
        for job in group:
            job.done = True
            changes.update(job.changes)
            if not job.wake.done():
                job.wake.set_result(None)
        if changes:
            self._tell(changes)
        self._hand_on()

    def _hand_on(self) -> None:
        """The first who still waits leads the next group."""
        for job in self._waiting:
            if not job.wake.done():
                job.wake.set_result(None)
                return
        self._led = False
        if self._idle is not None:
            self._idle.set()
            self._idle = None

    async def _leave(self, job: _Job[Any]) -> None:
        if job in self._waiting:
            chosen = job.wake.done() and not job.wake.cancelled()
            self._waiting.remove(job)
            if chosen:
                self._hand_on()
            return
        with anyio.CancelScope(shield=True):
            while not job.done:
                job.wake = asyncio.get_running_loop().create_future()
                await job.wake


class Database:
    """A SQLite file with a schema of its own, open for reads and writes.

    `scripts` are the steps of the schema, oldest first; a file that knows fewer is brought up to date, one
    that knows more is refused. Everything raises OSError where the file cannot be used: full disk (ENOSPC),
    locked by another process for too long (EBUSY), damaged (EIO), not ours to write (EACCES); what raised
    was not done.
    """

    def __init__(
        self, path: str | Path, scripts: Sequence[str], on_commit: Callable[[Changes], None] = lambda _: None
    ) -> None:
        self.path = Path(path)
        self._scripts = scripts
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._watcher: sqlite3.Connection | None = None
        self._full = False
        """Whether commits are fsynced at present."""
        self._pause = threading.Event()
        self._writes = _Line(self._run_writes, on_commit)
        self._reads = _Line(self._run_reads, on_commit)

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    async def open(self) -> None:
        """Opens the file and makes it if need be. Raises ConfigurationError where it is not one of ours."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._open, limiter=anyio.CapacityLimiter(1))

    async def close(self) -> None:
        """After the jobs that run."""
        with anyio.CancelScope(shield=True):
            await self._writes.drain()
            await self._reads.drain()
            await anyio.to_thread.run_sync(self._close, limiter=anyio.CapacityLimiter(1))

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Does `work` in a transaction, with that of others. Durable when it returns, even if the power goes.

        Without `durable`, a power failure may undo it; the end of the process does not. If `work` raises,
        nothing of it was done.
        """
        return await self._writes.do(work, durable=durable)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does `work` on a connection that cannot write."""
        return await self._reads.do(work)

    def version(self) -> int:
        """A number that is another after every commit, of whichever process; below 0 when it cannot be told
        now.

        The one call that is made on the event loop. It does not wait: it compares a few bytes of shared
        memory, and where they are locked it gives up.
        """
        if self._watcher is None:
            raise _closed(self.path)
        try:
            return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return -1

    # ------------------------------------------------------------------------------------------ in threads

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            # SQLite's own waiting backs off to 100 ms and starves beside a busy process, and the change to a
            # write-ahead log does not wait; so `_insist` asks often, and behind it nothing has to wait.
            self._writer.execute("PRAGMA busy_timeout = 0")
            self._insist(self._set_up, self._writer)
            self._prepare(self._writer)
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only = ON")
            self._watcher = self._connect()
            self._watcher.execute("PRAGMA query_only = ON")
            self._watcher.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error as error:
            self._close()
            raise self._explain(error) from error
        except BaseException:
            self._close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        # After a burst the log gives back what it took beyond four times its usual size.
        connection.execute(f"PRAGMA journal_size_limit = {4 * _CHECKPOINT_PAGES * _PAGE_SIZE}")
        self._sync(connection, True)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._insist(self._begin, connection)
        try:
            known = connection.execute("PRAGMA user_version").fetchone()[0]
            self._refuse_others(connection, known)
            for script in self._scripts[known:]:
                for statement in script.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self._scripts)}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _refuse_others(self, connection: sqlite3.Connection, known: int) -> None:
        if known > len(self._scripts):
            raise ConfigurationError(
                f"{self.path} has schema {known}, and this streamfn knows {len(self._scripts)} at most: "
                "a newer one wrote it.",
                fix="upgrade streamfn, or use another state directory.",
            )
        if known == 0 and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise ConfigurationError(
                f"{self.path} is a database of something else.", fix="use another state directory."
            )

    def _close(self) -> None:
        # The writer last: closing the last connection moves the log into the file.
        for connection in (self._watcher, self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._watcher = self._reader = self._writer = None

    def _run_reads(self, jobs: Sequence[_Job[Any]]) -> None:
        for job in jobs:
            try:
                if self._reader is None:
                    raise _closed(self.path)
                job.result = job.work(self._reader)
            except sqlite3.Error as error:
                job.error = self._explain(error)
            except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
                job.error = error

    def _run_writes(self, jobs: Sequence[_Job[Any]]) -> None:
        try:
            connection = self._writer
            if connection is None:
                raise _closed(self.path)
            durable = any(job.durable for job in jobs)
            if durable is not self._full:
                self._insist(self._sync, connection, durable)
            self._insist(self._begin, connection)
            try:
                if len(jobs) == 1:
                    self._run_alone(connection, jobs[0])
                else:
                    for job in jobs:
                        self._run_among(connection, job)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except Exception as failure:  # noqa: BLE001 - each caller gets it
            error = self._explain(failure) if isinstance(failure, sqlite3.Error) else failure
            for job in jobs:
                job.error = job.error or error
                job.changes = {}

    def _begin(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")

    def _sync(self, connection: sqlite3.Connection, durable: bool) -> None:
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._full = durable

    def _insist(self, ask: Callable[..., None], *words: object) -> None:
        """Asks again while another process is in the way; what is asked for may be begun anew."""
        tries = int(_PATIENCE * 1000)
        while True:
            try:
                return ask(*words)
            except sqlite3.OperationalError as error:
                tries -= 1
                if _code(error) != sqlite3.SQLITE_BUSY or tries <= 0:
                    raise
                self._pause.wait(0.001)

    def _run_alone(self, connection: sqlite3.Connection, job: _Job[Any]) -> None:
        transaction = Transaction(connection)
        job.result = job.work(transaction)
        job.changes = transaction.changes

    def _run_among(self, connection: sqlite3.Connection, job: _Job[Any]) -> None:
        transaction = Transaction(connection)
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(transaction)
        except Exception as error:
            if not connection.in_transaction:
                # SQLite gave up the whole transaction: nobody's work was done.
                raise
            connection.execute("ROLLBACK TO job")
            job.error = self._explain(error) if isinstance(error, sqlite3.Error) else error
        else:
            job.changes = transaction.changes
        connection.execute("RELEASE job")

    def _explain(self, error: sqlite3.Error) -> OSError:
        code = _code(error)
        number, reason = _REASONS.get(code, (errno.EIO, "cannot be used"))
        return OSError(number, f"{self.path} {reason} ({error})")


def _closed(path: Path) -> OSError:
    return OSError(errno.EBADF, f"{path} is not open")


def _code(error: sqlite3.Error) -> int:
    # The lower byte is the primary code; errors of the module itself have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_REASONS = {
    sqlite3.SQLITE_FULL: (errno.ENOSPC, "cannot grow: the disk is full"),
    sqlite3.SQLITE_BUSY: (errno.EBUSY, "is locked by another process"),
    sqlite3.SQLITE_LOCKED: (errno.EBUSY, "is locked by another process"),
    sqlite3.SQLITE_CORRUPT: (errno.EIO, "is damaged: move it away, or restore it from a copy"),
    sqlite3.SQLITE_NOTADB: (errno.EIO, "is damaged, or no database at all: move it away"),
    sqlite3.SQLITE_READONLY: (errno.EACCES, "cannot be written to"),
    sqlite3.SQLITE_CANTOPEN: (errno.EACCES, "cannot be opened"),
    sqlite3.SQLITE_PERM: (errno.EACCES, "cannot be written to"),
}
