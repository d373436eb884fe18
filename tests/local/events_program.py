"""What the crash tests of the event queue start, kill and watch: an app that enqueues and processes.

python events_program.py STATE_DIR LOG ROLE

It appends a line to LOG for each event that was accepted (`took KIND ID`), after `enqueue` has returned, and
for each that was processed (`done PID ID`). Roles: `enqueue` does so without end, `work` only processes.
SIGTERM ends it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from streamfn import App

KINDS = ("good", "bad", "flaky", "told")


def main(state: Path, log: Path, role: str) -> None:
    # Appends are whole, and the system keeps them whatever becomes of this process.
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    app = App(name="crash", state_dir=state)
    failed: set[str] = set()

    def say(*words: object) -> None:
        os.write(out, " ".join(map(str, words)).encode() + b"\n")

    @app.function(reserved_concurrency=40)
    async def work(event: dict[str, Any], context: Any) -> str:
        await anyio.sleep(event.get("seconds", 0.002))
        request_id = context.aws_request_id
        match event["kind"]:
            case "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exits":
                os._exit(3)
            case "bad":
                raise ValueError(f"{request_id} is bad")
            case "flaky" if request_id not in failed:
                failed.add(request_id)
                raise ValueError(f"{request_id} is bad once")
        say("done", os.getpid(), request_id)
        return request_id

    @app.function(reserved_concurrency=40)
    async def told(event: dict[str, Any], context: Any) -> str:
        return str(context.aws_request_id)

    options: dict[str, Any] = {"MaximumRetryAttempts": 1, "RetryDelays": [0.1]}
    options["OnFailure"] = "local:queue/failures"
    app.event_invoke_config("work", **options)
    app.event_invoke_config("told", OnSuccess="local:queue/successes", **options)

    async def enqueue(kind: str) -> None:
        while True:
            function = "told" if kind == "told" else "work"
            say("took", kind, await app.enqueue(function, {"kind": kind}))

    async def live() -> None:
        async with app, anyio.create_task_group() as tasks:
            say("up", os.getpid())
            for kind in KINDS * 2 if role == "enqueue" else ():
                tasks.start_soon(enqueue, kind)
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    break

    anyio.run(live)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
