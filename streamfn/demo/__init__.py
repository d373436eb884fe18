"""`streamfn demo`: 336,776 real records through the embedded broker, and what became of each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] = ()) -> int:
    """Runs the demo. 0: every record is accounted for; 1: not; 2: the arguments or the file are wrong."""
    from streamfn.demo.command import demo

    return demo(arguments)
