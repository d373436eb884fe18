"""An app with many mappings and nothing to do: `FOLDER COUNT`. Says a line when all of them wait."""

from __future__ import annotations

import asyncio
import sys

from streamfn import App, Batch
from streamfn.cli import logs


async def nothing(batch: Batch) -> None: ...


async def main(folder: str, count: int) -> None:
    app = App(name="idle", state_dir=folder)
    app.function(name="nothing", batch=True)(nothing)
    for number in range(count):
        app.event_source_mapping("nothing", f"local:idle-{number}", name=f"idle-{number}")
    async with app:
        while not all(status.shards for status in app.statuses()):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.2)
        print(1, flush=True)
        await asyncio.Event().wait()


logs.configure("warning")
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
