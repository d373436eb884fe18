"""Templates as text, loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from streamfn.templates import Stack, Template, load

Load = Callable[..., Template]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def work(text: str, name: str = "template.yaml", **parameters: str) -> Template:
        path = tmp_path / name
        path.write_text(text)
        return load(path, parameters, Stack("shop"))

    return work
