"""docker-compose.yml as the tests see it: its services, and how to run one here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
OURS = ("setup", "worker", "producer")
"""Those that run this project."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def services(**variables: str) -> dict[str, dict[str, Any]]:
    """The services by name, with `variables` as what the shell would have set."""
    text = _VARIABLE.sub(lambda found: variables.get(found[1], found[2] or ""), FILE.read_text())
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


class Natively:
    """Runs services as processes here, with `places` in the place of the names they call each other."""

    def __init__(self, folder: Path, places: Mapping[str, str], **variables: str) -> None:
        self.folder = folder
        self._services = services(**variables)
        self._places = places

    def run(self, name: str) -> str:
        """A service that ends by itself: what it printed. It exits 0."""
        with self.started(name) as process:
            assert process.wait() == 0, self.log(name)
        return self.log(name)

    @contextmanager
    def started(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service for the length of the block; killed if it still runs then."""
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                self._services[name]["command"],
                cwd=ROOT,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def is_healthy(self, name: str) -> bool:
        """Whether the service's health check says so."""
        kind, *command = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        asked = subprocess.run(command, cwd=ROOT, env=self._environment(name), capture_output=True)
        return asked.returncode == 0

    def log(self, name: str) -> str:
        """What a service has written."""
        return self._log(name).read_text()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _environment(self, name: str) -> Mapping[str, str]:
        said = {key: str(value) for key, value in self._services[name]["environment"].items()}
        for place, here in self._places.items():
            said = {key: value.replace(place, here) for key, value in said.items()}
        kept = {key: os.environ[key] for key in ("HOME", "XDG_CACHE_HOME") if key in os.environ}
        image = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "connectors"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "STREAMFN_STATE_DIR": str(self.folder / "state"),
        }
        return {**kept, **image, **said}
