"""A worker whose function kills its process on some records: run by test_processes.

    python deadly_worker.py STATE_DIR LOG POISON RECORDS OPTIONS(JSON)

Appends the id of each record it has done to LOG. Exits 0 when all but the poison is done and that is given
up.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from streamfn import App, Batch
from streamfn.telemetry import RecordsDiscarded, TelemetryEvent


class GivenUp:
    """Sets an event once so many records were given up."""

    def __init__(self, log: Path, expected: set[str], poison: set[str]) -> None:
        self.log, self.expected, self.poison = log, expected, poison
        self.dead: set[str] = set()
        self.done = asyncio.Event()

    def emit(self, event: TelemetryEvent) -> None:
        if isinstance(event, RecordsDiscarded):
            with self.log.open("a") as log:
                log.write(f"dead {event.first} {event.last}\n")
        self.look()

    def look(self) -> None:
        lines = self.log.read_text().split("\n") if self.log.exists() else []
        done = {line for line in lines if line and not line.startswith("dead")}
        dead = sum(line.startswith("dead") for line in lines)
        if done >= self.expected and dead >= len(self.poison):
            self.done.set()


async def main(state: str, log: Path, poison: set[str], records: int, options: dict[str, object]) -> None:
    watch = GivenUp(log, {str(n) for n in range(records)} - poison, poison)
    app = App(name="deadly", state_dir=state, telemetry=[watch])

    @app.function(batch=True)
    async def deadly(batch: Batch) -> None:
        names = [str(record.json()["n"]) for record in batch]
        if poison & set(names):
            os._exit(9)
        with log.open("a") as out:
            out.writelines(f"{name}\n" for name in names)

    app.event_source_mapping(deadly, "local:deadly?shards=1", name="deadly", **options)
    async with app:
        await watch.done.wait()


if __name__ == "__main__":
    state, log, poison, records, options = sys.argv[1:]
    asyncio.run(main(state, Path(log), set(json.loads(poison)), int(records), json.loads(options)))
