"""AWS's Runtime Interface Emulator on loopback for tests, with the conformance suite's function in it.

``find_rie()`` says where it is: ``STREAMFN_TEST_RIE=/path/of/aws-lambda-rie``, or built once by ``go
install`` into the user's cache; or gives the reason why there is none.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from streamfn.testing.conformance import function
from tests.servers.aws_process import LocalServer
from tests.servers.aws_ways import INSTALL_TIMEOUT, Way, cached
from tests.servers.kafka_ways import HOST, free_ports

PROGRAM_ENV = "STREAMFN_TEST_RIE"
MODULE = "github.com/aws/aws-lambda-runtime-interface-emulator"
VERSION = "v0.0.0-20261030222936-bef5c4ba774d"
INVOKE = "/2015-03-31/functions/function/invocations"


@functools.cache
def find_rie() -> Path | str:
    """The program, or the reason (a ``str``) why there is none. The first call builds it."""
    given = os.environ.get(PROGRAM_ENV)
    if given:
        return Path(given)
    go = shutil.which("go")
    if go is None:
        return f"no Runtime Interface Emulator: {PROGRAM_ENV} is not set, and there is no go to build it with"
    folder = cached(f"rie-{VERSION[-12:]}", functools.partial(_build, go))
    return folder if isinstance(folder, str) else folder / "bin" / "aws-lambda-rie"


def _build(go: str, folder: Path) -> str | None:
    places = {"GOPATH": str(folder / "go"), "GOBIN": str(folder / "bin")}
    try:
        done = subprocess.run(
            [go, "install", f"{MODULE}/cmd/aws-lambda-rie@{VERSION}"],
            check=False,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            env={**os.environ, **places, "GOFLAGS": "-modcacherw"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the Runtime Interface Emulator could not be built: {error}"
    shutil.rmtree(folder / "go", ignore_errors=True)
    said = " | ".join(done.stderr.strip().splitlines()[-3:])
    return f"the Runtime Interface Emulator could not be built: {said}" if done.returncode else None


class Emulator(LocalServer):
    """The emulator with a function of its own, under awslambdaric."""

    name = "rie"
    address_env = PROGRAM_ENV

    def __init__(self, program: Path, timeout: int) -> None:
        super().__init__(Way("process", program=program))
        self.timeout = timeout
        shutil.copy(str(function.__file__), self.data_dir / "function.py")

    @property
    def url(self) -> str:
        return f"{self.endpoint}{INVOKE}"

    def command(self) -> list[str]:
        (port,) = free_ports(1)
        return [
            str(self.way.program),
            "--runtime-interface-emulator-address",
            f"{HOST}:{self.port}",
            "--runtime-api-address",
            f"{HOST}:{port}",
            "--log-level",
            "error",
            sys.executable,
            "-m",
            "awslambdaric",
            "function.handler",
        ]

    def environment(self) -> Mapping[str, str]:
        return {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(self.timeout), "AWS_LAMBDA_FUNCTION_NAME": "conformance"}
