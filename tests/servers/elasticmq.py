"""ElasticMQ on loopback for tests: a second opinion on SQS, FIFO queues above all.

``find_elasticmq()`` says by which way it can be had, in this order:

1. ``STREAMFN_TEST_SQS=host:port``: an SQS that answers already;
2. Java 17 or newer, with Maven to fetch the jars once into the user's cache;
3. Docker, through testcontainers;

or gives the reason why there is none.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tests.servers import kafka_ways
from tests.servers.aws import ACCOUNT, REGION, AwsServer
from tests.servers.aws_docker import Container
from tests.servers.aws_process import found
from tests.servers.aws_ways import Way, cached, digest, find_way, install
from tests.servers.kafka_ways import HOST, MAVEN_GOAL

ADDRESS_ENV = "STREAMFN_TEST_SQS"
POM = Path(__file__).with_name("elasticmq-pom.xml")

CONFIG = """\
include classpath("application.conf")
node-address {{ protocol = http, host = "{host}", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-hostname = "{bind}", bind-port = {port}, sqs-limits = strict }}
rest-stats {{ enabled = false }}
queues-storage {{ enabled = false }}
aws {{ region = "{region}", accountId = "{account}" }}
"""


def elasticmq_version() -> str:
    """The version named in the pom."""
    named = re.search(r"<elasticmq\.version>([^<]+)</", POM.read_text(encoding="utf-8"))
    assert named, f"no elasticmq.version in {POM}"
    return named.group(1)


def find_elasticmq() -> Way | str:
    """The way to a second SQS for tests, or the reason (a ``str``) why there is none."""
    return find_way("ElasticMQ", ADDRESS_ENV, _jars, docker=True)


@functools.cache
def _jars() -> Path | str:
    java = kafka_ways._find_java()
    if isinstance(java, str):
        return java
    return cached(f"elasticmq-{digest(POM)}", _fetch_jars)


def _fetch_jars(folder: Path) -> str | None:
    maven = shutil.which("mvn")
    if maven is None:
        return "Java is here but not Maven (mvn) to fetch the jars"
    command = (maven, "-q", "-B", "-f", POM, MAVEN_GOAL)
    failed = install(*command, "-DincludeScope=runtime", f"-DoutputDirectory={folder}")
    return f"Maven could not fetch the jars: {failed}" if failed else None


class ElasticMQ(AwsServer):
    """ElasticMQ, in memory: ``start`` after ``stop`` or ``kill`` begins with no queue."""

    name: ClassVar[str] = "elasticmq"
    address_env: ClassVar[str] = ADDRESS_ENV
    ready_path: ClassVar[str] = "/health"

    def command(self) -> list[str]:
        config = self._configure()
        java = [str(kafka_ways._find_java()), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        settings = [f"-Dconfig.file={config}", f"-Djava.io.tmpdir={self.data_dir}"]
        return [*java, *settings, "-cp", f"{self.way.program}/*", "org.elasticmq.server.Main"]

    def container(self) -> Container:
        image = f"softwaremill/elasticmq:{elasticmq_version()}"
        return Container(image, self.port, {}, {self._configure(): "/opt/elasticmq.conf"})

    def _configure(self) -> Path:
        config = self.data_dir / "elasticmq.conf"
        fields = {"host": HOST, "bind": self.bind_host, "port": self.port}
        config.write_text(CONFIG.format(**fields, region=REGION, account=ACCOUNT), encoding="utf-8")
        return config


@contextlib.contextmanager
def run_elasticmq() -> Iterator[ElasticMQ]:
    """A running ElasticMQ, for a sync fixture; skips the test with the reason if there is none."""
    with ElasticMQ(found(find_elasticmq())) as server:
        yield server
