"""The app that the tests run in processes of its own. What it does is written down in one file, in order."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import streamfn

app = streamfn.App(name=os.environ["APP"])
settings: dict[str, Any] = json.loads(os.environ["SETTINGS"])
# Appends of one line each are whole, whoever else writes: the file holds the true order across processes.
out = os.open(os.environ["OUT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def done(batch: streamfn.Batch) -> None:
    os.write(out, b"".join(b"%s %d %s\n" % (_key(r), r.position, r.value) for r in batch))


def _key(record: streamfn.Record) -> bytes:
    return (record.key or "-").encode()


@app.function(batch=True, timeout=120)
async def work(batch: streamfn.Batch) -> None:
    if settings.get("poison") and any(record.value.startswith(b"poison") for record in batch):  # type: ignore[union-attr]
        raise ValueError("poison")
    if settings.get("stuck") and any(record.key == settings["stuck"] for record in batch):
        await asyncio.sleep(1000)
    if settings.get("seconds"):
        await asyncio.sleep(settings["seconds"])
    done(batch)


@app.function(batch=True, timeout=120)
def work_on_a_thread(batch: streamfn.Batch) -> None:
    time.sleep(settings["seconds"])  # noqa: TID251 - a function that blocks
    done(batch)


app.event_source_mapping(settings.get("function", "work"), os.environ["SOURCE"], **settings["options"])
