"""A server for tests on loopback, a process of our own: started, stopped, killed, frozen, taken away."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.servers.aws_docker import Container
from tests.servers.aws_ways import Way
from tests.servers.kafka_ways import HOST, free_ports

REQUIRE_ENV = "STREAMFN_REQUIRE_SERVERS"
READY_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
LOG_TAIL_LINES = 40
PASSED_ON = ("PATH", "LANG", "LC_ALL", "JAVA_HOME")  # no credentials, profiles or proxies

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy of the machine


class ServerStartError(RuntimeError):
    """The server did not start; the message ends with the tail of its log."""


def request(url: str, method: str = "GET", body: bytes | None = None, timeout: float = 5.0) -> bytes:
    """What a server here answers; raises ``OSError``, for a status of 400 or more an ``HTTPError``."""
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with _direct.open(asked, timeout=timeout) as answer:
        said: bytes = answer.read()
    return said


class LocalServer:
    """A server on loopback; a context manager that starts it and takes it away with all it wrote.

    ``start`` after ``stop`` or ``kill`` keeps the address. All methods block, for about a second at most:
    call them from a sync fixture or through a worker thread.
    """

    name: ClassVar[str]
    address_env: ClassVar[str]
    ready_path: ClassVar[str] = "/"

    def __init__(self, way: Way) -> None:
        self.way = way
        self.data_dir = Path(tempfile.mkdtemp(prefix=f"streamfn-{self.name}-"))
        self.port = 0
        self.endpoint = way.address.rstrip("/")
        self._process: subprocess.Popen[bytes] | None = None
        self._container: Container | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._closed = False
        atexit.register(self.close)
        if self.can_restart:
            self._take_port()

    def command(self) -> list[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """What the program reads from its environment."""
        return {}

    def container(self) -> Container:
        """The same in Docker, for a server whose way can be that."""
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """The folder that the program runs in."""
        return self.data_dir

    @property
    def can_restart(self) -> bool:
        """Whether ``stop``, ``kill``, ``start`` and ``freeze`` work: not on a server that others started."""
        return self.way.kind != "external"

    @property
    def bind_host(self) -> str:
        """Where the program listens: loopback, in a container all there is."""
        return "0.0.0.0" if self.way.kind == "docker" else HOST

    @property
    def pid(self) -> int | None:
        """The server's process id, for a server of our own that runs."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether it runs, frozen or not."""
        if self._container is not None:
            return self._container.running
        if self.can_restart:
            return self._process is not None and self._process.poll() is None
        return self.answers()

    def answers(self, timeout: float = 2.0) -> bool:
        """Whether it answers a request, with whatever status."""
        try:
            request(self.endpoint + self.ready_path, timeout=timeout)
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, http.client.HTTPException):
            return False
        return True

    # -- start, stop ------------------------------------------------------------------

    def start(self) -> None:
        """Start (again) and wait until a request is answered."""
        if self._closed:
            raise RuntimeError("this server was closed")
        if not self.can_restart:
            if not self.answers(timeout=10):
                raise ServerStartError(f"{self.address_env}={self.endpoint} does not answer")
        elif self.way.kind == "docker":
            self._start_container()
        elif not self.running:
            self._start_process()

    def stop(self) -> None:
        """Stop in an orderly way (SIGTERM) and wait for the end."""
        self._must_restart()
        if self._container is not None:
            self._container.stop()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once (SIGKILL), as a crash would; connections are reset, later ones refused."""
        self._must_restart()
        if self._container is not None:
            self._container.kill()
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it hang: connections stay open, new ones are taken, nothing is answered."""
        self._must_restart()
        if self._container is not None:
            self._container.freeze()
        elif self._process is not None:
            os.killpg(self._process.pid, signal.SIGSTOP)
            # Under load some threads go on for a while, and could still answer.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        self._must_restart()
        if self._container is not None:
            self._container.thaw()
        elif self._process is not None:
            os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its data. May be called again."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        if self._container is not None:
            self._container.remove()
        self._end(signal.SIGKILL)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _must_restart(self) -> None:
        if not self.can_restart:
            raise RuntimeError(f"the server at {self.address_env} is not ours to stop")

    # -- the process ------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        return self.data_dir / "server.log"

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines that the server wrote."""
        if self._container is not None:
            text = self._container.log()
        else:
            try:
                text = self.log_path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def _take_port(self) -> None:
        (self.port,) = free_ports(1)
        self.endpoint = f"http://{HOST}:{self.port}"

    def _start_process(self) -> None:
        again = self.log_path.exists()
        for attempt in range(3):
            try:
                self._launch()
                return
            except ServerStartError as error:
                taken = "in use" in str(error) or "EADDRINUSE" in str(error)
                if again or not taken or attempt == 2:
                    raise
            # Another process took the port meanwhile; no client knows ours yet.
            self._take_port()

    def _start_container(self) -> None:
        if self._container is None:
            self._container = self.container()
        self._container.start()
        self._wait_until_ready(lambda: None)

    def _launch(self) -> None:
        if not _is_free(self.port):  # whoever has it might answer in our place
            raise ServerStartError(f"port {self.port} is in use")
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        home = {"HOME": str(self.data_dir), "TMPDIR": str(self.data_dir)}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**kept, **home, **self.environment()},
                start_new_session=True,
            )
        self._guard = _guard(self._process.pid, self.data_dir)
        self._wait_until_ready(self._process.poll)

    def _wait_until_ready(self, ended: Callable[[], int | None]) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while not self.answers():
            if (code := ended()) is not None:
                why = f"{self.name} ended with code {code} while starting"
            elif time.monotonic() < deadline:
                threading.Event().wait(0.02)
                continue
            else:
                why = f"{self.name} did not answer within {READY_TIMEOUT:.0f} s"
            self._end(signal.SIGKILL)
            raise ServerStartError(f"{why}; its log ends:\n{self.log_tail()}")

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            _signal(process.pid, how)
            _signal(process.pid, signal.SIGCONT)  # a frozen one could not end
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                _signal(process.pid, signal.SIGKILL)
                process.wait()
        self._process = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may linger
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True


def _signal(group: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, how)


def _guard(group: int, folder: Path) -> subprocess.Popen[bytes]:
    """Ends the server when this process goes away in a way that atexit does not see: the pipe closes."""
    script = 'while read -r _; do :; done; kill -9 -"$0"; rm -rf "$1"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, str(group), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def found(way: Way | str) -> Way:
    """The way, or the test is skipped with the reason; with ``STREAMFN_REQUIRE_SERVERS=1`` it fails."""
    import pytest

    if isinstance(way, str):
        if os.environ.get(REQUIRE_ENV, "") not in ("", "0"):
            pytest.fail(way, pytrace=False)
        pytest.skip(way)
    return way


def need_restart(server: LocalServer) -> None:
    """Skip the calling test unless it may stop and start the server."""
    import pytest

    if not server.can_restart:
        pytest.skip(f"{server.address_env} names a server that is not ours to stop")


@contextlib.contextmanager
def frozen(server: LocalServer) -> Iterator[None]:
    """The server hangs meanwhile."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()
