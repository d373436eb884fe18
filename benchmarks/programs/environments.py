"""An app that keeps so many environments initialised: `COUNT`. Says a line with one of them, and, when it is
told to go on, another one with all.
"""

from __future__ import annotations

import asyncio
import sys

import anyio

from benchmarks.runtimes import Started, deployed
from streamfn.cli import logs


async def main(count: int) -> None:
    started = Started()
    async with deployed(started, memory_size=128, provisioned_concurrency=1) as app:
        await app.invoke("f", {})
        print(1, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        (environments,) = app.deployed._environments.values()  # noqa: SLF001 - else only a new start changes it
        environments.provision(count)
        while started.provisioned < count:  # noqa: ASYNC110 - telemetry rings no bell
            await anyio.sleep(0.05)
        print(2, flush=True)
        await asyncio.Event().wait()


logs.configure("warning")
asyncio.run(main(int(sys.argv[1])))
