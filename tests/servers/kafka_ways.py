"""How a Kafka broker can be had here: an address, Java and Maven, or Docker; and whether one answers."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

POM = Path(__file__).with_name("kafka-pom.xml")
MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
ADDRESS_ENV = "STREAMFN_TEST_KAFKA"
HOST = "127.0.0.1"
USER = "alice"
PASSWORD = "alice-secret"
MAVEN_TIMEOUT = 600.0
READY_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Way:
    """How a broker can be had here."""

    kind: Literal["external", "java", "docker"]
    address: str = ""
    java: str = ""
    jars: Path | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What a broker lets a test do."""

    can_restart: bool
    """``stop``, ``kill``, ``start`` and ``freeze`` work."""
    sasl_bootstrap: str | None = None
    """SASL_PLAINTEXT with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512."""
    ssl_bootstrap: str | None = None
    """TLS with a self-made certificate for localhost."""
    ssl_cafile: Path | None = None
    sasl_username: str = USER
    sasl_password: str = PASSWORD


# --- Finding a way -------------------------------------------------------------------


def kafka_version() -> str:
    """The version named in the pom."""
    found = re.search(r"<kafka\.version>([^<]+)</", POM.read_text(encoding="utf-8"))
    assert found, f"no kafka.version in {POM}"
    return found.group(1)


def find_kafka() -> Way | str:
    """The way to a broker, or the reason (a ``str``) why there is none.

    The first call with Java and Maven fetches about 45 MB of jars; the answer is kept.
    """
    address = os.environ.get(ADDRESS_ENV, "").strip()
    if address:
        return Way("external", address=address)
    return _find_local()


@functools.cache
def _find_local() -> Way | str:
    reasons = []
    if os.name != "posix":
        reasons.append("a broker of one's own needs POSIX signals and locks")
    else:
        java = _find_java()
        if isinstance(java, Path):
            jars = resolve_jars()
            if isinstance(jars, Path):
                return Way("java", java=str(java), jars=jars)
            reasons.append(jars)
        else:
            reasons.append(java)
    docker = _docker_reason()
    if docker is None:
        return Way("docker")
    reasons.append(docker)
    return f"no Kafka: {ADDRESS_ENV} is not set; " + "; ".join(reasons)


def _find_java() -> Path | str:
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    on_path = shutil.which("java")
    if on_path:
        candidates.append(on_path)
    reason = "no java on PATH or in JAVA_HOME"
    for java in candidates:
        try:
            shown = subprocess.run(
                [java, "-version"], capture_output=True, text=True, timeout=30, check=True
            ).stderr
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"{java} does not run: {error}"
            continue
        found = re.search(r'version "(\d+)', shown)
        if found and int(found.group(1)) >= 17:
            return Path(java)
        reason = f"{java} is older than Java 17"
    return reason


def _cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "streamfn"


def resolve_jars() -> Path | str:
    """The folder with the broker's jars, filled by Maven once, or why there is none."""
    if sys.platform == "win32":  # narrows for the type checker: no fcntl there
        return "no file locks"
    import fcntl

    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    name = f"kafka-{kafka_version()}-{digest}"
    root = _cache_root()
    target = root / name
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        return "Java is here but not Maven (mvn) to fetch Kafka's jars"
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits while another run fetches
        if target.is_dir():
            return target
        for left in root.glob(f"{name}.tmp-*"):  # of a run that was interrupted
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{name}.tmp-", dir=root))
        try:
            command = [maven, "-q", "-B", "-f", str(POM), MAVEN_GOAL]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={work}"]
            try:
                done = subprocess.run(
                    command,
                    check=False,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=MAVEN_TIMEOUT,
                )
            except subprocess.TimeoutExpired:
                return f"Maven did not fetch Kafka's jars within {MAVEN_TIMEOUT:.0f} s"
            if done.returncode or not any(work.glob("kafka_*.jar")):
                said = (done.stdout + done.stderr).strip().splitlines()[:3]
                return "Maven could not fetch Kafka's jars: " + " | ".join(said)
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def _docker_reason() -> str | None:
    """None when Docker can be used, else why not."""
    docker = shutil.which("docker")
    if docker is None:
        return "no docker on PATH"
    try:
        asked = subprocess.run([docker, "info"], capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"docker does not answer: {error}"
    if asked.returncode:
        return "the Docker daemon does not answer"
    try:
        import testcontainers.core.container  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
    except ImportError:
        return "Docker answers, but the package testcontainers is not installed"
    return None


# --- Ports and readiness -------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Free loopback ports below the range for outgoing connections.

    Within that range a client that reconnects while the broker is down can be given the
    broker's own port, connect to itself and so keep the broker from coming back.
    """
    low = 32768
    with contextlib.suppress(OSError, ValueError):
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first = 15000 if low > 16000 else 1024
    picker = random.SystemRandom()
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            sock = socket.socket()
            port = picker.randrange(first, low) if low > first + 100 else 0
            try:
                sock.bind((HOST, port))
            except OSError:
                sock.close()
                continue
            held.append(sock)
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise OSError("connection closed")
        data += chunk
    return data


def broker_answers(address: str, timeout: float = 2.0) -> bool:
    """Whether a Metadata request is answered with at least one live broker."""
    host, _, port = address.split(",")[0].rpartition(":")
    client = b"streamfn-test"
    # Metadata v4, no topics, no auto-creation.
    body = struct.pack(">hhih", 3, 4, 1, len(client)) + client
    body += struct.pack(">ib", 0, 0)
    try:
        with socket.create_connection((host, int(port)), timeout=timeout) as sock:
            sock.settimeout(timeout)
            sock.sendall(struct.pack(">i", len(body)) + body)
            (size,) = struct.unpack(">i", _read_exactly(sock, 4))
            answer = _read_exactly(sock, size)
    except OSError:
        return False
    _correlation, _throttle, brokers = struct.unpack_from(">iii", answer)
    return bool(brokers > 0)


def run_to_end(command: list[str]) -> tuple[int, bytes]:
    """Run a tool to its end: its exit code and what it printed."""
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=READY_TIMEOUT,
    )
    return done.returncode, done.stdout


def new_cluster_id() -> str:

    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):  # would be read as an option
            return text
