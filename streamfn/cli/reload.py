"""`streamfn run --reload`: runs the app in a child, and starts it again when a file of it changes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from streamfn.cli import CLEAN, CUT_OFF, logs
from streamfn.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from anyio.abc import Process
    from watchfiles import Change

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_SOURCES: Final = re.compile(r"bootstrap|.*\.(c?js|cfg|env|ini|json|mjs|py|sh|toml|ya?ml|zip)")
"""Files that matter beside the app, where functions may write as well: that must not start it again."""
_SHOWN: Final = 10
"""Changed files that are named."""


def run(options: argparse.Namespace) -> int:
    """Runs the app, draining and starting it again with each change, until a signal or until it stops itself.

    Gives the exit code of the last run. What cannot start is told by the child, and the next change tries
    again. Raises MissingExtra without watchfiles.
    """
    logs.configure(options.log_level or "info", options.log_format)
    return asyncio.run(_supervise(_command(), options))


async def _supervise(command: Sequence[str], options: argparse.Namespace) -> int:
    import structlog

    log = structlog.get_logger("streamfn")
    watched = _Watched(options)
    child = _Child(command)
    code = CLEAN
    with child.listening():
        async with watched.at_work(log):
            while not child.told:
                watched.changed.clear()
                code = await child.run(until=watched.changed)
                if child.told or watched.changed.is_set():
                    continue
                if code == CLEAN:
                    break
                log.warning("reload_waiting", code=code, fix="change what is wrong: it is started again")
                await _first(watched.changed.wait, child.hung_up.wait)
    return code


class _Child:
    """The app, run in a program of its own; never twice at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: Process | None = None
        self._draining = False
        self.told = 0
        """Signals that came so far: the first ends it, as it would end the child alone."""
        self.hung_up = asyncio.Event()

    async def run(self, until: asyncio.Event) -> int:
        """Runs it to its end, which `until` asks for as a signal does; its exit code."""
        self._draining = False
        process = await anyio.open_process(self._command, stdin=None, stdout=None, stderr=None)
        self._process = process
        try:
            if self.told:  # A signal came meanwhile.
                process.terminate()
            await _first(until.wait, process.wait)
            if process.returncode is None and not self.told:
                self._draining = True
                process.terminate()
            code = await process.wait()
        finally:
            if process.returncode is None:  # Watching failed.
                process.terminate()
                with anyio.CancelScope(shield=True):
                    await process.wait()
        # Before it listens to signals it dies of them: nothing had begun that could be cut off.
        return CLEAN if -code in _SIGNALS else CUT_OFF if code < 0 else code

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The time within which signals go to the child."""
        loop = asyncio.get_running_loop()
        with ExitStack() as undo:
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._hear, number)
                undo.callback(loop.remove_signal_handler, number)
            yield

    def _hear(self, number: signal.Signals) -> None:
        self.told += 1
        self.hung_up.set()
        # A second signal would cut short what drains already.
        asked_before = self._draining and self.told == 1
        from_terminal = number == signal.SIGINT and _has_terminal()
        process = self._process
        if process is not None and process.returncode is None and not asked_before and not from_terminal:
            process.send_signal(number)


def _has_terminal() -> bool:
    """Whether a Ctrl-C is for us: then the terminal has sent it to the child as well."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


async def _first(*waits: Callable[[], Any]) -> None:
    """Returns when one of them does."""
    async with anyio.create_task_group() as tasks:

        async def wait(single: Callable[[], Any]) -> None:
            await single()
            tasks.cancel_scope.cancel()

        for single in waits:
            tasks.start_soon(wait, single)


def _command() -> list[str]:
    """How this program was started, but for `--reload`."""
    if "--reload" not in sys.orig_argv:
        fix = "start `streamfn run --reload` as a program of its own"
        raise ConfigurationError("--reload starts its command line again, and there is none", fix=fix)
    arguments = sys.orig_argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [sys.executable, *arguments[:end], "--no-reload", *arguments[end:]]


# ------------------------------------------------------------------------------------------ what is watched


class _Watched:
    """The files of an app. `changed` is set when some have changed, once they are quiet."""

    def __init__(self, options: argparse.Namespace) -> None:
        try:
            import watchfiles
        except ModuleNotFoundError:
            raise MissingExtra("--reload needs watchfiles: pip install 'streamfn[reload]'") from None
        self._watch = watchfiles.awatch
        ignored = (*watchfiles.DefaultFilter.ignore_dirs, ".streamfn", "venv")
        self._is_kept = watchfiles.DefaultFilter(ignore_dirs=ignored)
        self._options = options
        self._state_dir = Path(options.state_dir or ".streamfn").resolve()
        self._beside: set[Path] = set()
        """Folders in which only sources matter."""
        self._code = {Path(folder).resolve() for folder in options.reload_dir}
        """Folders and files of which every change does."""
        self.changed = asyncio.Event()
        self._over = asyncio.Event()
        self._look()
        if not self._roots():
            raise ConfigurationError("there is no folder that could be watched", where=options.target)

    @asynccontextmanager
    async def at_work(self, log: Any) -> AsyncIterator[None]:
        """The time within which it watches."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, log)
            try:
                yield
            finally:
                # It waits in a thread, which no cancellation reaches.
                self._over.set()

    async def _run(self, log: Any) -> None:
        while not self._over.is_set():
            roots = self._roots()
            log.info("reload_watching", folders=sorted(map(str, roots)))
            rounds = self._watch(*roots, watch_filter=self._matters, stop_event=self._over)
            async for changes in rounds:
                log.info("reload_changed", files=sorted(path for _, path in changes)[:_SHOWN])
                self._look()
                self.changed.set()
                if self._roots() != roots:
                    # What a change makes part of the app is watched from now on.
                    await rounds.aclose()

    def _look(self) -> None:
        """Learns what belongs to the app, as far as that is known without running it."""
        path = Path(self._options.target)
        if path.suffix in (".yaml", ".yml"):
            self._code |= self._packages(path)
        self._beside = _folders_of(self._options.target)

    def _packages(self, path: Path) -> set[Path]:
        """What a streamfn.yaml names; nothing where the file is wrong, which the child tells."""
        from streamfn.config.file import load

        try:
            file = load(path)
        except ConfigurationError:
            return set()
        if self._options.state_dir is None:
            self._state_dir = file.state_dir.resolve()
        named = (
            package
            for function in file.functions.values()
            if function.is_deployed and not function.runs_elsewhere
            for package in (function.code_uri, *function.layers)
            if package is not None
        )
        return {Path(package).expanduser().resolve() for package in named}

    def _roots(self) -> set[Path]:
        # A file that is replaced is another file: its folder tells of that.
        folders = {path if path.is_dir() else path.parent for path in self._code}
        found = {folder for folder in self._beside | folders if folder.is_dir()}
        return {folder for folder in found if not found.intersection(folder.parents)}

    def _matters(self, change: Change, name: str) -> bool:
        path = Path(name)
        around = {path, *path.parents}
        if self._state_dir in around:
            return False
        whole = around & self._code
        owners = whole or around & self._beside
        if not owners or not (whole or _SOURCES.fullmatch(path.name)):
            return False
        # Only names below what is watched: a checkout may lie in a folder that is called as an ignored one.
        return self._is_kept(change, str(path.relative_to(max(owners, key=lambda owner: len(owner.parts)))))


def _folders_of(target: str) -> set[Path]:
    """Where the code of a TARGET is: the folder of a file, or above the package that it is in; of a module
    the working folder, and its package where that is elsewhere.
    """
    name = target.rpartition(":")[0] or target
    if "/" in name or name.endswith((".py", ".yaml", ".yml")):
        folder = Path(name).resolve().parent
        while (folder / "__init__.py").is_file():
            folder = folder.parent
        return {folder}
    here = Path.cwd()
    found = PathFinder.find_spec(name.partition(".")[0], [str(here), *sys.path])
    packages = (found.submodule_search_locations or ()) if found is not None else ()
    return {here, *(Path(package).resolve() for package in packages)}
