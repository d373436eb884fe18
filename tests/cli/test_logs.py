"""Log lines: nothing that is logged is lost because it cannot be rendered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from streamfn.cli import logs


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    import logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(capsys: pytest.CaptureFixture[str], **values: Any) -> dict[str, Any]:
    logs.configure("info", "json")
    structlog.get_logger("test").info("seen", **values)
    line: dict[str, Any] = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("seen", "info")
    return line


POSITION = 49590338271490256608559692538361571095921575989136588898 << 24


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, 7),
        (True, True),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (POSITION, str(POSITION)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        ({"shard": [POSITION, 1, None]}, {"shard": [str(POSITION), 1, None]}),
        ((1.5, (2**64,)), [1.5, [str(2**64)]]),
        ({POSITION: "x", 5: True}, {str(POSITION): "x", "5": True}),
        (b"\xffx", "\ufffdx"),
        ([b"x", POSITION], ["x", str(POSITION)]),
        ("\udcffk", "\\udcffk"),
        ({1}, "{1}"),
        ([{1}, POSITION], ["{1}", str(POSITION)]),
    ],
    ids=repr,
)
def test_whatever_is_logged_is_rendered(
    capsys: pytest.CaptureFixture[str], value: object, shown: object
) -> None:
    assert logged(capsys, value=value)["value"] == shown
