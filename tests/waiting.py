"""Waiting for what a server or another process does, which rings no bell here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

PATIENCE = 30.0


async def until(holds: Callable[[], object | Awaitable[object]], seconds: float = PATIENCE) -> None:
    """Asks again and again until it holds; AssertionError after so many seconds."""
    with anyio.move_on_after(seconds):
        while True:
            answer = holds()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return
            await anyio.sleep(0.02)
    raise AssertionError(f"not within {seconds} seconds")
