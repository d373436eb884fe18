"""An app that says when it has its first record: for `streamfn run`."""

from __future__ import annotations

from typing import Any

from streamfn import App

app = App(name="first")


@app.function
async def first(event: dict[str, Any], context: Any) -> None:
    print("first", flush=True)


app.event_source_mapping(first, "local:first")
