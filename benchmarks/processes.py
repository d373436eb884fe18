"""Figures of whole processes: starting, and doing nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.measuring import ROOT, program, whole_process
from benchmarks.scenario import Scenario, Settings, Side, Target

_STREAMFN = [sys.executable, "-m", "streamfn"]
_WINDOW = 60
"""Seconds for which idle mappings are watched, in one piece: some things they do together and seldom."""


class Starting:
    """Imports and help, beside an interpreter that does nothing."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "import-time",
            "whole process: python -c 'import streamfn', beside python -c pass",
            "ms",
            "import",
            "pass",
            Target("figure", at_most=150),
        ),
        Scenario(
            "import-app-time",
            "whole process: python -c 'from streamfn import App', which brings in the engine",
            "ms",
            "import-app",
            "pass",
        ),
        Scenario(
            "help-time",
            "whole process: streamfn --help, beside python -c pass",
            "ms",
            "help",
            "pass",
            Target("figure", at_most=200),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.size(max(11, settings.repeat), settings.repeat)

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        script = Path(sys.executable).with_name("streamfn")
        sides = {
            "pass": whole_process([sys.executable, "-c", "pass"]),
            "import": whole_process([sys.executable, "-c", "import streamfn"]),
            "import-app": whole_process([sys.executable, "-c", "from streamfn import App"]),
            "help": whole_process([str(script), "--help"] if script.exists() else [*_STREAMFN, "--help"]),
        }
        for warm in sides.values():
            warm()  # Compiles what was not, and fills the system's cache.
        yield sides


class FirstPoll:
    """From starting the daemon until a function has its first record."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "start-to-first-poll",
            "whole process: streamfn run on a local: stream, until the first record is delivered",
            "ms",
            "run",
            None,
            Target("figure", at_most=1000),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        yield {"run": self._run}

    def _run(self) -> float:
        with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
            put = [*_STREAMFN, "put", "local:first", "--state-dir", folder]
            subprocess.run(
                put, input=b'{"a": 1}\n', check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            began = time.perf_counter()
            daemon = subprocess.Popen(
                [*_STREAMFN, "run", "benchmarks.programs.first:app", "--state-dir", folder],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
            )
            assert daemon.stdout is not None
            said = daemon.stdout.readline()
            ended = time.perf_counter()
            daemon.terminate()
            daemon.communicate()
        if not said:
            raise RuntimeError("streamfn run ended without having delivered anything")
        return (ended - began) * 1000


class Idle:
    """Many mappings that have nothing to do."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "idle-memory",
            "1,000 idle mappings on 1,000 local: streams (4,000 shards): resident memory",
            "MB",
            "memory",
            None,
            Target("figure", at_most=150),
        ),
        Scenario(
            "idle-cpu",
            "1,000 idle mappings on 1,000 local: streams (4,000 shards): share of one core",
            "%",
            "cpu",
            None,
            Target("figure", at_most=5),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return 1

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        window = settings.size(_WINDOW, 1)
        with (
            tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder,
            program("idle", folder, settings.size(1000, 10)) as mappings,
        ):
            mappings.next()
            time.sleep(settings.size(3, 0))  # What starting has left behind is not idleness.
            process = psutil.Process(mappings.pid)

            def memory() -> float:
                return process.memory_info().rss / 1e6

            def cpu() -> float:
                before = process.cpu_times()
                began = time.perf_counter()
                time.sleep(window)
                after = process.cpu_times()
                used = after.user + after.system - before.user - before.system
                return 100 * used / (time.perf_counter() - began)

            yield {"cpu": cpu, "memory": memory}


class Flat:
    """Memory while many records pass. Each run is a process of its own, so that nothing else is in it."""

    def __init__(self, mode: str, records: int, scenario: Scenario) -> None:
        self._mode = mode
        self._records = records
        self.scenarios: Sequence[Scenario] = (scenario,)

    def repeats(self, settings: Settings) -> int:
        return min(3, settings.repeat)

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        records = settings.size(self._records, self._records // 20)

        def deviation() -> float:
            with program("flat", self._mode, records) as passing:
                seen: float = passing.next()["deviation"]
                return seen

        yield {"deviation": deviation}


GROUPS = (
    Starting(),
    FirstPoll(),
    Idle(),
    Flat(
        "fast",
        2_000_000,
        Scenario(
            "memory-flat",
            "2 million records through the engine: how far resident memory strays from where it was warm",
            "%",
            "deviation",
            None,
            Target("figure", at_most=10),
        ),
    ),
    Flat(
        "slow",
        60_000,
        Scenario(
            "memory-backlog",
            "a function slower than an endless source: how far resident memory strays from where it was warm",
            "%",
            "deviation",
            None,
            Target("figure", at_most=10),
        ),
    ),
)
