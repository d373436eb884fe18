"""procrastinate on a Postgres that fsyncs, beside which `enqueue` is measured: `CONNECTION CALLERS COUNT`.

Runs in the environment of the peers. Says how many jobs per second it took, and then how many it took and
processed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found]

CONNECTIONS = 16
"""Commits of several share an fsync. With twice or half as many it was no faster."""
CONCURRENCY = 8
"""Jobs at a time. The worker asks for them one by one, so that more are no faster."""


async def enqueued(task: Any, callers: int, count: int) -> None:
    """So many jobs from so many callers, each with one after the other."""
    numbers = iter(range(count))

    async def call() -> None:
        for number in numbers:
            await task.defer_async(event={"n": number, "body": "x" * 180})

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(call())


async def main(connection: str, callers: int, count: int) -> None:
    connector = PsycopgConnector(
        conninfo=connection, min_size=CONNECTIONS, max_size=CONNECTIONS, max_waiting=0, timeout=60
    )
    app = App(connector=connector)
    seen = 0
    done = asyncio.Event()

    @app.task(queue="enqueue")  # type: ignore[untyped-decorator]
    async def waits(event: object) -> None: ...

    @app.task(queue="work")  # type: ignore[untyped-decorator]
    async def nothing(event: object) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        async with asyncio.TaskGroup() as tasks:
            worker = tasks.create_task(
                app.run_worker_async(
                    queues=["work"],
                    concurrency=CONCURRENCY,
                    install_signal_handlers=False,
                    delete_jobs="always",
                )
            )
            began = time.perf_counter()
            await enqueued(nothing, callers, count)
            await done.wait()
            end_to_end = count / (time.perf_counter() - began)
            worker.cancel()
        began = time.perf_counter()
        await enqueued(waits, callers, count)
        enqueue = count / (time.perf_counter() - began)
    print(json.dumps({"enqueue": enqueue, "end-to-end": end_to_end}), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
