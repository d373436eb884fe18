"""The TARGET that stands beside the API in a test."""

from __future__ import annotations

from typing import Any

from streamfn import App

app = App(name="declared")


@app.function(timeout=7)
async def shipped(event: Any, context: Any) -> Any:
    if event == "fail":
        raise ValueError("as told")
    return {"shipped": event}


app.event_source_mapping("shipped", "local:queue/orders", name="orders", batch_size=5)
