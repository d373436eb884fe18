"""A real Apache Kafka broker on loopback for tests.

``find_kafka()`` says by which way a broker can be had, in this order:

1. ``STREAMFN_TEST_KAFKA=host:port[,host:port]``: a broker that runs already;
2. Java 17 or newer, with Maven to fetch the jars once into the user's cache;
3. Docker, through testcontainers;

or gives the reason why there is none. ``KafkaServer`` runs it, from sync code.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.kafka_ways import (
    ADDRESS_ENV,
    HOST,
    PASSWORD,
    READY_TIMEOUT,
    USER,
    Features,
    Way,
    broker_answers,
    find_kafka,
    free_ports,
    kafka_version,
    new_cluster_id,
    run_to_end,
)

REQUIRE_ENV = "STREAMFN_REQUIRE_SERVERS"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
STOP_TIMEOUT = 20.0
LOG_TAIL_LINES = 40

SERVER_SETTINGS: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "broker.heartbeat.interval.ms": "250",
    # A killed broker may come back only when its old session has ended.
    "broker.session.timeout.ms": "3000",
    "group.initial.rebalance.delay.ms": "0",
    # Tests may ask for short sessions; a real broker's floors are 6 s and 45 s.
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.min.session.timeout.ms": "500",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.segment.delete.delay.ms": "1000",
    "num.io.threads": "4",
    "num.network.threads": "2",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
}


class KafkaStartError(RuntimeError):
    """The broker did not start; the message ends with the tail of its log."""


# --- Running a broker ----------------------------------------------------------------


@dataclass(eq=False)
class KafkaServer:
    """A broker for tests; a context manager that starts it and takes it away.

    ``stop``, ``kill`` and ``start`` keep the data and the ports. All methods block: call
    them from a sync fixture or through a worker thread.
    """

    way: Way
    settings: Mapping[str, str] = field(default_factory=dict)
    heap: str = "512m"
    data_dir: Path = field(init=False)
    bootstrap: str = field(init=False, default="")
    features: Features = field(init=False)
    _ports: list[int] = field(init=False, default_factory=list)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _guard: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _container: Any = field(init=False, default=None)
    _closed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.features = Features(can_restart=self.way.kind != "external")
        self.data_dir = Path(tempfile.mkdtemp(prefix="streamfn-kafka-"))
        atexit.register(self.close)
        if self.way.kind == "external":
            self.bootstrap = self.way.address
            return
        self._take_ports()

    def _take_ports(self) -> None:
        self._ports = free_ports(4)
        plain, sasl, ssl, _controller = self._ports
        self.bootstrap = f"{HOST}:{plain}"
        if self.way.kind == "java":
            self.features = Features(
                can_restart=True,
                sasl_bootstrap=f"{HOST}:{sasl}",
                ssl_bootstrap=f"{HOST}:{ssl}",
                ssl_cafile=self.data_dir / "ca.pem",
            )

    @property
    def log_path(self) -> Path:
        return self.data_dir / "server.log"

    @property
    def running(self) -> bool:
        if self.way.kind == "java":
            return self._process is not None and self._process.poll() is None
        return broker_answers(self.bootstrap)

    @property
    def pid(self) -> int | None:
        """The broker's process id, for a broker of our own."""
        return self._process.pid if self._process is not None else None

    # -- start, stop ------------------------------------------------------------------

    def start(self) -> None:
        """Start (again) and wait until a request is answered."""
        if self._closed:
            raise RuntimeError("this server was closed")
        if self.way.kind == "external":
            if not broker_answers(self.bootstrap, timeout=10):
                raise KafkaStartError(f"{ADDRESS_ENV}={self.bootstrap} does not answer")
        elif self.way.kind == "docker":
            self._start_container()
        elif not self.running:
            self._start_java()

    def stop(self) -> None:
        """Stop in an orderly way (SIGTERM) and wait for the end."""
        self._must_restart()
        if self.way.kind == "docker":
            self._container.get_wrapped_container().stop(timeout=int(STOP_TIMEOUT))
            return
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once (SIGKILL), as a crash would."""
        self._must_restart()
        if self.way.kind == "docker":
            self._container.get_wrapped_container().kill()
            return
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let the broker hang: connections stay open, nothing is answered."""
        self._must_restart()
        if self.way.kind == "docker":
            self._container.get_wrapped_container().pause()
        elif self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            # Under load some threads go on for a while, and could still answer.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        self._must_restart()
        if self.way.kind == "docker":
            self._container.get_wrapped_container().unpause()
        elif self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the broker and remove its data. May be called again."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        if self._container is not None:
            self._container.stop()
        self._end(signal.SIGKILL)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _must_restart(self) -> None:
        if not self.features.can_restart:
            raise RuntimeError(f"the broker at {ADDRESS_ENV} is not ours to stop")

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)  # a frozen one could not end
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    # -- Java -------------------------------------------------------------------------

    def _start_java(self) -> None:
        for attempt in range(3):
            fresh = not (self.data_dir / "data" / "meta.properties").exists()
            if fresh:
                self._format()
            try:
                self._launch()
                return
            except KafkaStartError as error:
                taken = "BindException" in str(error) or "failed to bind" in str(error)
                if not (fresh and taken) or attempt == 2:
                    raise
            # Another process took a port meanwhile; no client knows ours yet.
            shutil.rmtree(self.data_dir / "data", ignore_errors=True)
            self._take_ports()

    def _format(self) -> None:
        """Write the settings, make the certificate, format the storage."""
        config = self.data_dir / "server.properties"
        config.write_text(
            "".join(f"{key}={value}\n" for key, value in self._properties().items()),
            encoding="utf-8",
        )
        made = b""
        tls = None if (self.data_dir / "ca.pem").exists() else self._make_certificate()
        command = [self.way.java, *self._jvm("64m"), "kafka.tools.StorageTool"]
        command += ["format", "--standalone", "-t", new_cluster_id(), "-c", str(config)]
        for mechanism in SCRAM:
            command += ["--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"]
        try:
            code, said = run_to_end(command)
        finally:
            if tls is not None:
                made, _ = tls.communicate(timeout=READY_TIMEOUT)
        if code:
            raise KafkaStartError(f"format failed:\n{said.decode()}")
        if tls is not None:
            if tls.returncode:
                raise KafkaStartError(f"keytool failed:\n{made.decode()}")
            _, pem = run_to_end([*self._keytool("-exportcert"), "-rfc"])
            (self.data_dir / "ca.pem").write_bytes(pem)

    def _keytool(self, action: str) -> list[str]:
        store = self.data_dir / "server.p12"
        tool = Path(os.path.realpath(self.way.java)).with_name("keytool")
        command = [str(tool), action]
        command += ["-alias", "broker", "-keystore", str(store), "-storetype", "PKCS12"]
        return [*command, "-storepass", PASSWORD]

    def _make_certificate(self) -> subprocess.Popen[bytes]:
        command = self._keytool("-genkeypair")
        command += ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30"]
        command += ["-dname", "CN=localhost", "-ext", f"SAN=dns:localhost,ip:{HOST}"]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _properties(self) -> dict[str, str]:
        plain, sasl, ssl, controller = self._ports
        users = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
        login = "org.apache.kafka.common.security"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "log.dirs": str(self.data_dir / "data"),
            "listeners": f"PLAINTEXT://{HOST}:{plain},SASL://{HOST}:{sasl},"
            f"SSL://{HOST}:{ssl},CONTROLLER://{HOST}:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,"
            "SSL:SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "listener.name.sasl.sasl.enabled.mechanisms": ",".join(("PLAIN", *SCRAM)),
            "listener.name.sasl.plain.sasl.jaas.config": f"{login}.plain.PlainLoginModule required {users};",
            "listener.name.ssl.ssl.keystore.type": "PKCS12",
            "listener.name.ssl.ssl.keystore.location": f"{self.data_dir}/server.p12",
            "listener.name.ssl.ssl.keystore.password": PASSWORD,
            "listener.name.ssl.ssl.key.password": PASSWORD,
            **SERVER_SETTINGS,
            **self.settings,
        }
        for mechanism in SCRAM:
            key = f"listener.name.sasl.{mechanism.lower()}.sasl.jaas.config"
            properties[key] = f"{login}.scram.ScramLoginModule required;"
        return properties

    def _jvm(self, heap: str) -> list[str]:
        arguments = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        arguments += ["-Dorg.slf4j.simpleLogger.showDateTime=true"]
        return [*arguments, "-cp", f"{self.way.jars}/*"]

    def _launch(self) -> None:
        config = self.data_dir / "server.properties"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [self.way.java, *self._jvm(self.heap), "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data_dir,
                start_new_session=True,
            )
        # Ends the broker when this process goes away in a way that atexit does not see:
        # the pipe closes, whatever the cause.
        script = 'while read -r _; do :; done; kill -9 "$0"'
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", script, str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + READY_TIMEOUT
        while not broker_answers(self.bootstrap):
            try:
                self._process.wait(0.05)
                why = f"Kafka ended with code {self._process.returncode} while starting"
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                why = f"Kafka did not answer within {READY_TIMEOUT:.0f} s"
            self._end(signal.SIGKILL)
            raise KafkaStartError(f"{why}; its log ends:\n{self.log_tail()}")

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines that the broker wrote."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    # -- Docker -----------------------------------------------------------------------

    def _start_container(self) -> None:
        if self._container is None:
            from testcontainers.core.container import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
                DockerContainer,
            )

            port = self._ports[0]
            properties = {
                "process.roles": "broker,controller",
                "node.id": "1",
                "listeners": f"PLAINTEXT://:{port},CONTROLLER://:9093",
                "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "PLAINTEXT",
                "controller.listener.names": "CONTROLLER",
                "controller.quorum.voters": "1@localhost:9093",
                **SERVER_SETTINGS,
                **self.settings,
            }
            container: Any = DockerContainer(f"apache/kafka:{kafka_version()}")
            for key, value in properties.items():
                container.with_env("KAFKA_" + key.upper().replace(".", "_"), value)
            container.ports[f"{port}/tcp"] = (HOST, port)
            container.start()
            self._container = container
        else:
            self._container.get_wrapped_container().start()
        deadline = time.monotonic() + READY_TIMEOUT
        while not broker_answers(self.bootstrap):
            if time.monotonic() > deadline:
                said = b"".join(self._container.get_logs()).decode(errors="replace")
                raise KafkaStartError(f"Kafka in Docker did not answer; its log ends:\n{said[-4000:]}")
            threading.Event().wait(0.1)


# --- For fixtures and tests ----------------------------------------------------------


@contextlib.contextmanager
def run_kafka(settings: Mapping[str, str] | None = None) -> Iterator[KafkaServer]:
    """A running broker, for a sync fixture; skips the test with the reason if none.

    With ``STREAMFN_REQUIRE_SERVERS=1`` a missing broker fails the test instead.
    """
    import pytest

    way = find_kafka()
    if isinstance(way, str):
        if os.environ.get(REQUIRE_ENV, "") not in ("", "0"):
            pytest.fail(way, pytrace=False)
        pytest.skip(way)
    with KafkaServer(way, settings or {}) as server:
        yield server


def need_restart(server: KafkaServer) -> None:
    """Skip the calling test unless it may stop and start the broker."""
    import pytest

    if not server.features.can_restart:
        pytest.skip(f"{ADDRESS_ENV} names a broker that is not ours to stop")


def topic_name(prefix: str = "t") -> str:
    """A topic name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


async def create_topic(
    bootstrap: str,
    name: str | None = None,
    partitions: int = 1,
    config: Mapping[str, str] | None = None,
) -> str:
    """Create a topic, wait until each partition has a leader, return its name."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.errors import for_code

    name = name or topic_name()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topic = NewTopic(name, partitions, 1, topic_configs=dict(config or {}))
        answer = await admin.create_topics([topic])
        for _topic, code, *message in answer.topic_errors:
            if code:
                raise for_code(code)(*message)
        await _wait_for_leaders(admin, name, partitions)
    finally:
        await admin.close()
    return name


async def add_partitions(bootstrap: str, name: str, total: int) -> None:
    """Raise a topic's number of partitions to ``total`` and wait for their leaders."""
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_partitions({name: NewPartitions(total)})
        await _wait_for_leaders(admin, name, total)
    finally:
        await admin.close()


async def _wait_for_leaders(admin: Any, name: str, partitions: int) -> None:
    async with asyncio.timeout(15):
        while True:
            described = await admin.describe_topics([name])
            leaders = [p["leader"] for t in described for p in t["partitions"]]
            if len(leaders) == partitions and min(leaders) >= 0:
                return
            await asyncio.sleep(0.01)
