"""What all operations of the API work on."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from streamfn.config import Settings
from streamfn.ports import Take

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import TaskGroup

    from streamfn.app import App
    from streamfn.control.resources import Resources
    from streamfn.ports import Clock

Params: TypeAlias = Mapping[str, Any]
"""The input of an operation by the names of its shape's members: text, numbers, lists, maps, bytes of blobs,
epoch seconds of timestamps. Members that were not given are left out. It has been checked against the shape.
"""
Result: TypeAlias = Mapping[str, Any]
"""The output in the same form. Members that are None are left out of the answer."""
Operation: TypeAlias = Callable[[Params], Awaitable[Result]]
FetchObject: TypeAlias = Callable[[str, str, str | None, Take], Awaitable[None]]
"""Gives an object of S3, by bucket, key and version, piece by piece. Raises FileNotFoundError where there is
none, else OSError or ConfigurationError where it cannot be had, and what Take raises.
"""
Operations: TypeAlias = Mapping[str, Operation]
"""By AWS's names, such as `CreateFunction`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and where the API is, for ARNs."""

    region: str = "us-east-1"
    account: str = "000000000000"

    def arn(self, kind: str, name: str) -> str:
        """`arn:aws:lambda:REGION:ACCOUNT:KIND:NAME`"""
        return f"arn:aws:lambda:{self.region}:{self.account}:{kind}:{name}"


@dataclass(slots=True)
class Plane:
    """The running app, what is stored, and the tasks that outlive a request."""

    app: App
    resources: Resources
    tasks: TaskGroup
    """What an operation begins and does not wait for."""
    clock: Clock
    state_dir: Path
    identity: Identity = field(default_factory=Identity)
    url: str = "http://127.0.0.1:9000"
    """Where the API is reached, for addresses in answers."""
    code_dirs: tuple[Path, ...] = ()
    """Folders that code may be taken from, beside the state directory."""
    objects: FetchObject | None = None
    """Where `S3Bucket` and `S3Key` are fetched; None where no server is known."""
    _locks: dict[str, tuple[anyio.Lock, int]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """Delays; AWS's, where the app has no others."""
        return self.app.settings or Settings()

    @asynccontextmanager
    async def changing(self, name: str) -> AsyncIterator[None]:
        """Changes to one thing are made one after the other: `function/NAME`, `mapping/UUID`."""
        lock, waiting = self._locks.get(name) or (anyio.Lock(), 0)
        self._locks[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks[name]
            if waiting > 1:
                self._locks[name] = (lock, waiting - 1)
            else:
                del self._locks[name]

    def iso(self, at: float | None = None) -> str:
        """A time, or now, as function configurations have it: `2026-01-31T12:00:00.000+0000`."""
        from datetime import UTC, datetime

        text = datetime.fromtimestamp(self.clock() if at is None else at, UTC).isoformat(
            timespec="milliseconds"
        )
        return re.sub(r"\+00:00$", "+0000", text)
