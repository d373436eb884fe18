"""An app whose function never ends, and events that wait for it: `fill FOLDER COUNT` or `open FOLDER`.

Says a line when all are enqueued, or one for each that is delivered.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import anyio

from streamfn import App
from streamfn.cli import logs

_CALLERS = 1000


async def main(mode: str, folder: str, count: int) -> None:
    app = App(name="backlog", state_dir=folder)

    @app.function
    async def waits(event: Any, context: Any) -> None:
        if mode == "open":
            print(1, flush=True)
        await asyncio.Event().wait()

    numbers = iter(range(count))

    async def enqueue() -> None:
        for number in numbers:
            await app.enqueue(waits, {"n": number, "body": "x" * 180})

    async with app:
        async with anyio.create_task_group() as tasks:
            for _ in range(_CALLERS):
                tasks.start_soon(enqueue)
        if mode == "fill":
            print(1, flush=True)
        await asyncio.Event().wait()


logs.configure("warning")
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
