"""The launchers of an application: one for each interpreter, begun when it is first needed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
from anyio import CancelScope, to_thread

from streamfn.runtimes.process.launcher import Launcher
from streamfn.runtimes.process.packages import provide
from streamfn.runtimes.process.workspace import Workspace

if TYPE_CHECKING:
    from types import TracebackType

    from streamfn.runtimes.process.interpreters import Interpreter
    from streamfn.runtimes.process.sandbox import Allowed


class Launchers:
    """An asynchronous context manager. Leaving it ends all processes, and removes what they left."""

    def __init__(self, folder: str | Path, allowed: Allowed | None = None) -> None:
        """`folder` is for the `/tmp` of environments; processes may share it."""
        self._workspace = Workspace(Path(folder).absolute())
        self._allowed = allowed
        self._lock = anyio.Lock()
        self._stack = AsyncExitStack()
        self._launchers: dict[str, Launcher] = {}
        self._packages: dict[str, str] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        """Costs nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await self._stack.aclose()
            self._launchers.clear()
            self._packages.clear()
            self._open = False

    async def get(self, interpreter: Interpreter) -> Launcher:
        """The launcher under an interpreter. Raises OSError where it cannot be started."""
        launcher = self._launchers.get(interpreter.path)
        if launcher is not None:
            return launcher
        async with self._lock:
            await self._begin()
            launcher = self._launchers.get(interpreter.path)
            if launcher is None:
                launcher = Launcher(interpreter.path, self._allowed)
                await self._stack.enter_async_context(launcher)
                self._launchers[interpreter.path] = launcher
        return launcher

    @property
    def missing(self) -> list[str]:
        """What functions have to do without here, each a sentence; known once there is a launcher."""
        found = (launcher.capabilities.missing for launcher in self._launchers.values())
        return sorted({sentence for sentences in found for sentence in sentences})

    async def packages(self, interpreter: Interpreter) -> str:
        """A folder with awslambdaric for a Python. Raises ConfigurationError where it is not installed."""
        async with self._lock:
            await self._begin()
            found = self._packages.get(interpreter.path)
            if found is None:
                folder = self._workspace.folder / f"python-{interpreter.label}"
                found = await to_thread.run_sync(provide, folder, interpreter)
                self._packages[interpreter.path] = found
        return found

    async def scratch(self) -> Path:
        """A new folder for the `/tmp` of an environment. Raises OSError."""
        async with self._lock:
            await self._begin()
        return self._workspace.scratch()

    async def _begin(self) -> None:
        if not self._open:
            await to_thread.run_sync(self._workspace.open)
            self._stack.push_async_callback(to_thread.run_sync, self._workspace.close)
            self._open = True
