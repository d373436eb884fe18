"""Publishes, as another process: `publishing.py STATE_DIR own|same TIMES`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio

from streamfn.ports import Deployment
from streamfn.stores.functions import SqliteFunctionStore


async def main(state_dir: str, kind: str, times: int) -> None:
    async with SqliteFunctionStore.at(Path(state_dir)) as store:
        for number in range(times):
            code = f"{os.getpid()}-{number}" if kind == "own" else "same"
            environment = {"PASSWORD": "correct horse battery staple"}
            deployment = Deployment("orders", "http://127.0.0.1/", environment=environment)
            made = await store.publish(deployment, code_sha256=code)
            sys.stdout.write(f"{made.version}\n")
            sys.stdout.flush()
    await anyio.sleep_forever()


anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
