"""Adds code to a store, as another process: `program.py STATE_DIR SEED FILES TIMES`."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from streamfn.packages import CodeStore
from tests.packages.made import zipped


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main(state_dir: str, seed: int, files: int, times: int) -> None:
    store = CodeStore(Path(state_dir))
    for number in range(seed, seed + times):
        data = zipped(*((f"package{place % 10}/{place}.py", str(number)) for place in range(files)))
        say("begins")
        code = await store.add(data, "python3.12", "app.handler")
        say(code.folder)
    say("done")
    await anyio.sleep_forever()


anyio.run(main, sys.argv[1], *(int(word) for word in sys.argv[2:]))
