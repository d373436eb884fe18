"""The TARGET of a test of the SDKs: it says when to come again, and SDKs shall heed it."""

from __future__ import annotations

from typing import Any

from streamfn import App, TooManyRequests

app = App(name="throttled")


@app.function
async def busy(event: Any, context: Any) -> Any:
    raise TooManyRequests(retry_after=2)
