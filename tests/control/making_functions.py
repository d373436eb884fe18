"""Makes and changes functions until it is killed: `python making_functions.py STATE_DIR NAME`.

Says each answer that it got, as a line: the function, the hash of its code.
"""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path

import anyio

from streamfn import App
from streamfn.control.functions import Functions
from streamfn.control.plane import Plane
from streamfn.control.resources import Resources
from streamfn.stores.resources import SqliteResourceStore
from tests.control.function_calls import ROLE, says


def say(*words: str) -> None:
    sys.stdout.write(f"{' '.join(words)}\n")
    sys.stdout.flush()


async def main(state: Path, prefix: str) -> None:
    async with SqliteResourceStore.at(state) as store:
        resources = Resources(store)
        await resources.load()
        async with App(state_dir=state, serves_api=True) as app, anyio.create_task_group() as tasks:
            plane = Plane(app, resources, tasks, time.time, state)  # noqa: TID251 - as the daemon has it
            operations = Functions(plane).operations()
            for number in count():
                made = await operations["CreateFunction"](
                    {
                        "FunctionName": f"{prefix}{number}",
                        "Role": ROLE,
                        "Runtime": "python3.11",
                        "Handler": "index.handler",
                        "Code": {"ZipFile": says(f"{prefix}{number}")},
                        "Publish": number % 2 == 0,
                    }
                )
                say(made["FunctionName"], made["CodeSha256"])
                if number % 3 == 2:
                    await operations["DeleteFunction"]({"FunctionName": f"{prefix}{number - 1}"})
                    say(f"{prefix}{number - 1}", "deleted")


anyio.run(main, Path(sys.argv[1]), sys.argv[2])
