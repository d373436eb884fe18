"""Where messages go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.envelopes import FailureFormat
    from streamfn.core.records import Headers


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to a destination."""

    body: bytes
    key: str | None = None
    headers: Headers = ()
    name: str | None = None
    """What it is called where destinations name things: an object's key in S3."""


@dataclass(frozen=True, slots=True)
class SendFailure:
    """A message that was not taken."""

    index: int
    """Its place in what was to be sent."""
    reason: str
    retryable: bool = True


class Destination(Protocol):
    """Where messages go."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def failure_format(self) -> FailureFormat:
        """Which on-failure record it takes."""

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Those that were not taken; the others are durable when it returns. Raises OSError when out of
        reach.
        """

    async def check(self) -> None:
        """Proves that it can be reached. Raises SourceError or ConfigurationError naming the fix."""

    async def close(self) -> None:
        """Lets connections go. What was sent is durable already."""
