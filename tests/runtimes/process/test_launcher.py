"""Processes that a launcher starts: as programs, and as Python modules in a fork of it."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import anyio
import psutil
import pytest
from anyio import to_thread

import streamfn.runtimes.process.launcher
from streamfn.runtimes.process.launcher import Launcher
from streamfn.runtimes.process.sandbox import Allowed, Module
from tests.runtimes.process.launched import ROOT, WAYS, Bench, alive, family, launched
from tests.waiting import until


@pytest.fixture(params=WAYS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with launched(request.param) as launcher:
        yield Bench(launcher, tmp_path)


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Launcher() as launcher:
        yield Bench(launcher, tmp_path)


async def test_a_program_runs_with_these_variables_and_no_others(bench: Bench):
    program = bench.write("bootstrap", "#!/bin/sh\nexec env\n")
    ended, printed = await bench.run([program], {"NAME": "value"})
    assert ended.status == 0
    variables = dict(line.split("=", 1) for line in printed.splitlines())
    assert variables.pop("AWS_LAMBDA_RUNTIME_API").startswith("127.0.0.1:")
    assert variables.pop("PWD") == bench.launcher.layout(bench.sandbox).task_root
    assert variables.pop("NAME") == "value"
    assert set(variables) <= {"PATH", "_", "SHLVL"}


async def test_a_module_runs_as_with_m(bench: Bench):
    bench.write("shown.py", _SHOWN)
    ended, printed = await bench.run(
        Module("shown", ("one", "two")), {"PYTHONPATH": "/first:/second", "A": "b"}
    )
    assert ended.status == 0, printed
    shown = json.loads(printed)
    root = bench.launcher.layout(bench.sandbox).task_root
    assert shown["argv"] == [f"{root}/shown.py", "one", "two"]
    assert shown["path"][:3] == [root, "/first", "/second"]
    assert shown["environment"] == ["A", "AWS_LAMBDA_RUNTIME_API", "PATH", "PYTHONPATH"]
    assert shown["name"] == "__main__"
    assert shown["ours"] == []
    assert shown["descriptors"] == ["0", "1", "2"]
    assert shown["handlers"] == [signal.SIG_DFL, signal.SIG_DFL, signal.SIG_IGN]
    assert shown["gc"] is True


_SHOWN = """
import gc, json, os, signal, sys
with os.scandir("/proc/self/fd") as opened:
    descriptors = sorted(entry.name for entry in opened if "/fd" not in os.readlink(entry.path))
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "environment": sorted(os.environ), "name": __name__,
    "ours": [name for name in sys.modules if name.partition(".")[0] in ("program", "streamfn")],
    "descriptors": descriptors, "gc": gc.isenabled(),
    "handlers": [signal.getsignal(getattr(signal, name)) for name in ("SIGCHLD", "SIGTERM", "SIGPIPE")],
}))
"""


@pytest.mark.parametrize("variable", ["PYTHONHASHSEED", "LD_LIBRARY_PATH"])
async def test_a_module_gets_an_interpreter_of_its_own_where_a_fork_would_differ(plain: Bench, variable: str):
    root = plain.launcher.layout(plain.sandbox).task_root
    (plain.folder / "code" / "lib").mkdir()
    (plain.folder / "code" / "lib" / "libx.so.1").touch()
    value = {"PYTHONHASHSEED": "1", "LD_LIBRARY_PATH": f"/nowhere:{root}/lib"}[variable]
    text = "import sys; print(open('/proc/self/cmdline').read().split(chr(0))[1:5], hash('a'))"
    printed = await plain.python(text, {variable: value})
    assert printed.startswith("['-s', '-m', 'function', '']")
    assert "'-c'" in await plain.python(text, {"LD_LIBRARY_PATH": "/nowhere:/usr/lib"})


async def test_uncaught_errors_end_a_module_as_an_interpreter_does(plain: Bench):
    plain.write("failing.py", "import atexit\natexit.register(print, 'at exit')\nraise ValueError('bad')\n")
    ended, printed = await plain.run(Module("failing"))
    assert ended.status == 1
    assert "ValueError: bad\n" in printed
    assert "at exit\n" in printed
    ended, _ = await plain.run(Module("missing"))
    assert ended.status == 1


async def test_unbuffered_output_comes_at_once(plain: Bench):
    plain.write("waits.py", "import time; print('now'); time.sleep(60)")
    async with plain.started(Module("waits"), {"PYTHONUNBUFFERED": "1"}) as (_, output):
        assert await output.line() == "now"


@pytest.mark.parametrize(
    ("script", "status", "number"),
    [
        ("exit 0", 0, None),
        ("exit 3", 3, None),
        ("kill -SEGV $$", None, signal.SIGSEGV),
        ("kill -KILL $$", None, signal.SIGKILL),
    ],
)
async def test_the_exit_says_how_it_ended(bench: Bench, script: str, status: int | None, number: int | None):
    ended, _ = await bench.run(["/bin/sh", "-c", script])
    assert (ended.status, ended.signal) == (status, number)
    assert not ended.oom
    assert not ended.problem
    assert ended.max_rss > 0


async def test_a_program_that_cannot_be_run_is_an_exit_with_the_reason(bench: Bench):
    ended, _ = await bench.run(["/var/nowhere/bootstrap"])
    assert ended.problem == "fork/exec /var/nowhere/bootstrap: no such file or directory"
    program = bench.write("bootstrap", "#!/bin/sh\n")
    (bench.folder / "code" / "bootstrap").chmod(0o644)
    ended, _ = await bench.run([program])
    assert ended.problem == f"fork/exec {program}: permission denied"
    assert ended.status == 127


async def test_terminate_reaches_the_process_group_and_kill_everything(bench: Bench):
    script = "trap 'echo asked; wait' TERM; sleep 1000 & echo up; wait"
    async with bench.started(["/bin/sh", "-c", script]) as (process, output):
        assert await output.line() == "up"
        below = family(process.pid)
        assert len(below) == 2
        process.terminate()
        assert await output.line() == "asked"
        process.kill()
        assert (await process.wait()).signal in (signal.SIGKILL, None)
        await until(lambda: not alive(below))


async def test_the_listener_is_where_the_variable_says(bench: Bench):
    bench.write("calls.py", _CALLS)
    async with bench.started(Module("calls")) as (process, output):
        await anyio.wait_readable(process.listener)
        link, peer = process.listener.accept()
        with link:
            assert process.owns(peer)
            await anyio.wait_readable(link)
            assert link.recv(10) == b"hello"
            link.sendall(b"back")
            assert await output.line() == "b'back'"
        with socket.create_connection(process.listener.getsockname()) as foreign:
            accepted, peer = process.listener.accept()
            with accepted:
                assert peer == foreign.getsockname()
                assert not process.owns(peer)
        assert not process.owns(("127.0.0.1", 1))


_CALLS = """
import os, socket, sys
host, port = (sys.argv[1:] or [os.environ["AWS_LAMBDA_RUNTIME_API"]])[0].split(":")
with socket.create_connection((host, int(port))) as link:
    link.sendall(b"hello")
    print(link.recv(10))
"""


async def test_no_environment_owns_the_connections_of_another(bench: Bench):
    bench.write("calls.py", _CALLS)
    async with bench.started(Module("calls")) as (one, _):
        target = "{}:{}".format(*one.listener.getsockname())
        other = bench.beside("other")
        other.write("calls.py", _CALLS)
        async with other.started(Module("calls", (target,))):
            peers = []
            for _ in range(2):
                await anyio.wait_readable(one.listener)
                link, peer = one.listener.accept()
                with closing(link):
                    peers.append(one.owns(peer))
            assert sorted(peers) == [False, True]


async def test_memory_tells_what_is_held_and_what_was(bench: Bench):
    grows = "data = bytearray(60 << 20); print('full', flush=True); del data"
    bench.write("grows.py", f"import time; {grows}; time.sleep(60)")
    async with bench.started(Module("grows")) as (process, output):
        await output.line()
        await until(lambda: process.memory().current < 60 << 20)
        assert process.memory().peak >= 60 << 20
        process.kill()
        assert (await process.wait()).max_rss >= 60 << 20
        assert process.memory() == (0, 0)


async def test_a_launcher_that_dies_is_replaced_and_what_runs_goes_on(bench: Bench):
    launcher = bench.launcher
    async with bench.started(["/bin/sh", "-c", "echo up; sleep 1000"]) as (process, output):
        await output.line()
        assert launcher._program is not None
        launcher._program.kill()
        await to_thread.run_sync(launcher._program.wait)
        ended, printed = await bench.run(["/bin/echo", "next"])
        assert (ended.status, printed) == (0, "next\n")
        below = family(process.pid)
        assert below
        process.kill()
        assert (await process.wait()).signal == signal.SIGKILL
        await until(lambda: not alive(below))


async def test_requests_to_end_are_streamfns_to_decide_on(bench: Bench):
    program = bench.launcher._program
    assert program is not None
    async with bench.started(
        ["/bin/sh", "-c", "trap 'echo asked' TERM; echo up; sleep 1000 & wait; wait"]
    ) as (
        process,
        output,
    ):
        assert await output.line() == "up"
        for pid in family(program.pid) - family(process.pid):
            os.kill(pid, signal.SIGTERM)
        process.terminate()
        assert await output.line() == "asked"
        assert program.poll() is None


async def test_a_narrow_umask_of_streamfn_is_not_the_launchers(tmp_path: Path):
    before = os.umask(0o077)
    try:
        async with Launcher() as launcher:
            os.umask(before)
            assert await Bench(launcher, tmp_path).python("print('fine')") == "fine\n"
    finally:
        os.umask(before)


@pytest.mark.parametrize("minor", range(9, 15))
async def test_it_runs_under_every_python_that_functions_may_have(tmp_path: Path, minor: int):
    found = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"))
    found += [Path(place, f"python3.{minor}") for place in ("/usr/bin", "/usr/local/bin")]
    interpreter = next((str(path) for path in found if path.exists()), "")
    if not interpreter:
        pytest.skip(f"there is no Python 3.{minor} here")
    async with Launcher(interpreter) as launcher:
        text = "import sys; print(sys.version_info[:2], sys.argv, sys.orig_argv[1:])"
        printed = await Bench(launcher, tmp_path).python(text)
        assert printed.startswith(f"(3, {minor}) ['")
        assert launcher.capabilities.python.startswith(f"3.{minor}.")


def test_the_program_is_written_in_python_3_9():
    files = sorted((Path(streamfn.runtimes.process.launcher.__file__).parent / "program").glob("*.py"))
    assert len(files) > 10
    for file in files:
        ast.parse(file.read_text(), file.name, feature_version=(3, 9))


async def test_an_interpreter_that_is_none_is_refused():
    with pytest.raises(OSError, match="/bin/true ended"):
        async with Launcher("/bin/true"):
            pass
    with pytest.raises(OSError, match="nowhere"):
        async with Launcher("/nowhere/python"):
            pass


async def test_an_environment_that_cannot_be_made_is_an_error_and_harms_nobody(bench: Bench):
    with pytest.raises(OSError, match="[Nn]o such file|cannot be used here"):
        async with bench.started(["/bin/true"], network="missing-network"):
            pass
    ended, printed = await bench.run(["/bin/echo", "still"])
    assert (ended.status, printed) == (0, "still\n")


async def test_leaving_the_launcher_ends_what_runs(tmp_path: Path):
    async with Launcher() as launcher:
        bench = Bench(launcher, tmp_path)
        reading, writing = os.pipe()
        process = await launcher.start(["/bin/sleep", "1000"], {}, bench.sandbox, writing)
        os.close(writing)
        below = family(process.pid)
        program = launcher._program
        assert below
        assert program is not None
    assert program.returncode == 0
    assert (await process.wait()).signal == signal.SIGKILL
    assert not alive(below | {program.pid})
    os.close(reading)


async def test_a_start_that_is_cancelled_leaves_nothing(plain: Bench):
    before = _descriptors()
    program = plain.launcher._program
    assert program is not None
    for steps in range(12):
        reading, writing = os.pipe()
        with anyio.CancelScope() as scope:

            async def cancel(after: int = steps, scope: anyio.CancelScope = scope) -> None:
                for _ in range(after):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            async with anyio.create_task_group() as group:
                group.start_soon(cancel)
                process = await plain.launcher.start(["/bin/sleep", "1000"], {}, plain.sandbox, writing)
                await process.close()
        os.close(writing)
        os.close(reading)
    await until(lambda: family(program.pid) == {program.pid})
    assert _descriptors() == before


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_hundreds_of_starts_leak_no_descriptor_no_process_and_no_group(bench: Bench):
    program = bench.launcher._program
    assert program is not None
    there = psutil.Process(program.pid)
    before = _descriptors()
    inside = there.num_fds()
    endings = ["exit 0", "kill -SEGV $$", "setsid sleep 1000 & exit 1", "sleep 1000"]
    for turn in range(40):
        async with bench.started(["/bin/sh", "-c", endings[turn % 4]]) as (process, _):
            if turn % 4 != 3:
                await process.wait()
    assert _descriptors() == before
    await until(lambda: family(program.pid) == {program.pid})
    assert there.num_fds() == inside
    memory = bench.launcher.capabilities.memory
    if memory:
        assert not [name for name in os.listdir(memory) if name.startswith(f"streamfn-{program.pid}-")]


@pytest.mark.skipif(not ROOT, reason="only root can do all of it")
async def test_root_can_do_all_of_it_and_capabilities_say_so():
    async with Launcher() as launcher:
        found = launcher.capabilities
        assert found.python == "{}.{}.{}".format(*sys.version_info)
        assert found.missing == (), "on a machine where root may make namespaces and cgroups"
    async with Launcher(allowed=Allowed(namespaces=False, users=False, cgroups=False)) as launcher:
        assert len(launcher.capabilities.missing) == 6
