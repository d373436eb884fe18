"""A server for tests in a container, where Docker answers and nothing nearer can be had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.kafka_ways import HOST

STOP_TIMEOUT = 20


class Container:
    """One container, at one port of loopback; it keeps its files until ``remove``."""

    def __init__(
        self, image: str, port: int, environment: Mapping[str, str], files: Mapping[Path, str]
    ) -> None:
        from testcontainers.core.container import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            DockerContainer,
        )

        self._made: Any = DockerContainer(image)
        for key, value in environment.items():
            self._made.with_env(key, value)
        for here, inside in files.items():
            self._made.with_volume_mapping(str(here), inside, "rw")
        ports: dict[str, Any] = self._made.ports
        ports[f"{port}/tcp"] = (HOST, port)
        self._started = False

    @property
    def running(self) -> bool:
        """Whether it runs, frozen or not."""
        if not self._started:
            return False
        wrapped = self._made.get_wrapped_container()
        wrapped.reload()
        return wrapped.status in ("running", "paused")

    def start(self) -> None:
        """Start (again); it may not answer yet."""
        if self._started:
            self._made.get_wrapped_container().start()
        else:
            self._made.start()
            self._started = True

    def stop(self) -> None:
        """In an orderly way."""
        self._made.get_wrapped_container().stop(timeout=STOP_TIMEOUT)

    def kill(self) -> None:
        """At once."""
        self._made.get_wrapped_container().kill()

    def freeze(self) -> None:
        """It hangs."""
        self._made.get_wrapped_container().pause()

    def thaw(self) -> None:
        """It goes on."""
        self._made.get_wrapped_container().unpause()

    def log(self) -> str:
        """All that it wrote."""
        return b"".join(self._made.get_logs()).decode(errors="replace") if self._started else ""

    def remove(self) -> None:
        """Take it away with its files."""
        if self._started:
            self._made.stop()
            self._started = False
