"""dramatiq on a Redis that fsyncs, beside which `enqueue` is measured: `URL THREADS COUNT`.

Runs in the environment of the peers. Says how many messages per second it took, and then how many it took
and processed.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dramatiq  # type: ignore[import-not-found]
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]

WORKERS = 8

logging.getLogger("dramatiq").setLevel(logging.ERROR)


def enqueued(actor: dramatiq.Actor, threads: int, count: int) -> None:
    """So many messages from so many callers, each with one after the other."""
    numbers = iter(range(count))

    def call(_: int) -> None:
        for number in numbers:
            actor.send({"n": number, "body": "x" * 180})

    with ThreadPoolExecutor(threads) as callers:
        list(callers.map(call, range(threads)))


def main(url: str, threads: int, count: int) -> None:
    broker = RedisBroker(url=url)
    counted = itertools.count(1)
    done = threading.Event()

    @dramatiq.actor(broker=broker, queue_name="enqueue")  # type: ignore[untyped-decorator]
    def waits(event: object) -> None: ...

    @dramatiq.actor(broker=broker, queue_name="work")  # type: ignore[untyped-decorator]
    def nothing(event: object) -> None:
        if next(counted) == count:
            done.set()

    began = time.perf_counter()
    enqueued(waits, threads, count)
    enqueue = count / (time.perf_counter() - began)
    worker = dramatiq.Worker(broker, queues={"work"}, worker_threads=WORKERS, worker_timeout=10)
    worker.start()
    began = time.perf_counter()
    enqueued(nothing, threads, count)
    done.wait()
    end_to_end = count / (time.perf_counter() - began)
    worker.stop()
    broker.flush_all()
    print(json.dumps({"enqueue": enqueue, "end-to-end": end_to_end}), flush=True)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
