"""The embedded broker: records put durably, and processed at the same time by the same process."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import PATIENCE, delivering
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn import Batch
from streamfn.local import LocalDestination
from streamfn.ports import Message

_VALUE = b"x" * 1024


class Local:
    """Puts of `put` records, each durable before the next, and batches of `batch` at the other end."""

    def __init__(self, uri: str, put: int, batch: int, records: int, scenario: Scenario) -> None:
        self._uri = uri
        self._queue = uri.startswith("local:queue/")
        self._put = put
        self._batch = batch
        self._records = records
        self.scenarios: Sequence[Scenario] = (scenario,)

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        records = settings.size(self._records, self._records // 20)
        with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
            numbers = iter(range(1_000_000))

            def place() -> Path:
                return Path(folder, str(next(numbers)))

            yield {
                "bare": lambda: self._bare(place(), records),
                "streamfn": lambda: settings.run(self._streamfn(place(), records)),
            }

    async def _streamfn(self, state_dir: Path, records: int) -> float:
        left = records
        done = asyncio.Event()

        async def nothing(batch: Batch) -> None:
            nonlocal left
            left -= len(batch)
            if left <= 0:
                done.set()

        options: dict[str, Any] = {"batch_size": self._batch, "state_dir": state_dir}
        if self._queue and self._batch > 10:
            options["maximum_batching_window_in_seconds"] = 1
        destination = LocalDestination(self._uri, state_dir=state_dir)
        async with delivering(nothing, self._uri, **options) as app:
            async with asyncio.timeout(PATIENCE):
                while not app.statuses()[0].shards:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)
                await destination.check()
                began = time.perf_counter()
                for start in range(0, records, self._put):
                    await destination.send([Message(_VALUE)] * min(self._put, records - start))
                await done.wait()
            ended = time.perf_counter()
        await destination.close()
        return records / (ended - began)

    def _bare(self, folder: Path, records: int) -> float:
        """SQLite alone, as durable: insert and commit; read what came, and for a queue delete it again."""
        folder.mkdir()
        with closing(sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(
                "CREATE TABLE records (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, value BLOB)"
            )
            began = time.perf_counter()
            seen = 0
            for start in range(0, records, self._put):
                count = min(self._put, records - start)
                connection.execute("BEGIN IMMEDIATE")
                rows = [(time.time(), _VALUE)] * count
                connection.executemany("INSERT INTO records (at, value) VALUES (?, ?)", rows)
                connection.execute("COMMIT")
                for _ in range(0, count, self._batch):
                    seen = self._take(connection, seen)
            return records / (time.perf_counter() - began)

    def _take(self, connection: sqlite3.Connection, after: int) -> int:
        found = connection.execute(
            "SELECT id, at, value FROM records WHERE id > ? ORDER BY id LIMIT ?", (after, self._batch)
        ).fetchall()
        last: int = found[-1][0]
        if self._queue:
            connection.execute("DELETE FROM records WHERE id > ? AND id <= ?", (after, last))
        return last


GROUPS = (
    Local(
        "local:bench",
        500,
        500,
        60_000,
        Scenario(
            "local-stream",
            "local: stream of 4 shards, 1 KB records, durable puts of 500 and batches of 500 at once",
            "records/s",
            "streamfn",
            "bare",
            Target("figure", at_least=20_000),
        ),
    ),
    Local(
        "local:queue/bench",
        100,
        100,
        20_000,
        Scenario(
            "local-queue",
            "local: queue, 1 KB messages, durable sends of 100 and batches of 100 at once",
            "messages/s",
            "streamfn",
            "bare",
            Target("figure", at_least=10_000),
        ),
    ),
    Local(
        "local:queue/bench",
        10,
        10,
        6_000,
        Scenario(
            "local-queue-10",
            "local: queue, 1 KB messages, durable sends of 10 and batches of 10 (the most SQS takes) at once",
            "messages/s",
            "streamfn",
            "bare",
        ),
    ),
)
