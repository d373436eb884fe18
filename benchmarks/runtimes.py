"""Functions in environments of their own: no-op Python functions under awslambdaric, through a whole app.

They have one vCPU's memory (1,769 MB): with less they have less of a CPU, as on Lambda.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import psutil

from benchmarks.measuring import PATIENCE, figures, percentile, program, whole_process
from benchmarks.scenario import NotHere, Scenario, Settings, Side, Target
from streamfn import App
from streamfn.ports import Deployment, Request
from streamfn.runtimes.process.launchers import Launchers
from streamfn.runtimes.process.runtime import ProcessRuntime
from streamfn.telemetry import EnvironmentStarted
from tests.servers.kafka_ways import free_ports
from tests.servers.rie import INVOKE, find_rie

NOTHING = "def handler(event, context):\n    return event\n"
RUNTIME = f"python3.{sys.version_info.minor}"
VCPU = 1769
"""MB."""
EVENT = {"a": 1}
_ENVIRONMENTS = 2


class Started:
    """Telemetry that counts the environments that were made."""

    def __init__(self) -> None:
        self.provisioned = 0
        self.on_demand = 0

    def emit(self, event: object) -> None:
        if isinstance(event, EnvironmentStarted):
            self.provisioned += event.provisioned
            self.on_demand += not event.provisioned


@asynccontextmanager
async def deployed(started: Started, **options: Any) -> AsyncIterator[App]:
    """An app with a function `f` that does nothing."""
    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
        app = App(name="bench", state_dir=folder, telemetry=[started])
        settings = {"memory_size": VCPU, "timeout": 60, **options}
        app.deploy("f", inline_code=NOTHING, runtime=RUNTIME, handler="index.handler", **settings)
        async with app:
            yield app


async def invoked(app: App, callers: int, count: int) -> list[float]:
    """Seconds of each of so many invocations, by callers who wait for each before the next."""
    took: list[float] = []

    async def call() -> None:
        for _ in range(count // callers):
            began = time.perf_counter()
            response = await app.invoke("f", EVENT)
            took.append(time.perf_counter() - began)
            if response.function_error:
                raise RuntimeError(response.payload.decode())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(call)
    return took


class Warm:
    """Invocations of environments that are there, beside two processes that echo JSON through a pipe."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "runtime-warm",
            "a no-op Python function in two process environments, two callers",
            "invokes/s",
            "streamfn",
            "pipe",
            Target("figure", at_least=3000),
        ),
        Scenario(
            "runtime-warm-p50",
            "the same: what half of the callers wait for at most",
            "ms",
            "p50",
            "pipe-p50",
            Target("figure", at_most=0.7),
        ),
        Scenario(
            "runtime-warm-p99", "the same: what all but one in a hundred wait for", "ms", "p99", "pipe-p99"
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        count = settings.size(10_000, 400)

        async def streamfn() -> Mapping[str, float]:
            async with deployed(Started()) as app:
                await invoked(app, _ENVIRONMENTS, count // 4)
                began = time.perf_counter()
                took = await invoked(app, _ENVIRONMENTS, count)
                rate = count / (time.perf_counter() - began)
            return {
                "streamfn": rate,
                "p50": percentile(took, 50) * 1000,
                "p99": percentile(took, 99) * 1000,
            }

        yield {
            **figures("streamfn", lambda: settings.run(streamfn()), "p50", "p99"),
            **figures("pipe", lambda: _pipes(count), "pipe-p50", "pipe-p99"),
        }


def _echo(end: Connection) -> None:
    while message := end.recv_bytes():
        end.send_bytes(json.dumps(json.loads(message)).encode())


def _pipes(count: int) -> Mapping[str, float]:
    """What `multiprocessing` alone does: each of two processes has one message at a time."""
    message = json.dumps(EVENT).encode()
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(_ENVIRONMENTS)]
    processes = [context.Process(target=_echo, args=(theirs,), daemon=True) for _, theirs in pairs]
    for process in processes:
        process.start()
    ours = [mine for mine, _ in pairs]
    for mine, theirs in pairs:
        theirs.close()
        mine.send_bytes(message)
        mine.recv_bytes()
    sent = dict.fromkeys(ours, 0.0)
    took: list[float] = []
    began = time.perf_counter()
    for mine in ours:
        sent[mine] = time.perf_counter()
        mine.send_bytes(message)
    while len(took) < count:
        for mine in filter(sent.__contains__, wait(ours)):
            mine.recv_bytes()
            took.append(time.perf_counter() - sent[mine])
            sent[mine] = time.perf_counter()
            mine.send_bytes(message)
    rate = len(took) / (time.perf_counter() - began)
    for mine, process in zip(ours, processes, strict=True):
        mine.recv_bytes()
        mine.send_bytes(b"")
        process.join()
    return {"pipe": rate, "pipe-p50": percentile(took, 50) * 1000, "pipe-p99": percentile(took, 99) * 1000}


class Emulator:
    """One caller of one environment, beside AWS's Runtime Interface Emulator with the same function."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "runtime-emulator-p50",
            "one caller of a no-op Python function; bare: AWS's Runtime Interface Emulator, by HTTP",
            "ms",
            "streamfn",
            "rie",
            Target("ratio", at_most=1.0),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        found = find_rie()
        if isinstance(found, str):
            raise NotHere(found)
        count = settings.size(3000, 100)

        async def streamfn() -> float:
            async with deployed(Started()) as app:
                took = await invoked(app, 1, count)
            return percentile(took[count // 6 :], 50) * 1000

        with _emulator(found) as port:
            yield {
                "streamfn": lambda: settings.run(streamfn()),
                "rie": lambda: _asked(port, count),
            }


@contextmanager
def _emulator(found: Path) -> Iterator[int]:
    """The port of an emulator that runs the function."""
    port, runtime_port = free_ports(2)
    addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    addresses += ["--runtime-api-address", f"127.0.0.1:{runtime_port}", "--log-level", "error"]
    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
        Path(folder, "index.py").write_text(NOTHING)
        command = [str(found), *addresses, sys.executable, "-m", "awslambdaric", "index.handler"]
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        family = [psutil.Process(process.pid)]
        try:
            _until_open(port)
            _asked(port, 10)
            family += family[0].children(recursive=True)
            yield port
        finally:
            for member in family:
                member.kill()
            process.wait()


def _until_open(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _asked(port: int, count: int) -> float:
    """Milliseconds that half of the callers wait for at most."""
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for _ in range(count):
        began = time.perf_counter()
        connection.request("POST", INVOKE, json.dumps(EVENT))
        answer = connection.getresponse().read()
        took.append(time.perf_counter() - began)
        if json.loads(answer) != EVENT:
            raise RuntimeError(answer.decode())
    connection.close()
    return percentile(took[count // 6 :], 50) * 1000


class Cold:
    """From nothing to the first answer of a function, beside an interpreter that imports its runtime."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "runtime-cold",
            "a new environment of a no-op Python function and its first answer, beside a whole "
            "python -c 'import awslambdaric'",
            "ms",
            "cold",
            "import",
            Target("ratio", at_most=1.5),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.size(max(11, settings.repeat), settings.repeat)

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        import_it = whole_process([sys.executable, "-c", "import awslambdaric"])
        import_it()
        with _folder() as folder:
            yield {
                "cold": lambda: settings.run(_cold(folder, settings.size(10, 2))),
                "import": import_it,
            }


async def _cold(folder: Path, count: int) -> float:
    """Milliseconds, the median of some; the first of a launcher is for warming up."""
    took = []
    deployment = Deployment("f", str(folder / "code"), RUNTIME, "index.handler", memory_size=VCPU)
    request = Request("1", json.dumps(EVENT).encode(), "arn:aws:lambda:local:000000000000:function:f")
    async with Launchers(folder / "environments") as launchers:
        runtime = ProcessRuntime(deployment, launchers)
        for _ in range(count + 1):
            began = time.perf_counter()
            async with runtime.environment() as environment:
                await environment.invoke(request)
                took.append((time.perf_counter() - began) * 1000)
    return median(took[1:])


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with the function's code, which users of environments can read."""
    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as name:
        folder = Path(name)
        (folder / "code").mkdir()
        (folder / "code" / "index.py").write_text(NOTHING)
        folder.chmod(0o755)
        yield folder


class Provisioned:
    """Environments that are kept initialised."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "runtime-provisioned",
            "cold starts in 10,000 invocations by four callers, with four provisioned environments",
            "cold starts",
            "cold",
            None,
            Target("figure", at_most=0),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return 1

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        async def cold() -> float:
            started = Started()
            async with deployed(started, provisioned_concurrency=4) as app:
                with anyio.fail_after(PATIENCE):
                    while started.provisioned < 4:  # noqa: ASYNC110 - telemetry rings no bell
                        await anyio.sleep(0.02)
                await invoked(app, 4, settings.size(10_000, 400))
            return float(started.on_demand)

        yield {"cold": lambda: settings.run(cold())}


class IdleEnvironments:
    """Many environments that have nothing to do: what they cost streamfn, and what they take themselves."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "runtime-idle-memory",
            "200 idle environments: what the daemon has grown by (resident)",
            "MB",
            "daemon",
            None,
            Target("figure", at_most=50),
        ),
        Scenario(
            "runtime-idle-inits",
            "the same: the launcher and one small process of ours for each (proportional)",
            "MB",
            "inits",
            None,
        ),
        Scenario(
            "runtime-idle-functions",
            "the same: the functions' own processes (proportional)",
            "MB",
            "functions",
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return 1

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        def measured() -> Mapping[str, float]:
            with program("environments", settings.size(200, 4)) as environments:
                daemon = psutil.Process(environments.pid)
                environments.next()
                before = daemon.memory_info().rss
                environments.tell("go on")
                environments.next()
                (launcher,) = daemon.children()
                inits = launcher.children()
                functions = [process for init in inits for process in init.children(recursive=True)]
                return {
                    "daemon": (daemon.memory_info().rss - before) / 1e6,
                    "inits": _proportional([launcher, *inits]),
                    "functions": _proportional(functions),
                }

        yield figures("daemon", measured, "inits", "functions")


def _proportional(processes: Sequence[psutil.Process]) -> float:
    """MB; of pages that processes share, each has its part."""
    return sum(process.memory_full_info().pss for process in processes) / 1e6


GROUPS = (Warm(), Emulator(), Cold(), Provisioned(), IdleEnvironments())
