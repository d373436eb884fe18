"""kinesis-local on loopback for tests: Kinesis with resharding, shard filters and child shards.

``find_kinesis_local()`` says by which way it can be had, in this order:

1. ``STREAMFN_TEST_KINESIS=host:port``: a Kinesis that answers already;
2. Node.js, with npm to fetch the package once into the user's cache;

or gives the reason why there is none.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from tests.servers.aws import ACCOUNT, REGION, AwsServer
from tests.servers.aws_process import found
from tests.servers.aws_ways import Way, find_way, node_modules
from tests.servers.kafka_ways import HOST, free_ports

ADDRESS_ENV = "STREAMFN_TEST_KINESIS"
PACKAGE = Path(__file__).with_name("kinesis_local-package.json")
LOCK = Path(__file__).with_name("kinesis_local-package-lock.json")

# It would listen on all interfaces, and has no setting for that.
MAIN = f"""
const net = require("node:net"), listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {{
  return listen.call(this, port, "{HOST}", ...rest);
}};
require("./main.js");
"""

CHANGES = (
    *("CREATE_STREAM", "DELETE_STREAM", "MERGE_SHARDS", "SPLIT_SHARD", "UPDATE_SHARD_COUNT"),
    *("REGISTER_STREAM_CONSUMER", "DEREGISTER_STREAM_CONSUMER", "UPDATE_STREAM_MODE"),
)


def find_kinesis_local() -> Way | str:
    """The way to a Kinesis that reshards, or the reason (a ``str``) why there is none."""
    return find_way("kinesis-local", ADDRESS_ENV, _package)


@functools.cache
def _package() -> Path | str:
    modules = node_modules("kinesis-local", PACKAGE, LOCK)
    return modules if isinstance(modules, str) else modules / "kinesis-local"


class KinesisLocal(AwsServer):
    """kinesis-local, in memory: ``start`` after ``stop`` or ``kill`` begins with no stream.

    A change of a stream or of its shards takes 50 ms.
    """

    name: ClassVar[str] = "kinesis-local"
    address_env: ClassVar[str] = ADDRESS_ENV
    ready_path: ClassVar[str] = "/healthcheck"

    def command(self) -> list[str]:
        return [shutil.which("node") or "node", "-e", MAIN]

    @property
    def folder(self) -> Path:
        return self.way.program  # where its certificate is

    def environment(self) -> Mapping[str, str]:
        (tls,) = free_ports(1)
        return {
            "KINESIS_MOCK_PLAIN_PORT": str(self.port),
            "KINESIS_MOCK_TLS_PORT": str(tls),
            "AWS_REGION": REGION,
            "AWS_ACCOUNT_ID": ACCOUNT,
            "LOG_LEVEL": "WARN",
            **{f"{change}_DURATION": "50ms" for change in CHANGES},
        }


@contextlib.contextmanager
def run_kinesis_local() -> Iterator[KinesisLocal]:
    """A running kinesis-local, for a sync fixture; skips the test with the reason if there is none."""
    with KinesisLocal(found(find_kinesis_local())) as server:
        yield server
