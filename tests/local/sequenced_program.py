"""A worker of a sequenced mapping, to be killed. Files of two folders name the keys for which it fails, and
of which it dies.

python sequenced_program.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio

from streamfn import App

folder = Path(sys.argv[1])
# Appends of one line each are whole, whoever else writes: the file holds the true order across processes.
out = os.open(folder / "done", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
app = App(name="app", state_dir=folder / "state")


@app.function(each=dict)
async def work(value: dict[str, Any]) -> None:
    await anyio.sleep(0.002)
    if (folder / "deadly" / value["key"]).exists():
        os._exit(9)
    if (folder / "bad" / value["key"]).exists():
        raise ValueError(f"{value['key']} is bad")
    os.write(out, f"{value['key']} {value['number']}\n".encode())


app.event_source_mapping(
    work,
    "local:s?shards=4&lease_time=1",
    name="m",
    ordering="key",
    sequenced=True,
    batch_size=4,
    maximum_concurrency=3,
    maximum_retry_attempts=1,
    retry_backoff={"first": 0.01, "cap": 0.01},
)


async def main() -> None:
    async with app:
        sys.stdout.write("up\n")
        sys.stdout.flush()
        await app.wait()


if __name__ == "__main__":
    anyio.run(main)
