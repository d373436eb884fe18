"""The socket of a running worker: one unix socket a process, one JSON line a request and one an answer.

It stands in STATE_DIR/run/<pid>.sock, open to the user that runs the worker and to nobody else.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.cli import operations as functions
from streamfn.errors import StreamfnError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from streamfn.app import App

LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one line: a payload of 6 MB, written as text in JSON, or the states of thousands of mappings."""

_LONGEST_PATH: Final = 100
"""Bytes that a socket's address may have, with some to spare."""


class NoWorker(StreamfnError):
    """No worker runs that could answer."""


# ---------------------------------------------------------------------------------------- the worker


@asynccontextmanager
async def serve(app: App) -> AsyncIterator[None]:
    """Answers requests about an app for as long as the context is open.

    Where no socket can be made, on a read-only disk say, the worker runs without one and logs it.
    """
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(_listening(app))
        except (OSError, StreamfnError) as error:
            import structlog

            structlog.get_logger("streamfn").warning("control_socket_unavailable", reason=str(error))
        yield


@asynccontextmanager
async def _listening(app: App) -> AsyncIterator[None]:
    folder = app.state_dir / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    clean(folder)
    path = folder / f"{os.getpid()}.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, _address(path) as address:
        listener.setblocking(False)
        listener.bind(address)
        path.chmod(0o600)
        server = await asyncio.start_unix_server(_Conversation(app), sock=listener, limit=LIMIT)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)


class _Conversation:
    """Answers one connection after the other, and each request of it."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                writer.write(orjson.dumps(await self._answer(line), default=str) + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(line)
            op = str(request["op"])
            if op in functions.OPERATIONS:
                return {"pid": os.getpid(), **await functions.OPERATIONS[op](self._app, request)}
            return await self._do(op, request.get("name", ""))
        except (StreamfnError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            return {"pid": os.getpid(), "error": f"{error}"}

    async def _do(self, op: str, name: str) -> dict[str, Any]:
        match op:
            case "status":
                pass
            case "pause":
                await self._app.pause(name)
            case "resume":
                await self._app.resume(name)
            case "events":
                await self._app.serve_events(name)
            case _:
                return {"error": f"there is no {op!r}"}
        return {
            "pid": os.getpid(),
            "app": self._app.name,
            "mappings": [asdict(status) for status in self._app.statuses()],
        }


# ---------------------------------------------------------------------------------------- the others


def ask(
    folder: Path, request: Mapping[str, Any], *, wait: float = 60.0, first: bool = False
) -> list[dict[str, Any]]:
    """The answers of all workers of a state directory, or with `first` those up to the first that is no
    error. Raises NoWorker when there is none.

    Sockets that dead workers left behind are removed.
    """
    answers = []
    for path in clean(folder):
        with suppress(ConnectionError, FileNotFoundError):
            answers.append(_ask_one(path, request, wait))
            if first and "error" not in answers[-1]:
                break
    if not answers:
        raise NoWorker(
            f"no worker runs with the state directory {folder.parent}: start one with streamfn run TARGET"
        )
    return answers


def clean(folder: Path) -> list[Path]:
    """The sockets of workers that live. Those of dead ones are removed."""
    alive = []
    for path in sorted(folder.glob("*.sock")):
        if path.stem.isdigit() and _lives(path):
            alive.append(path)
        else:
            path.unlink(missing_ok=True)
    return alive


def _lives(path: Path) -> bool:
    try:
        with _connected(path, 5.0):
            return True
    except (ConnectionError, FileNotFoundError):
        # Nobody listens: its process has ended, whoever has its number now.
        return False
    except OSError:
        return True


def _ask_one(path: Path, request: Mapping[str, Any], wait: float) -> dict[str, Any]:
    try:
        with _connected(path, wait) as connection, connection.makefile("rb") as answers:
            connection.sendall(orjson.dumps(dict(request)) + b"\n")
            line = answers.readline()
    except TimeoutError:
        return {"pid": int(path.stem), "error": f"no answer within {wait:g} s"}
    if not line:
        raise ConnectionResetError(f"the worker {path.stem} ended")
    answer: dict[str, Any] = orjson.loads(line)
    return answer


@contextmanager
def _connected(path: Path, wait: float) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _address(path) as address:
        connection.settimeout(wait)
        connection.connect(address)
        yield connection


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The address of a socket, however deep its folder lies: the kernel takes but some hundred bytes."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise StreamfnError(f"{path}: too long for a socket; choose a shorter --state-dir")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
