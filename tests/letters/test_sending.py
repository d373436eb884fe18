"""Sending with patience."""

from __future__ import annotations

from collections.abc import Sequence

from streamfn.errors import PayloadTooLarge, SourceError
from streamfn.letters.sending import TRIES, Delivery, deliver
from streamfn.ports import Message, SendFailure
from streamfn.testing.memory import MemoryDestination


async def test_messages_that_fail_are_sent_again() -> None:
    destination = MemoryDestination()
    destination.fail_indexes(1)
    destination.fail_next_sends(1)
    assert await deliver(destination, [Message(b"0"), Message(b"1")]) == Delivery()
    assert [message.body for message in destination.messages] == [b"0", b"1"]


async def test_what_is_refused_is_told_by_its_place() -> None:
    destination = MemoryDestination(max_size=3)
    destination.fail_indexes(0, times=TRIES)
    delivery = await deliver(destination, [Message(b"a"), Message(b"long"), Message(b"b")])
    assert delivery.failures == {0: "refused", 1: "above 3 bytes"}
    assert delivery.out_of_reach is None
    assert [message.body for message in destination.messages] == [b"b"]


async def test_one_that_is_too_large_does_not_hold_back_the_others() -> None:
    class Strict(MemoryDestination):
        async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
            if any(len(message.body) > 3 for message in messages):
                raise PayloadTooLarge("above 3 bytes")
            return await super().send(messages)

    strict = Strict()
    delivery = await deliver(strict, [Message(b"a"), Message(b"b"), Message(b"long"), Message(b"c")])
    assert delivery.failures == {2: "above 3 bytes"}
    assert [message.body for message in strict.messages] == [b"a", b"b", b"c"]


async def test_what_is_down_for_good_is_not_asked_again() -> None:
    destination = MemoryDestination()
    destination.fail_next_sends(1, SourceError("denied", retryable=False))
    delivery = await deliver(destination, [Message(b"a")])
    assert delivery.out_of_reach == "destination cannot be reached: denied"
    assert delivery.failures == {0: "destination cannot be reached: denied"}
    assert len(destination.sends) == 1
