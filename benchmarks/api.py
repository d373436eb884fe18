"""Lambda's API over HTTP: a daemon as users run it, asked by raw sockets from this process."""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from benchmarks.measuring import PATIENCE, ROOT, program
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn.ports.resources import Resource
from streamfn.stores.resources import SqliteResourceStore
from tests.servers.kafka_ways import HOST, free_ports

MAPPINGS = 5_000
_FUNCTIONS = ROOT / "benchmarks" / "programs" / "api_functions.py"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EVENT = json.dumps({"n": 1, "body": "x" * 180}).encode()


# ------------------------------------------------------------------------------------------- measuring


@contextmanager
def daemon(folder: str) -> Iterator[int]:
    """The port of `streamfn run --api` with functions that do nothing; killed when the context is left."""
    (port,) = free_ports(1)
    endpoints = Path(folder, "endpoints.json")
    endpoints.write_text(json.dumps({"endpoints": [{"service": "*", "url": "local:"}]}))
    where = ["--api", f"{HOST}:{port}", "--state-dir", f"{folder}/state", "--endpoints", str(endpoints)]
    command = [sys.executable, "-m", "streamfn", "run", str(_FUNCTIONS), *where, "--log-level", "warning"]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'connectors'}"}
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **paths}, stdin=subprocess.DEVNULL)
    try:
        _until_served(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def _until_served(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((HOST, port)).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole request, as it is sent."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def invocation(function: str, kind: str) -> bytes:
    """A request that invokes."""
    path = f"/2015-03-31/functions/{function}/invocations"
    return request("POST", path, _EVENT, X_Amz_Invocation_Type=kind)


def answered(port: int, asked: bytes, connections: int, count: int) -> float:
    """Answers per second, over connections that stay, each with one request after the other."""
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            opened = socket.create_connection((HOST, port), timeout=PATIENCE)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(opened, selectors.EVENT_READ, bytearray())
        try:
            began = time.perf_counter()
            _exchange(selector, asked, count)
            return count / (time.perf_counter() - began)
        finally:
            for key in list(selector.get_map().values()):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]


def _exchange(selector: selectors.BaseSelector, asked: bytes, count: int) -> None:
    to_send = to_come = count
    for key in selector.get_map().values():
        if to_send:
            key.fileobj.sendall(asked)  # type: ignore[union-attr]
            to_send -= 1
    while to_come:
        ready = selector.select(PATIENCE)
        if not ready:
            raise TimeoutError(f"{to_come} of {count} answers have not come")
        for key, _ in ready:
            if not _whole(key.data, key.fileobj.recv(65_536)):  # type: ignore[union-attr]
                continue
            to_come -= 1
            if to_send:
                key.fileobj.sendall(asked)  # type: ignore[union-attr]
                to_send -= 1


def _whole(have: bytearray, came: bytes) -> bool:
    """Whether an answer is there, with what came before; it is taken away then. Raises RuntimeError."""
    have += came
    head = have.find(b"\r\n\r\n")
    if not came or (head >= 0 and have[9:10] != b"2"):
        raise RuntimeError(f"not an answer: {bytes(have[:500])!r}")
    if head < 0:
        return False
    length = _LENGTH.search(have, 0, head)
    if len(have) < head + 4 + (int(length[1]) if length else 0):
        return False
    have.clear()
    return True


# ------------------------------------------------------------------------------------------- scenarios


class Invoking:
    """Invocations of functions in the daemon's own process, beside its server answering a constant."""

    def __init__(self, name: str, function: str, kind: str, connections: int, count: int, least: int) -> None:
        self._asked = invocation(function, kind)
        self._connections = connections
        self._count = count
        what = f"invocations ({kind}) over {connections} connections; bare: its server, answering a constant"
        self.scenarios: Sequence[Scenario] = (
            Scenario(name, what, "invokes/s", "streamfn", "constant", Target("figure", at_least=least)),
        )
        if kind == "Event":
            of_bare = Target("ratio", at_least=0.5)
            self.scenarios += (
                Scenario(f"{name}-ratio", "the same", "invokes/s", "streamfn", "constant", of_bare),
            )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        count = settings.size(self._count, self._count // 50)

        def measured(port: int) -> float:
            answered(port, self._asked, self._connections, count // 10)
            return answered(port, self._asked, self._connections, count)

        temporary = tempfile.TemporaryDirectory(prefix="streamfn-bench-")
        with temporary as folder, daemon(folder) as port, program("api_constant") as constant:
            bare = constant.next()
            yield {"constant": lambda: measured(bare), "streamfn": lambda: measured(port)}


class Listing:
    """Many mappings, listed by pages of a hundred over one connection."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            f"api-list-{MAPPINGS}",
            f"all of {MAPPINGS:,} disabled mappings, listed by pages",
            "ms",
            "streamfn",
            None,
            Target("figure", at_most=200),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        count = settings.size(MAPPINGS, 250)
        with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
            with daemon(folder) as port, _connected(port) as connection:
                _mapped(connection)
            settings.run(_multiplied(folder, count))
            with daemon(folder) as port, _connected(port) as connection:
                yield {"streamfn": self._side(connection, count)}

    def _side(self, connection: http.client.HTTPConnection, count: int) -> Side:
        def milliseconds() -> float:
            began = time.perf_counter()
            listed = _listed(connection)
            took = (time.perf_counter() - began) * 1000
            if listed != count:
                raise RuntimeError(f"{listed} of {count} mappings were listed")
            return took

        return milliseconds


_PATH = "/2015-03-31/event-source-mappings"


def _connected(port: int) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection(HOST, port, timeout=PATIENCE))


def _mapped(connection: http.client.HTTPConnection) -> None:
    source = "arn:aws:sqs:us-east-1:000000000000:queue"
    asked = {"FunctionName": "nothing", "EventSourceArn": source, "Enabled": False}
    _called(connection, "POST", f"{_PATH}/", json.dumps(asked).encode())


async def _multiplied(folder: str, count: int) -> None:
    """So many mappings of the one that is stored: through the API they would take a minute."""
    async with SqliteResourceStore.at(Path(folder, "state")) as store:
        (made,) = await store.resources()
        assert made.document is not None
        text = json.dumps(made.document)
        copies = []
        for number in range(count - 1):
            key = str(uuid.UUID(int=number))
            document = json.loads(text.replace(made.key, key).replace(":queue", f":queue{number}"))
            copies.append(Resource(made.kind, key, document))
        await store.write(copies)


def _listed(connection: http.client.HTTPConnection) -> int:
    listed, marker = 0, ""
    while True:
        page = json.loads(_called(connection, "GET", f"{_PATH}/?MaxItems=100{marker}"))
        listed += len(page["EventSourceMappings"])
        if not page.get("NextMarker"):
            return listed
        marker = f"&Marker={quote(page['NextMarker'], safe='')}"


def _called(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> bytes:
    connection.request(method, path, body)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {said.decode()}")
    return said


GROUPS = (
    Invoking("api-invoke-16", "nothing", "RequestResponse", 16, 20_000, 2_000),
    Invoking("api-event-64", "waits", "Event", 64, 40_000, 5_000),
    Listing(),
)
