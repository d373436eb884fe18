"""`streamfn seal`: encrypts the value of a variable, for a streamfn.yaml."""

from __future__ import annotations

import asyncio
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from streamfn import plugins
from streamfn.cli import CLEAN
from streamfn.errors import StreamfnError
from streamfn.stores.keys import own_key, seal_text

if TYPE_CHECKING:
    import argparse


def seal(options: argparse.Namespace) -> int:
    """Prints the sealed text. The value is typed in, or comes through a pipe, so that no history has it."""
    state_dir = Path(options.state_dir or ".streamfn")
    try:
        key = plugins.key(options.key, {"state_dir": state_dir}) if options.key else own_key(state_dir)
        value = getpass.getpass(f"{options.name}: ") if sys.stdin.isatty() else sys.stdin.read().rstrip("\n")
        print(asyncio.run(seal_text(options.name, value, key)))
    except OSError as error:
        raise StreamfnError(f"the key is out of reach: {error}") from error
    return CLEAN
