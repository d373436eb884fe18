"""`streamfn run`: the daemon. It owns the signals and the control socket; the app does the rest."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import anyio

from streamfn.cli import CLEAN, CUT_OFF, logs, target
from streamfn.cli.control import serve

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from streamfn.app import App

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(options: argparse.Namespace) -> int:
    """Runs an app until a signal. 0: it drained; 1: something was cut off."""
    if options.reload:
        from streamfn.cli import reload

        return reload.run(options)
    loaded = target.load(options.target, options.state_dir)
    said = loaded.logging
    logs.configure(
        options.log_level or (said.level if said else "info"),
        options.log_format or (said.format if said else None),
    )
    target.verify(loaded.app)
    _open_files()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        clean = runner.run(_live(loaded.app, options.grace))
    return CLEAN if clean else CUT_OFF


async def _live(app: App, grace: float) -> bool:
    import structlog

    told = _Told()
    with told.listening(app.cut):
        await app.start()
        try:
            async with serve(app), anyio.create_task_group() as tasks:
                log = structlog.get_logger("streamfn")
                log.info("worker_started", app=app.name, mappings=len(app.declared), pid=os.getpid())
                tasks.start_soon(told.when_ended, app)
                await told.first.wait()
                # The socket answers for as long as the drain lasts.
                clean = await app.stop(0.0 if told.twice else grace)
                tasks.cancel_scope.cancel()
        finally:
            await app.stop(0.0)
    return clean


class _Told:
    """Signals: the first asks for a drain, the second cuts it short."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.twice = False
        self._cut: Callable[[], None] = lambda: None

    @contextmanager
    def listening(self, cut: Callable[[], None]) -> Iterator[None]:
        self._cut = cut
        loop = asyncio.get_running_loop()
        with ExitStack() as undo:
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._hear)
                undo.callback(loop.remove_signal_handler, number)
            yield

    def _hear(self) -> None:
        if self.first.is_set():
            self.twice = True
            self._cut()
        self.first.set()

    async def when_ended(self, app: App) -> None:
        """The app may also be stopped from within, or die."""
        await app.wait()
        self.first.set()


def _open_files() -> None:
    """As many descriptors as this process may have: an environment takes four, a connection one."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (the extra `uvloop`): a third faster; asyncio's own loop elsewhere."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
