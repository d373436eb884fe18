"""docker-compose.yml, Dockerfile and .dockerignore say what can work, without an engine to ask."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamfn import cli
from tests.compose.compose import FILE, OURS, ROOT, services

SERVICES = services()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KEYS = {
    "build",
    "command",
    "depends_on",
    "environment",
    "healthcheck",
    "image",
    "init",
    "restart",
    "stop_grace_period",
    "volumes",
}
"""Of a service, those of the Compose Specification that we use: another is a slip, or new here."""
CHECK = {"test", "interval", "timeout", "retries", "start_period"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
OF_THE_SDK = {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)(s|m)", text)
    assert found, text
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_compose_itself_takes_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not here")
    subprocess.run([docker, "compose", "-f", FILE, "config", "--quiet"], check=True, capture_output=True)


def test_the_file_has_services_and_volumes_and_nothing_unknown() -> None:
    document: Mapping[str, Any] = yaml.safe_load(FILE.read_text())
    assert set(document) == {"x-streamfn", "services", "volumes"}
    assert set(SERVICES) == {*OURS, "kafka", "aws"}
    named = {volume.partition(":")[0] for each in SERVICES.values() for volume in each.get("volumes", ())}
    assert named == set(document["volumes"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_what_compose_knows(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= KEYS
    for other, how in service.get("depends_on", {}).items():
        assert set(how) == {"condition"}
        assert how["condition"] in CONDITIONS
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert "restart" not in SERVICES[other]
    for name_, value in service["environment"].items():
        # Compose takes neither null nor true here without a second thought; a number it makes text of.
        assert isinstance(value, str | int), name_
        assert not isinstance(value, bool), name_


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ("setup", "producer")])
def test_what_goes_on_running_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert set(check) <= CHECK
    assert check["test"][0] == "CMD"
    assert all(isinstance(word, str) for word in check["test"])
    for length in ("interval", "timeout"):
        assert seconds(check[length]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert tag
    assert tag != "latest"


def test_the_servers_are_those_of_the_tests() -> None:
    kafka = re.search(r"<kafka\.version>(.+)</", (ROOT / "tests/servers/kafka-pom.xml").read_text())
    assert kafka is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka[1]}"
    ministack = re.search(r"(?m)^ministack==([^\s]+)", (ROOT / "requirements/servers.txt").read_text())
    assert ministack is not None
    assert SERVICES["aws"]["image"] == f"ministackorg/ministack:{ministack[1]}"


def test_services_start_one_after_another() -> None:
    def before(name: str) -> Iterator[str]:
        for other in SERVICES[name].get("depends_on", {}):
            yield other
            yield from before(other)

    assert set(before("producer")) == {"worker", "setup", "kafka", "aws"}
    assert set(before("setup")) == {"kafka", "aws"}


def test_every_variable_is_used_and_every_one_that_is_used_is_set() -> None:
    for name in OURS:
        text = next(
            (ROOT / word).read_text() for word in SERVICES[name]["command"] if word.startswith("examples/")
        )
        used = set(re.findall(r"os\.environ\[[\"'](\w+)[\"']\]", text))
        given = set(SERVICES[name]["environment"])
        assert used <= given
        assert given - used == OF_THE_SDK


def test_the_worker_has_the_time_that_a_drain_takes() -> None:
    worker = SERVICES["worker"]
    assert worker["command"][0] == "streamfn"
    cli._parser().parse_args(worker["command"][1:])
    longest_poll, to_say_goodbye = 20, 5
    grace = float(option(worker["command"], "--grace"))
    assert grace >= longest_poll + to_say_goodbye
    assert seconds(worker["stop_grace_period"]) >= grace + 2 * to_say_goodbye
    # An app of a shell would not hear of the signal.
    assert all(isinstance(SERVICES[name]["command"], list) for name in OURS)


def test_kafka_is_one_node_of_both_roles() -> None:
    said = SERVICES["kafka"]["environment"]

    def names(listed: str) -> set[str]:
        return {part.partition(":")[0] for part in listed.split(",")}

    assert names(said["KAFKA_LISTENERS"]) == names(said["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"])
    assert said["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    assert said["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{said['KAFKA_NODE_ID']}@kafka:9093"
    assert len(said["CLUSTER_ID"]) == 22
    (volume,) = SERVICES["kafka"]["volumes"]
    assert volume.partition(":")[2] == said["KAFKA_LOG_DIRS"]
    assert SERVICES["aws"]["volumes"] == [f"aws:{SERVICES['aws']['environment']['STATE_DIR']}"]


# ---------------------------------------------------------------------------------------------- the image


def copied() -> list[str]:
    """What the image is made of."""
    lines = re.findall(r"(?m)^COPY (?!--from)(.+)$", DOCKERFILE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_is_pinned_and_small_and_nobodys_root() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    assert set(bases) == {"python:3.13-slim-bookworm"}
    assert len(bases) == 2
    users = re.findall(r"(?m)^USER (\d+):(\d+)$", DOCKERFILE)
    assert len(users) == 1
    assert "0" not in users[0]
    assert "--require-hashes" in DOCKERFILE


def test_all_that_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert set(copied()) == let_in
    # The packages are not here where the wheel is tested.
    assert {path for path in let_in if not (ROOT / path).exists()} <= {"streamfn", "connectors"}


def test_the_commands_find_their_files_in_the_image() -> None:
    for name in OURS:
        files = [word for word in SERVICES[name]["command"] if word.endswith(".py")]
        assert len(files) == 1
        assert Path(files[0]).parent.as_posix() in copied()


@pytest.mark.parametrize("path", sorted((ROOT / "examples/compose").glob("*.py")), ids=lambda path: path.name)
def test_each_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
