"""Functions written into folders, and environments to run them in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from textwrap import dedent
from typing import Any

import orjson

from streamfn.ports import Answer, Deployment, Environment, Request
from streamfn.runtimes.process.launchers import Launchers
from streamfn.runtimes.process.runtime import ProcessRuntime

ARN = "arn:aws:lambda:us-east-1:000000000000:function:orders"


class Lines:
    """A log sink that keeps all lines."""

    enabled = True

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        """Request ids and texts."""
        self.streams: set[tuple[str, str, str]] = set()

    def line(self, function: str, version: str, stream: str, request_id: str, text: str) -> None:
        self.streams.add((function, version, stream))
        self.lines.append((request_id, text))

    def close(self) -> None:
        """Nothing is open."""

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


class Made:
    """A function in a folder of its own."""

    def __init__(self, launchers: Launchers, folder: Path) -> None:
        self.launchers = launchers
        self.folder = folder
        # Environments have users of their own, who have to be able to read it.
        folder.mkdir(mode=0o755)
        self.sink = Lines()
        self._ids = 0

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        path.chmod(mode)

    def runtime(
        self, *, runtime: str = "python3.11", options: dict[str, Any] | None = None, **fields: Any
    ) -> ProcessRuntime:
        fields = {"handler": "index.handler", **fields}
        deployment = Deployment("orders", str(self.folder), runtime, **fields)
        return ProcessRuntime(deployment, self.launchers, **{"sink": self.sink, **(options or {})})

    def python(self, source: str, **fields: Any) -> AbstractAsyncContextManager[Environment]:
        """An environment of a function whose `index.py` this is."""
        self.write("index.py", source)
        return self.runtime(**fields).environment()

    def request(self, event: object = None, **fields: str) -> Request:
        self._ids += 1
        payload = event if isinstance(event, bytes) else orjson.dumps(event)
        return Request(f"id-{self._ids}", payload, ARN, **fields)


Make = Callable[[], Made]


def said(answer: Answer) -> Any:
    """The answer's payload, read."""
    return orjson.loads(answer.payload)
