"""huey on SQLite, every commit fsynced, beside which `enqueue` is measured: `FOLDER THREADS COUNT`.

Runs in the environment of the peers. Says how many tasks per second it took, and then how many it took and
processed.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from huey import SqliteHuey  # type: ignore[import-not-found]

WORKERS = 4
"""More threads take turns at one lock, and are slower."""

logging.getLogger("huey").setLevel(logging.ERROR)


def queue(folder: str, name: str) -> Any:
    return SqliteHuey(name, filename=str(Path(folder, f"{name}.sqlite3")), fsync=True, results=False)


def enqueued(task: Any, threads: int, count: int) -> None:
    """So many tasks from so many callers, each with one after the other."""
    numbers = iter(range(count))

    def call(_: int) -> None:
        for number in numbers:
            task({"n": number, "body": "x" * 180})

    with ThreadPoolExecutor(threads) as callers:
        list(callers.map(call, range(threads)))


def enqueue_rate(folder: str, threads: int, count: int) -> float:
    @queue(folder, "enqueue").task()  # type: ignore[untyped-decorator]
    def nothing(event: object) -> None: ...

    began = time.perf_counter()
    enqueued(nothing, threads, count)
    return count / (time.perf_counter() - began)


def end_to_end_rate(folder: str, threads: int, count: int) -> float:
    at_work = queue(folder, "work")
    done = threading.Event()
    counted = itertools.count(1)

    @at_work.task()  # type: ignore[untyped-decorator]
    def nothing(event: object) -> None:
        if next(counted) == count:
            done.set()

    # Delays of an idle worker: the smallest that make sense.
    consumer = at_work.create_consumer(
        workers=WORKERS, periodic=False, initial_delay=0.001, max_delay=0.001, check_worker_health=False
    )
    consumer.start()
    began = time.perf_counter()
    enqueued(nothing, threads, count)
    done.wait()
    ended = time.perf_counter()
    consumer.stop(graceful=True)
    return count / (ended - began)


def main(folder: str, threads: int, count: int) -> None:
    figures = {
        "enqueue": enqueue_rate(folder, threads, count),
        "end-to-end": end_to_end_rate(folder, threads, count),
    }
    print(json.dumps(figures), flush=True)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
