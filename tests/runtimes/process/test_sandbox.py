"""What an environment may see and use. Most of it takes root, whose means the test of the launcher lists."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from streamfn.runtimes.process.sandbox import Capabilities, Layout, Module, Sandbox, layout
from tests.runtimes.process.launched import ROOT, Bench, family, launched
from tests.waiting import until

as_root = pytest.mark.skipif(not ROOT, reason="needs root")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with launched("all that there is") as launcher:
        yield Bench(launcher, tmp_path)


@pytest.fixture(params=["all that there is", "no cgroups", "nothing"])
async def any_bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with launched(request.param) as launcher:
        yield Bench(launcher, tmp_path)


def test_folders_are_lambdas_with_namespaces_and_the_machines_without():
    sandbox = Sandbox("/code", "/scratch", layers="/layers", runtime="/ours")
    assert layout(sandbox, namespaces=True) == Layout("/var/task", "/opt", "/var/runtime", "/tmp")
    assert layout(sandbox, namespaces=False) == Layout("/code", "/layers", "/ours", "/scratch")
    assert layout(Sandbox("/code", "/scratch"), namespaces=True) == Layout("/var/task", "", "", "/tmp")


def test_capabilities_name_what_is_missing():
    assert len(Capabilities().missing) == 6
    everything = Capabilities("3.11.7", True, True, "/sys/fs/cgroup", True, True, True)
    assert everything.missing == ()
    assert Capabilities.read({"cpu": True, "future": 1}) == Capabilities(cpu=True)


def test_links_are_resolved_before_the_launcher_sees_them(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    link, real = str(tmp_path / "link"), str(tmp_path / "real")
    shown = Sandbox(link, "/scratch", readable=(link, "/usr")).resolved()
    assert shown["task_root"] == real
    assert shown["layers"] == ""
    assert shown["readable"] == [(real, link), ("/usr", "/usr"), (real, real)]


@as_root
async def test_an_environment_sees_the_system_its_code_and_nothing_of_the_machine(bench: Bench):
    bench.write("data.txt", "data")
    (bench.folder / "secret").mkdir()
    secret = bench.folder / "secret" / "file"
    secret.write_text("secret")
    shown = json.loads(await bench.python(_SEES, {"SECRET": str(secret)}))
    assert shown["code"] == ["data.txt", "function.py"]
    assert shown["writable"] == ["/tmp", "/dev/shm"]
    assert shown["secret"] is False
    assert shown["host"] == []
    assert not {"home", "mnt", "srv"} & set(shown["root"])
    assert shown["processes"] == ["1", "2"]
    assert shown["status"] == {"NoNewPrivs": "1", "CapEff": "0" * 16, "CapPrm": "0" * 16, "Groups": ""}
    assert shown["ids"][0] >= 700_000
    assert len(set(shown["ids"])) == 1
    assert shown["limits"] == [[1024, 1024], [0, 0], [512 << 20, 512 << 20], [1024, 1024]]
    assert shown["session"] is True


_SEES = """
import json, os, resource
def writable(folder):
    try:
        with open(folder + "/x", "w"):
            return True
    except OSError:
        return False
status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status"))
wanted = ("NoNewPrivs", "CapEff", "CapPrm", "Groups")
limits = ("NOFILE", "CORE", "FSIZE", "NPROC")
print(json.dumps({
    "code": sorted(name for name in os.listdir("/var/task") if not name.startswith("__")),
    "writable": [folder for folder in ("/", "/etc", "/usr", "/var/task", "/opt", "/tmp", "/dev", "/dev/shm") if writable(folder)],
    "secret": os.path.exists(os.environ["SECRET"]),
    "host": os.listdir("/host"), "root": os.listdir("/"),
    "processes": sorted(name for name in os.listdir("/proc") if name.isdigit()),
    "status": {name: status[name].strip() for name in wanted},
    "ids": [*os.getresuid(), *os.getresgid()],
    "limits": [list(resource.getrlimit(getattr(resource, "RLIMIT_" + name))) for name in limits],
    "session": os.getsid(0) == os.getpid(),
}))
"""  # noqa: E501


@as_root
async def test_environments_have_users_of_their_own(bench: Bench):
    text = "import os, time\nprint(os.getuid(), flush=True)\ntime.sleep(60)\n"
    other = bench.beside("other")
    users = []
    bench.write("waits.py", text)
    other.write("waits.py", text)
    async with (
        bench.started(Module("waits")) as (_, one),
        other.started(Module("waits")) as (_, two),
    ):
        users = [await one.line(), await two.line()]
        assert users[0] != users[1]
        assert Path(other.sandbox.scratch).stat().st_mode & 0o777 == 0o700
    kept = "import os, time\nprint(os.getuid())\n"
    assert await other.python(kept) == users[1] + "\n", "whose /tmp it is"


@as_root
async def test_tmp_is_kept_for_the_next_process_even_as_another_user(bench: Bench):
    os.chown(bench.sandbox.scratch, 12345, 12345)
    (Path(bench.sandbox.scratch) / "kept").write_text("kept")
    (Path(bench.sandbox.scratch) / "kept").chmod(0o600)
    assert await bench.python("open('/tmp/more', 'w').write(open('/tmp/kept').read())") == ""
    assert (Path(bench.sandbox.scratch) / "more").read_text() == "kept"


@as_root
async def test_layers_runtime_and_what_is_readable_are_where_they_belong(bench: Bench, tmp_path: Path):
    closed = tmp_path / "closed"
    for name in ("layers/lib", "ours", "closed/library"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    closed.chmod(0o700)
    text = "print(*[open(path + '/file').read() for path in ('/opt/lib', '/var/runtime', {!r})])"
    folders = {"layers": str(tmp_path / "layers"), "runtime": str(tmp_path / "ours")}
    library = str(closed / "library")
    printed = await bench.python(text.format(library), readable=(library,), **folders)
    assert printed == "layers/lib ours closed/library\n"


@as_root
async def test_what_is_readable_can_live_in_opt_beside_layers(bench: Bench, tmp_path: Path):
    tools = Path("/opt/streamfn-test-tools")
    tools.mkdir()
    try:
        (tools / "tool").write_text("tool")
        (tmp_path / "layers").mkdir()
        (tmp_path / "layers" / "file").write_text("layer")
        text = f"print(open('/opt/file').read(), open('{tools}/tool').read())"
        printed = await bench.python(text, readable=(str(tools),), layers=str(tmp_path / "layers"))
    finally:
        (tools / "tool").unlink()
        tools.rmdir()
    assert printed == "layer tool\n"
    assert os.listdir(tmp_path / "layers") == ["file"]


async def test_who_eats_memory_is_killed_and_the_exit_says_so(any_bench: Bench):
    any_bench.write("eats.py", _EATS)
    ended, printed = await any_bench.run(Module("eats"), memory_size=64)
    assert (ended.signal, ended.oom) == (signal.SIGKILL, True), printed
    assert ended.max_rss >= 60 << 20


_EATS = """
import time
eaten = []
while True:
    eaten.append(bytearray(1 << 20))
    time.sleep(0.01)  # slower than whoever watches, on a busy machine too
"""


async def test_who_eats_memory_at_once_fails_to_get_it(any_bench: Bench):
    any_bench.write("eats.py", "data = b'x' * (1 << 30)\n")
    ended, printed = await any_bench.run(Module("eats"), memory_size=64)
    assert ended.oom or "MemoryError" in printed


async def test_no_file_is_larger_than_tmp_may_be(any_bench: Bench):
    tmp = any_bench.launcher.layout(any_bench.sandbox).tmp
    text = f"""
with open({tmp!r} + "/large", "wb") as file:
    try:
        file.truncate((1 << 20) + 1)
    except OSError as error:
        print(error.strerror)
"""
    assert await any_bench.python(text, ephemeral_storage=1) == "File too large\n"


async def test_who_fills_tmp_with_files_is_killed_and_the_exit_says_so(any_bench: Bench):
    tmp = any_bench.launcher.layout(any_bench.sandbox).tmp
    any_bench.write("fills.py", _FILLS.format(tmp))
    ended, _ = await any_bench.run(Module("fills"), ephemeral_storage=1)
    assert (ended.signal, ended.storage) == (signal.SIGKILL, True)


_FILLS = """
import os, time
os.mkdir({0!r} + "/folder")
for number in range(4):
    with open({0!r} + "/folder/%d" % number, "wb") as file:
        file.write(bytes(512 << 10))
time.sleep(60)
"""


async def test_a_fork_bomb_ends_with_its_environment(any_bench: Bench):
    any_bench.write("forks.py", _FORKS)
    async with any_bench.started(Module("forks"), memory_size=1024) as (process, output):
        await output.line()
        process.kill()
        assert (await process.wait()).signal == signal.SIGKILL
        program = any_bench.launcher._program
        assert program is not None
        await until(lambda: family(program.pid) == {program.pid})
    assert await any_bench.python("print('fine')") == "fine\n"


_FORKS = """
import os, time
print("go", flush=True)
for _ in range(8):
    os.fork()
time.sleep(60)
"""


@as_root
async def test_the_share_of_the_cpu_comes_after_the_init_phase(bench: Bench):
    found = bench.launcher.capabilities
    folders = [Path(found.memory.replace("/memory/", "/cpu/", 1)), Path("/sys/fs/cgroup/cpu")]
    bench.write("waits.py", "import time; print('up', flush=True); time.sleep(60)")
    async with bench.started(Module("waits"), memory_size=1769) as (process, output):
        await output.line()
        program = bench.launcher._program
        assert program is not None
        name = f"streamfn-{program.pid}-1"
        quotas = [folder / name / "cpu.cfs_quota_us" for folder in folders if (folder / name).exists()]
        if not quotas:
            pytest.skip("the cpu controller is one of version 2")
        assert quotas[0].read_text() == "-1\n"
        process.initialised()
        await until(lambda: quotas[0].read_text() == "100000\n")


@as_root
async def test_the_network_none_has_nothing_but_the_runtime_api(bench: Bench):
    bench.write("calls.py", _CALLS)
    async with bench.started(Module("calls"), network="none") as (process, output):
        await anyio.wait_readable(process.listener)
        link, peer = process.listener.accept()
        with link:
            assert process.owns(peer)
            assert not process.owns(("127.0.0.1", 1))
            assert await output.line() == "['lo']"
            assert "unreachable" in await output.line()


_CALLS = """
import os, socket
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
link = socket.create_connection((host, int(port)))
print([line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line], flush=True)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    print(error, flush=True)
link.recv(1)
"""


@pytest.fixture
def network() -> Iterator[str]:
    name = f"streamfn-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


@as_root
async def test_a_network_can_be_named_as_ip_names_it(bench: Bench, network: str):
    text = "import os; print(os.readlink('/proc/self/ns/net'))"
    inside = Path("/run/netns", network).stat().st_ino
    assert await bench.python(text, network=network) == f"net:[{inside}]\n"
    with pytest.raises(OSError, match="No such file"):
        await bench.python(text, network="nowhere")
