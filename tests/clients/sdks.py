"""SDKs of other languages than Python: packages that are fetched once, and the program that uses them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.clients.environment import PROGRAMS
from tests.servers import kafka_ways
from tests.servers.aws_ways import Way, cached, digest, install, node_modules
from tests.servers.kafka_ways import MAVEN_GOAL

PACKAGE = Path(__file__).with_name("javascript-package.json")
LOCK = Path(__file__).with_name("javascript-package-lock.json")
POM = Path(__file__).with_name("java-pom.xml")
PATIENCE = 90.0


@functools.cache
def find_javascript() -> Way | str:
    """The folder of the AWS SDK for JavaScript, or why there is none. The first call fetches about 4 MB."""
    modules = node_modules("sdk-javascript", PACKAGE, LOCK)
    return modules if isinstance(modules, str) else Way("process", program=modules)


def has_compiler() -> bool:
    """Whether Java is one that can run a program from its source: tests need no more than a JRE elsewhere."""
    java = kafka_ways._find_java()
    return isinstance(java, Path) and java.with_name("javac").exists()


@functools.cache
def find_java() -> Way | str:
    """The folder of the AWS SDK for Java, or why there is none. The first call fetches about 14 MB."""
    java = kafka_ways._find_java()
    if isinstance(java, str):
        return java
    folder = cached(f"sdk-java-{digest(POM)}", _fetch_java)
    return folder if isinstance(folder, str) else Way("process", program=folder)


def _fetch_java(folder: Path) -> str | None:
    maven = shutil.which("mvn")
    if maven is None:
        return "Java is here but not Maven (mvn) to fetch the AWS SDK"
    command = (maven, "-q", "-B", "-f", POM, MAVEN_GOAL)
    failed = install(*command, "-DincludeScope=runtime", f"-DoutputDirectory={folder}")
    return f"Maven could not fetch the AWS SDK: {failed}" if failed else None


def javascript(modules: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    """The command of the program in JavaScript, and its variables."""
    return [shutil.which("node") or "node", str(PROGRAMS / "javascript.cjs")], {"NODE_PATH": str(modules)}


def java(jars: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    """The command of the program in Java, and its variables."""
    settings = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m")
    program = str(PROGRAMS / "Java.java")
    return [str(kafka_ways._find_java()), *settings, "-cp", f"{jars}{os.sep}*", program], {}


def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """A program to its end: its code, and all that it wrote."""
    try:
        done = subprocess.run(
            command,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        return 1, f"{error.output!r}\nit did not end within {PATIENCE:.0f} s"
    return done.returncode, done.stdout
