"""An app with a mapping for each queue, all empty: `ENDPOINT QUEUE...`. Says a line when all are polled."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.aws import options
from streamfn import App
from streamfn.cli import logs
from streamfn_aws.sqs import SqsQueue


async def nothing(event: dict[str, Any], context: Any) -> None: ...


async def main(endpoint: str, queues: Sequence[str]) -> None:
    app = App(name="idle")
    app.function(name="nothing")(nothing)
    for queue in queues:
        app.event_source_mapping("nothing", SqsQueue(queue, **options(endpoint)), name=queue)
    async with app:
        while not all(status.shards for status in app.statuses()):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.2)
        print(1, flush=True)
        await asyncio.Event().wait()


logs.configure("warning")
asyncio.run(main(sys.argv[1], sys.argv[2:]))
