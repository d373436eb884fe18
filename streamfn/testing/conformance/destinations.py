"""What every destination does."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import Destination, FailureFormat, Message
from streamfn.testing.conformance.features import DestinationFeatures, needs
from streamfn.testing.conformance.payloads import HEADERS, KEYS, texts
from streamfn.testing.conformance.reading import messages, tasks

if TYPE_CHECKING:
    from streamfn.testing.conformance.harness import DestinationHarness


class DestinationSuite:
    """All that is promised of a `Destination`. Subclass it with `features` and a fixture `harness`."""

    features: ClassVar[DestinationFeatures] = DestinationFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> DestinationHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def bodies(self, harness: DestinationHarness) -> list[bytes]:
        return sorted(message.body for message in await harness.received())

    async def send(self, destination: Destination, *sent: Message) -> None:
        assert list(await destination.send(sent)) == []

    async def test_a_destination_says_what_it_is(self, harness: DestinationHarness) -> None:
        """Destination.name and Destination.failure_format."""
        destination = harness.destination()
        assert destination.name
        assert isinstance(destination.failure_format, FailureFormat)
        await destination.close()

    async def test_check_proves_that_it_can_be_reached(self, harness: DestinationHarness) -> None:
        """Destination.check, which sends nothing."""
        destination = harness.destination()
        async with harness.within(self.features.patience):
            await destination.check()
        await destination.close()
        assert await self.bodies(harness) == []

    async def test_check_says_when_it_cannot_be_reached(self, harness: DestinationHarness) -> None:
        """Destination.check raises SourceError or ConfigurationError."""
        needs(self.features.unreachable, "an address where nobody answers")
        destination = harness.unreachable()
        async with harness.within(self.features.patience):
            with pytest.raises((SourceError, ConfigurationError)) as error:
                await destination.check()
        assert str(error.value)
        await destination.close()

    async def test_sending_to_nobody_raises(self, harness: DestinationHarness) -> None:
        """Destination.send raises OSError when out of reach, and does not wait for ever."""
        needs(self.features.unreachable, "an address where nobody answers")
        destination = harness.unreachable()
        async with harness.within(self.features.patience):
            with pytest.raises(OSError, match=r".*"):
                await destination.send(messages(1))
        await destination.close()

    async def test_what_is_sent_is_durable_when_send_returns(self, harness: DestinationHarness) -> None:
        """Destination.send: the others are durable when it returns, without a flush or a close."""
        destination = harness.destination()
        await self.send(destination, *messages(5))
        assert await self.bodies(harness) == sorted(message.body for message in messages(5))
        await destination.close()

    async def test_sending_nothing_is_nothing(self, harness: DestinationHarness) -> None:
        """Destination.send: those not taken of none are none."""
        destination = harness.destination()
        await self.send(destination)
        assert await self.bodies(harness) == []
        await destination.close()

    async def test_payloads_arrive_as_they_were_sent(self, harness: DestinationHarness) -> None:
        """Message.body: empty, unicode and the largest payload, byte for byte."""
        values = [*texts(self.features.any_text), b"x" * self.features.max_payload]
        destination = harness.destination()
        for value in values:
            await self.send(destination, Message(value))
        assert await self.bodies(harness) == sorted(values)
        await destination.close()

    async def test_keys_arrive(self, harness: DestinationHarness) -> None:
        """Message.key."""
        needs(self.features.keys, "keys")
        destination = harness.destination()
        await self.send(destination, *(Message(b"{}", key) for key in KEYS))
        assert sorted(message.key or "" for message in await harness.received()) == sorted(KEYS)
        await destination.close()

    async def test_headers_arrive(self, harness: DestinationHarness) -> None:
        """Message.headers: in order, duplicates kept."""
        needs(self.features.headers, "headers")
        destination = harness.destination()
        await self.send(destination, Message(b"{}", None, HEADERS))
        assert [tuple(message.headers) for message in await harness.received()] == [HEADERS]
        await destination.close()

    async def test_what_is_refused_is_named_by_its_place(self, harness: DestinationHarness) -> None:
        """SendFailure.index: its place in what was to be sent; the others are taken."""
        needs(self.features.refusing, "messages that are refused")
        destination = harness.destination()
        good = messages(4)
        mixed = [good[0], harness.refused(), good[1], good[2], harness.refused(), good[3]]
        failures = await destination.send(mixed)
        assert sorted(failure.index for failure in failures) == [1, 4]
        assert all(failure.reason and not failure.retryable for failure in failures)
        assert await self.bodies(harness) == sorted(message.body for message in good)
        await self.send(destination, *messages(1, 9))
        await destination.close()

    async def test_many_send_at_once(self, harness: DestinationHarness) -> None:
        """Destination.send: calls may overlap, and each speaks for its own messages."""
        destination = harness.destination()
        async with harness.within(6 * self.features.patience), tasks() as group:
            for first in range(0, 1000, 20):
                group.start_soon(self.send, destination, *messages(20, first))
        assert await self.bodies(harness) == sorted(message.body for message in messages(1000))
        await destination.close()

    async def test_closing_ends_it_and_may_be_repeated(self, harness: DestinationHarness) -> None:
        """Destination.close: lets connections go; what was sent is durable already; unused ones close too."""
        unused = harness.destination()
        await unused.close()
        destination = harness.destination()
        await self.send(destination, *messages(2))
        await destination.close()
        await destination.close()
        another = harness.destination()
        await self.send(another, *messages(1, 2))
        await another.close()
        assert await self.bodies(harness) == [b"0", b"1", b"2"]
