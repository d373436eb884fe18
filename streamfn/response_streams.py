"""A streamed answer on its way from a function to one reader, held in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

_ENOUGH: Final = 262_144
"""Bytes that are held for a reader before the function is held back."""


class PieceStream:
    """Takes pieces as `streamfn.ports.ResponseStream` promises, and gives them to one reader in order.

    A reader that is slow holds the function back, within its timeout. One that has gone does not: the
    function goes on, as on Lambda, and what it writes is dropped (Developer Guide:
    configuration-response-streaming).
    """

    def __init__(self) -> None:
        self.request_id = ""
        """Of the invocation, as soon as there is one."""
        self.version = ""
        self.content_type: str | None = None
        """None: nothing has been streamed."""
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._abandoned = False
        self._settled = asyncio.Event()
        self._news = asyncio.Event()
        self._call: Callable[[], None] | None = None

    # The function's side

    def begin(self, content_type: str) -> None:
        """See the port."""
        self.content_type = content_type
        self._settled.set()

    def write(self, piece: bytes) -> bool:
        """See the port."""
        if self._abandoned:
            return True
        self._pieces.append(piece)
        self._held += len(piece)
        self._news.set()
        return self._held < _ENOUGH

    def when_read(self, call: Callable[[], None]) -> None:
        """See the port."""
        self._call = call

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._settled.set()
        self._news.set()

    # The reader's side

    async def settled(self) -> bool:
        """Waits until the function begins to stream, or ends without: which of the two."""
        await self._settled.wait()
        return self.content_type is not None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """All pieces, each as soon as it is there, until nothing more comes."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                if self._held < _ENOUGH:
                    self._let_on()
                yield piece
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    def abandon(self) -> None:
        """Nobody reads any more."""
        self._abandoned = True
        self._pieces.clear()
        self._held = 0
        self._let_on()

    def _let_on(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()
