"""Work that holds the writer of a database until it is let go."""

from __future__ import annotations

import threading

import anyio

from streamfn.stores.database import Transaction


class Gate:
    """`entered` is set when it runs; it ends when `opened` is."""

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.opened = threading.Event()

    def __call__(self, transaction: Transaction) -> None:
        anyio.from_thread.run_sync(self.entered.set)
        assert self.opened.wait(10)
