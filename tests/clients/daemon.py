"""`streamfn run --api` as a program: started, drained, killed, started again at the same address."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.clients import environment
from tests.servers.aws_process import STOP_TIMEOUT, LocalServer
from tests.servers.aws_ways import Way
from tests.servers.kafka_ways import HOST

ROOT = Path(__file__).resolve().parents[2]

# What ARNs stand for where a test gives no AWS: the embedded broker.
EMBEDDED = [{"service": service, "url": "local:"} for service in ("sqs", "kinesis")]


class Daemon(LocalServer):
    """The daemon on a state directory of its own. `aws`: the endpoint behind ARNs; none: the embedded broker.

    A context manager that takes it away with all it wrote.
    """

    name: ClassVar[str] = "daemon"
    address_env: ClassVar[str] = ""

    def __init__(self, *arguments: str, aws: str | None = None) -> None:
        super().__init__(Way("process", program=Path(sys.executable)))
        self.aws = aws
        self._arguments = arguments
        self.data_dir.chmod(0o755)  # users of execution environments read code below it
        (self.data_dir / "code").mkdir()
        (self.data_dir / "endpoints.json").write_text(json.dumps({"endpoints": EMBEDDED}))

    @property
    def code_dir(self) -> Path:
        """A folder that code may be taken from."""
        return self.data_dir / "code"

    @property
    def state_dir(self) -> Path:
        return self.data_dir / "state"

    def command(self) -> list[str]:
        where = ["--api", f"{HOST}:{self.port}", "--state-dir", str(self.state_dir)]
        behind = [] if self.aws else ["--endpoints", str(self.data_dir / "endpoints.json")]
        # A mapping of a queue ends with its poll, and is deleted then.
        more = [
            "--set",
            "sqs.wait_time=1",
            "--code-dir",
            str(self.code_dir),
            "--log-format",
            "json",
            "--log-level",
            "warning",
        ]
        return [str(self.way.program), "-m", "streamfn", "run", *where, *behind, *more, *self._arguments]

    def environment(self) -> Mapping[str, str]:
        measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        paths = os.environ.get("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'connectors'}")
        more = {"AWS_ENDPOINT_URL": self.aws} if self.aws else {}
        return {**environment.credentials(self.data_dir, **more), **measured, "PYTHONPATH": paths}

    def clients(self, **more: str) -> Mapping[str, str]:
        """Variables of a client of this daemon."""
        aws = {"AWS_ENDPOINT_URL": self.aws} if self.aws else {}
        daemon = {"AWS_ENDPOINT_URL_LAMBDA": self.endpoint, "CODE_DIR": str(self.code_dir)}
        return environment.credentials(self.data_dir, **aws, **daemon, **more)

    def kill(self) -> None:
        """SIGKILL, to the daemon alone: what it started has to notice by itself."""
        self._stopped_by(signal.SIGKILL)

    def drain(self) -> int:
        """SIGTERM, and its code."""
        return self._stopped_by(signal.SIGTERM)

    def events(self) -> Sequence[Mapping[str, object]]:
        """What it has logged, of all its lives."""
        lines = self.log_path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _stopped_by(self, how: signal.Signals) -> int:
        process = self._process
        assert process is not None
        process.send_signal(how)
        code = process.wait(STOP_TIMEOUT)
        self._end(how)
        return code
