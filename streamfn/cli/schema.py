"""`streamfn schema`: the JSON schema of `streamfn.yaml`, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from streamfn.cli import CLEAN

if TYPE_CHECKING:
    import argparse


def schema(_options: argparse.Namespace) -> int:
    """Prints it."""
    from streamfn.config.schema import schema as made

    print(orjson.dumps(made(), option=orjson.OPT_INDENT_2).decode())
    return CLEAN
