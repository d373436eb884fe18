"""What the daemon runs whose API is measured: a function that does nothing, and one that never ends."""

from __future__ import annotations

import asyncio
from typing import Any

from streamfn import App

app = App(name="bench")


@app.function
async def nothing(event: Any, context: Any) -> None:
    pass


@app.function(reserved_concurrency=1)
async def waits(event: Any, context: Any) -> None:
    await asyncio.Event().wait()
