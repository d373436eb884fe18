"""Nothing stays behind, whatever a function, or fate, does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from streamfn.runtimes.process.launcher import _FOLDER, _PROGRAM
from streamfn.runtimes.process.sandbox import Module
from tests.runtimes.process.launched import ROOT, WAYS, Bench, alive, family, launched, reachable
from tests.waiting import until

_REPOSITORY = Path(__file__).parents[3]

_DAEMONS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if os.fork() == 0:
                os.setpgid(0, 0)
            time.sleep(1000)
        os._exit(0)
for _ in range(3):
    os.wait()
print("up", flush=True)
"""


@pytest.fixture(params=WAYS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with launched(request.param) as launcher:
        yield Bench(launcher, tmp_path)


def _below(bench: Bench) -> set[int]:
    assert bench.launcher._program is not None
    return family(bench.launcher._program.pid) - {bench.launcher._program.pid}


def test_a_launcher_whose_streamfn_was_killed_before_it_was_up_ends_without_a_word():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    allowed = json.dumps({"namespaces": False, "users": False, "cgroups": False})
    with theirs:
        ended = subprocess.run(
            [sys.executable, "-s", "-c", _PROGRAM, _FOLDER, str(theirs.fileno()), allowed],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            check=False,
            timeout=10,
        )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


async def test_daemons_end_with_the_runtime(bench: Bench):
    bench.write("daemons.py", _DAEMONS + "time.sleep(0.5)\n")
    async with bench.started(Module("daemons")) as (process, output):
        assert await output.line() == "up"
        await until(lambda: len(_below(bench)) == 2 + 6)
        below = _below(bench)
        assert (await process.wait()).status == 0
        await until(lambda: not alive(below))


async def test_daemons_end_when_the_process_is_killed(bench: Bench):
    bench.write("daemons.py", _DAEMONS + "time.sleep(1000)\n")
    async with bench.started(Module("daemons")) as (_, output):
        assert await output.line() == "up"
        await until(lambda: len(_below(bench)) == 2 + 6)
        below = _below(bench)
    await until(lambda: not alive(below))


async def test_an_init_that_is_killed_takes_everything_along(bench: Bench):
    bench.write("daemons.py", _DAEMONS + "time.sleep(1000)\n")
    async with bench.started(Module("daemons")) as (process, output):
        assert await output.line() == "up"
        below = _below(bench)
        os.kill(psutil.Process(process.pid).ppid(), signal.SIGKILL)
        assert (await process.wait()).signal == signal.SIGKILL
        await until(lambda: not alive(below))
    assert await bench.python("print('fine')") == "fine\n"


_PARENT = """
import os, sys
import anyio
from streamfn.runtimes.process.launcher import Launcher
from streamfn.runtimes.process.sandbox import Allowed, Module, Sandbox

async def main(folder, interpreter):
    async with Launcher(interpreter) as launcher:
        reading, writing = os.pipe()
        sandbox = Sandbox(folder + "/code", folder + "/scratch")
        for command in (Module("daemons"), ["/bin/sleep", "1000"]):
            await launcher.start(command, {"PATH": os.defpath}, sandbox, writing)
        assert os.read(reading, 3) == b"up\\n"
        found = launcher.capabilities
        print(launcher._program.pid, found.memory or "-", found.namespaces, os.getuid(), flush=True)
        await anyio.sleep(60)

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize(
    "user", ["ours", pytest.param("nobody", marks=pytest.mark.skipif(not ROOT, reason="needs root"))]
)
async def test_kill_9_of_streamfn_leaves_nothing(tmp_path: Path, user: str):
    for name in ("code", "scratch"):
        (tmp_path / name).mkdir(mode=0o777)
    (tmp_path / "code" / "daemons.py").write_text(_DAEMONS + "time.sleep(1000)\n")
    command, interpreter = [sys.executable], sys.executable
    if user == "nobody":
        for needed in (_REPOSITORY, sys.prefix):
            if not reachable(Path(needed)):
                pytest.skip(f"{needed} is closed to other users")
        (tmp_path / "scratch").chmod(0o777)
        interpreter = "/usr/bin/python3"
        command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", interpreter]
    paths = [str(_REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
    parent = subprocess.Popen(  # noqa: ASYNC220 - it is there at once
        [*command, "-c", _PARENT, str(tmp_path), interpreter],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(paths), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        assert parent.stdout is not None
        program, memory, _, uid = parent.stdout.readline().split()
        assert int(uid) == (65534 if user == "nobody" else os.getuid())
        await until(lambda: len(family(parent.pid)) == 1 + 1 + 2 + 2 + 6)
        below = family(parent.pid) - {parent.pid}
    finally:
        parent.kill()
        parent.communicate()
    await until(lambda: not alive(below))
    if memory != "-":
        assert not [name for name in os.listdir(memory) if name.startswith(f"streamfn-{program}-")]


async def test_a_launcher_that_hangs_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("streamfn.runtimes.process.launcher._STARTING", 0.2)
    async with launched("all that there is") as launcher:
        bench = Bench(launcher, tmp_path)
        program = psutil.Process(launcher._program.pid)
        program.suspend()
        with pytest.raises(TimeoutError):
            await bench.python("print('never')")
        program.resume()
        assert await bench.python("print('there')") == "there\n"
