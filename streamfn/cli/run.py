"""`streamfn run`: the daemon. It owns the signals and the sockets; the app does the rest."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import structlog

from streamfn.cli import CLEAN, CUT_OFF, logs, target
from streamfn.cli.control import serve
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator

    from streamfn.app import App
    from streamfn.control.daemon import ApiOptions

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(options: argparse.Namespace) -> int:
    """Runs an app until a signal. 0: it drained; 1: something was cut off."""
    if options.reload:
        from streamfn.cli import reload

        return reload.run(options)
    api = _api(options)
    loaded = target.load_all(options)
    said = loaded.logging
    logs.configure(
        options.log_level or (said.level if said else "info"),
        options.log_format or (said.format if said else None),
    )
    for sentence in loaded.not_honoured:
        structlog.get_logger("streamfn").warning("not_honoured", reason=sentence)
    target.verify(loaded.app)
    _open_files()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        clean = runner.run(_live(loaded.app, options.grace, api))
    return CLEAN if clean else CUT_OFF


def _api(options: argparse.Namespace) -> ApiOptions | None:
    """How the API is to be served, if it is."""
    if options.api is None:
        if options.target is None:
            raise ConfigurationError(
                "there is nothing to run", field="TARGET", fix="name a TARGET, or give --api HOST:PORT"
            )
        return None
    from streamfn.control.daemon import ApiOptions
    from streamfn.control.plane import Identity

    api = ApiOptions(
        options.api,
        _path(options.api_keys),
        options.api_open,
        _path(options.api_cert),
        _path(options.api_cert_key),
        tuple(map(Path, options.code_dir)),
        Identity(options.region, options.account),
    )
    api.check()
    return api


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


async def _live(app: App, grace: float, api: ApiOptions | None) -> bool:
    told = _Told()
    async with AsyncExitStack() as stack:
        stack.enter_context(told.listening(app.cut))
        serving = None if api is None else await stack.enter_async_context(_prepared(app, api))
        await app.start()
        stack.push_async_callback(app.stop, 0.0)
        await stack.enter_async_context(serve(app))
        if serving is not None:
            await stack.enter_async_context(serving)
        async with anyio.create_task_group() as tasks:
            log = structlog.get_logger("streamfn")
            log.info("worker_started", app=app.name, mappings=len(app.declared), pid=os.getpid())
            tasks.start_soon(told.when_ended, app)
            await told.first.wait()
            # The sockets answer for as long as the drain lasts.
            clean = await app.stop(0.0 if told.twice else grace)
            tasks.cancel_scope.cancel()
    return clean


@asynccontextmanager
async def _prepared(app: App, api: ApiOptions) -> AsyncIterator[AbstractAsyncContextManager[None]]:
    """What is stored, read before the app starts, for a second daemon is refused here; and what then serves
    it.
    """
    from streamfn.control.daemon import serve_api, stored

    @asynccontextmanager
    async def served() -> AsyncIterator[None]:
        clock = time.time  # noqa: TID251 - the root of the API's clocks
        async with serve_api(app, resources, api, clock) as url:
            structlog.get_logger("streamfn").info("api_served", url=url, keys=api.keys is not None)
            yield

    app.serves_api = True
    app.identify(api.identity.region, api.identity.account)
    async with stored(app.state_dir) as resources:
        yield served()


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
