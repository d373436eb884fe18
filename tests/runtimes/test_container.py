"""Functions in containers, by whatever engine is at hand: the suite of runtimes, and limits."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from anyio import to_thread

from streamfn.core.outcomes import Cause
from streamfn.errors import ConfigurationError
from streamfn.ports import Deployment, Environment, Runtime
from streamfn.runtimes.container import ContainerRuntime
from streamfn.testing.conformance import RuntimeFeatures, RuntimeHarness, RuntimeSuite
from streamfn.testing.conformance.runtimes import failure, request, said
from tests.servers.aws_process import request as ask

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(120)]

SOURCE = Path(__file__).parent / "container"
DOCKERFILE = """
FROM scratch
COPY bootstrap /bootstrap
ENTRYPOINT ["/bootstrap"]
"""
IMAGE = "localhost/streamfn-conformance:1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def run(*command: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The engine of this machine, with the image; or the reason why there is none."""
    found = shutil.which("podman") or shutil.which("docker")
    go = shutil.which("go")
    if found is None or go is None:
        pytest.skip("no container engine, or no go to build an image with")
    folder = tmp_path_factory.mktemp("image")
    with pytest.MonkeyPatch.context() as patch:
        if Path(found).name == "podman" and shutil.which("runc"):
            # What podman takes by itself needs cgroups, overlays or networks that a container has not.
            (folder / "containers.conf").write_text('[engine]\nruntime = "runc"\n')
            patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
            patch.setenv("STORAGE_DRIVER", "vfs")
        shutil.copy(SOURCE / "main.go", folder)
        (folder / "go.mod").write_text("module bootstrap\n\ngo 1.21\n")
        (folder / "Dockerfile").write_text(DOCKERFILE)
        built = run(go, "build", "-o", "bootstrap", ".", folder=folder, CGO_ENABLED="0")
        assert built.returncode == 0, built.stderr
        made = run(found, "build", "-t", IMAGE, ".", folder=folder)
        if made.returncode:
            pytest.skip(f"{found} builds no image here: {made.stderr[-300:]}")
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--memory", "64m")
        tried = run(found, "run", "--rm", "--network", "host", *limits, IMAGE)
        if tried.returncode != 2:  # which is the function's own, for it finds no Runtime API
            pytest.skip(f"{found} runs no container here: {tried.stderr[-300:]}")
        yield Path(found).name


class ContainerHarness(RuntimeHarness):
    def __init__(self, engine: str) -> None:
        self.engine = engine

    def made(self, image: str = IMAGE, **changed: object) -> ContainerRuntime:
        deployment = Deployment("conformance", f"{self.engine}:{image}", timeout=4.0)
        deployment = replace(deployment, **changed)  # type: ignore[arg-type]
        return ContainerRuntime.from_uri(deployment.code, {"deployment": deployment})

    def runtime(self) -> Runtime:
        return self.made()

    async def running(self) -> int:
        listed = run(self.engine, "ps", "--all", "--quiet", "--filter", "name=streamfn-")
        return len(listed.stdout.split())

    def failing(self, times: int | None) -> Runtime:
        if times is not None:
            pytest.skip("a container begins anew each time")
        return self.made(environment={"FAIL_INIT": "1"})

    async def spoil(self, environment: Environment) -> None:
        pytest.skip("a new container follows whatever happened to the last")

    def unusable(self) -> Runtime:
        return self.made("localhost/nobody-made-it:1")


class TestContainers(RuntimeSuite):
    features = RuntimeFeatures(
        patience=30,
        timeout=4.0,
        logs="what is printed comes through the engine, often later than the answer",
        ending=8,
        breaking="a new container follows whatever happened to the last",
        slow_init="it takes its time",
    )

    @pytest.fixture
    def harness(self, engine: str) -> RuntimeHarness:
        return ContainerHarness(engine)


async def test_a_container_has_the_limits_of_its_function(engine: str) -> None:
    runtime = ContainerHarness(engine).made(environment={"MINE": "a b\nc"})
    async with runtime.environment() as environment:
        told = said(await environment.invoke(request("environ")))
        assert "MINE=a b\nc" in told
        assert "AWS_LAMBDA_FUNCTION_NAME=conformance" in told
        assert not any(one.startswith("HOME=/root/") for one in told)
        (api,) = [one.partition("=")[2] for one in told if one.startswith("AWS_LAMBDA_RUNTIME_API=")]
        with pytest.raises(OSError, match="."):
            await to_thread.run_sync(ask, f"http://{api}/2018-06-01/runtime/invocation/next")
        assert said(await environment.invoke(request("write", text="/tmp/x", size=1000))) == "<nil>"
        assert "read-only" in said(await environment.invoke(request("write", text="/x", size=1)))
        failed, document = failure(await environment.invoke(request("leak")))
        assert failed.cause is Cause.CRASH
        assert not Path("oom").exists(), "podman leaves a file where it was called"
        assert "signal: killed" in document["errorMessage"]


async def test_the_image_can_be_told_otherwise(engine: str) -> None:
    options = "command=app.handler 'a b'&workdir=/tmp&entrypoint=/bootstrap x"
    deployment = Deployment("f", f"{engine}:{IMAGE}?{options}")
    runtime = ContainerRuntime.from_uri(deployment.code, {"deployment": deployment})
    assert runtime.name == f"{engine}:{IMAGE}"
    async with runtime.environment() as environment:
        answer = said(await environment.invoke(request()))
    assert answer["arguments"] == ["/bootstrap", "x", "app.handler", "a b"]


@pytest.mark.parametrize(
    "code", ["docker:", "docker:--privileged", "docker:x?shell=y", "docker:x?command=", "docker:x?command='"]
)
def test_what_makes_no_sense_is_refused(code: str) -> None:
    with pytest.raises(ConfigurationError):
        ContainerRuntime.from_uri(code, {"deployment": Deployment("f", code)})


def test_networks_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="network"):
        ContainerRuntime("x", Deployment("f", "docker:x", network="none"))


async def test_without_an_engine_there_is_nothing() -> None:
    runtime = ContainerRuntime("x", Deployment("f", "docker:x"), engine="no-such-engine")
    with pytest.raises(ConfigurationError, match="no-such-engine"):
        await runtime.check()
    with pytest.raises(OSError, match="no-such-engine"):
        async with runtime.environment():
            raise AssertionError("there is none")
