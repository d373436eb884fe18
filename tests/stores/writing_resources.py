"""Writes resources until it is killed, as another daemon: `writing_resources.py STATE_DIR BEGIN`.

Each write changes two resources at once; its number is said when it is durable.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from streamfn.ports import Resource
from streamfn.stores.resources import SqliteResourceStore


async def main(state_dir: str, begin: int) -> None:
    async with SqliteResourceStore.at(Path(state_dir)) as store:
        for number in range(begin, begin + 1_000_000):
            document = {"number": number}
            await store.write([Resource("a", str(number), document), Resource("b", "last", document)])
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


anyio.run(main, sys.argv[1], int(sys.argv[2]))
