"""A process that has events in hand when it is killed. Its clock stands still at NOW.

python events_reader.py STATE_DIR NOW FUNCTION COUNT [exposed]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio

from streamfn.core.events import EventRecord
from streamfn.local import LocalEvents


async def main(state: Path, now: float, function: str, count: int, *, exposed: bool) -> None:
    taken: list[EventRecord] = []
    async with LocalEvents(state, clock=lambda: now).source(function).open() as shard:
        while len(taken) < count:
            records = await shard.read(count - len(taken), 10.0)
            taken += [record for record in records if isinstance(record, EventRecord)]
        for record in taken if exposed else ():
            await shard.expose(record)
        sys.stdout.write("\n".join(record.id for record in taken))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    state, now, function, count, *rest = sys.argv[1:]
    anyio.run(lambda: main(Path(state), float(now), function, int(count), exposed=bool(rest)))
