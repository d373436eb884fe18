"""The HTTP destination passes the suite of destinations, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from streamfn.ports import Destination, Message
from streamfn.testing.conformance import DestinationFeatures, DestinationHarness, DestinationSuite
from streamfn_http import HttpDestination
from tests.http.receiver import Got, Receiver, answer, nobody, receiving

POISON = Message(b"nobody wants this")


class HttpHarness(DestinationHarness):
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        receiver.usual = self.judge

    def destination(self) -> Destination:
        return HttpDestination(self.receiver.url)

    async def received(self) -> Sequence[Message]:
        return [got.message for got in self.receiver.got if got.body != POISON.body]

    def refused(self) -> Message:
        return POISON

    def unreachable(self) -> Destination:
        return HttpDestination(nobody())

    async def judge(self, got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(400, b"poison") if got.body == POISON.body else answer(200, b'{"ok":true}'))
        await writer.drain()


class TestHttpDestination(DestinationSuite):
    features = DestinationFeatures(max_payload=2**22)

    @pytest.fixture
    async def harness(self) -> AsyncIterator[HttpHarness]:
        async with receiving() as receiver:
            yield HttpHarness(receiver)
