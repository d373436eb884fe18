"""How the servers for AWS tests are found and put into the cache; none of them is started here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.servers import aws, aws_process, aws_ways, elasticmq, kinesis_local
from tests.servers.aws import Ministack
from tests.servers.aws_process import LocalServer, ServerStartError
from tests.servers.aws_ways import Way

FINDERS: list[tuple[Any, str]] = [
    (aws.find_ministack, aws.ADDRESS_ENV),
    (elasticmq.find_elasticmq, elasticmq.ADDRESS_ENV),
    (kinesis_local.find_kinesis_local, kinesis_local.ADDRESS_ENV),
]


@pytest.mark.parametrize(("find", "address_env"), FINDERS)
def test_an_address_from_the_environment(
    find: Callable[[], Way | str], address_env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(address_env, "127.0.0.1:1")
    assert find() == Way("external", address="http://127.0.0.1:1")


def test_a_server_of_others_is_not_ours_to_stop() -> None:
    server = Ministack(Way("external", address="http://127.0.0.1:1"))
    assert not server.running
    for forbidden in (server.stop, server.kill, server.freeze, server.thaw):
        with pytest.raises(RuntimeError, match="not ours"):
            forbidden()
    with pytest.raises(ServerStartError, match="does not answer"), server:
        pass


def test_a_server_in_docker_is_reached_by_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = MagicMock()
    docker.return_value.ports = {}
    docker.return_value.get_logs.return_value = (b"said", b"")
    monkeypatch.setattr("testcontainers.core.container.DockerContainer", docker)
    monkeypatch.setattr(Ministack, "answers", lambda self, timeout=2.0: True)
    with Ministack(Way("docker")) as server:
        container = docker.return_value
        assert container.ports == {f"{server.port}/tcp": ("127.0.0.1", server.port)}
        container.with_env.assert_any_call("BIND_HOST", "0.0.0.0")
        for action in (server.stop, server.start, server.freeze, server.thaw, server.kill):
            action()
        assert server.log_tail() == "said"
    wrapped = container.get_wrapped_container.return_value
    assert [call[0] for call in wrapped.method_calls] == ["stop", "start", "pause", "unpause", "kill"]
    container.stop.assert_called_once_with()


@pytest.mark.parametrize(
    ("module", "find", "cache"),
    [(elasticmq, "find_elasticmq", "_jars"), (kinesis_local, "find_kinesis_local", "_package")],
)
def test_the_reason_when_there_is_no_way(
    module: Any,
    find: str,
    cache: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.delenv(module.ADDRESS_ENV, raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    getattr(module, cache).cache_clear()
    request.addfinalizer(getattr(module, cache).cache_clear)
    reason = getattr(module, find)()
    assert isinstance(reason, str)
    assert module.ADDRESS_ENV in reason
    monkeypatch.setenv(aws_process.REQUIRE_ENV, "1")
    with pytest.raises(pytest.fail.Exception, match="no "):
        aws_process.found(reason)
    monkeypatch.setenv(aws_process.REQUIRE_ENV, "0")
    with pytest.raises(pytest.skip.Exception, match="no "):
        aws_process.found(reason)


def test_the_cache_is_filled_once_and_never_by_half(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    filled: list[Path] = []

    def broken(folder: Path) -> str:
        (folder / "half").touch()
        return aws_ways.install("false-no-such-program") or "ran"

    def whole(folder: Path) -> None:
        filled.append(folder)
        (folder / "all").touch()

    assert "does not run" in str(aws_ways.cached("thing", broken))
    made = aws_ways.cached("thing", whole)
    assert made == aws_ways.cached("thing", whole) == tmp_path / "streamfn" / "thing"
    assert len(filled) == 1
    assert [path.name for path in made.iterdir()] == ["all"]
    assert {path.name for path in made.parent.iterdir()} == {"thing", "thing.lock"}


def test_what_an_installer_says_is_kept() -> None:
    assert aws_ways.install("true") is None
    assert aws_ways.install("sh", "-c", "echo one; echo two >&2; exit 3") == "two | one"


def test_no_setting_of_the_machine_reaches_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")

    class Telling(LocalServer):
        name = "telling"
        address_env = ""

        def command(self) -> list[str]:
            return ["sh", "-c", "env; exit 1"]

    with pytest.raises(ServerStartError) as caught, Telling(Way("process")):
        pass
    assert "PATH=" in str(caught.value)
    assert "AWS_" not in str(caught.value)
