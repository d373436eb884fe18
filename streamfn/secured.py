"""A source or destination that is reached with secrets: they are fetched when it is first needed.

So a plan is made without I/O, a mapping that starts again has the secrets of that moment, and none of them
stands in a plan.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import anyio

from streamfn import addressing, plugins
from streamfn.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from streamfn.ports import (
        Assigned,
        Destination,
        FailureFormat,
        Message,
        Revoked,
        SendFailure,
        Source,
        StreamSource,
        Subscription,
    )

    Fetch = Callable[[], Awaitable[Mapping[str, str]]]
    """Gives the options to reach it; raises ConfigurationError, OSError."""

_KAFKA: Final = "kafka://"


def source(uri: str, options: Mapping[str, object], fetch: Fetch | None) -> Source:
    """The source a URI names, with secrets if there are some. Raises ConfigurationError."""
    if fetch is None or not uri.startswith(_KAFKA):
        return plugins.source(uri, options)

    def make(secrets: Mapping[str, str]) -> Source:
        return plugins.source(addressing.with_options(uri, secrets), options)

    plain = plugins.source(addressing.without_access(uri), options)
    return SecuredStream(cast("StreamSource", plain), fetch, cast("Callable[..., StreamSource]", make))


def destination(uri: str, options: Mapping[str, object], fetch: Fetch | None) -> Destination:
    """The destination a URI names, with secrets if there are some. Raises ConfigurationError."""
    if fetch is None or not uri.startswith(_KAFKA):
        return plugins.destination(uri, options)

    def make(secrets: Mapping[str, str]) -> Destination:
        return plugins.destination(addressing.with_options(uri, secrets), options)

    return SecuredDestination(plugins.destination(addressing.without_access(uri), options), fetch, make)


class SecuredStream:
    """A `StreamSource` under the name of another that has no secrets."""

    def __init__(
        self, plain: StreamSource, fetch: Fetch, make: Callable[[Mapping[str, str]], StreamSource]
    ) -> None:
        self.name = plain.name
        self._fetch = fetch
        self._make = make

    def __repr__(self) -> str:
        return f"<SecuredStream {self.name}>"

    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        """As the source itself. Raises SourceError, also where no secret can be had now."""
        async with (await self._made()).shards(subscription) as changes:
            yield changes

    async def check(self) -> None:
        await (await self._made()).check()

    async def _made(self) -> StreamSource:
        try:
            return self._make(await self._fetch())
        except OSError as error:
            raise SourceError(f"{self.name}: its secrets cannot be had: {error}") from error


class SecuredDestination:
    """A `Destination` under the name of another that has no secrets."""

    def __init__(
        self, plain: Destination, fetch: Fetch, make: Callable[[Mapping[str, str]], Destination]
    ) -> None:
        self.name = plain.name
        self.failure_format: FailureFormat = plain.failure_format
        self._fetch = fetch
        self._make = make
        self._opening = anyio.Lock()
        self._destination: Destination | None = None

    def __repr__(self) -> str:
        return f"<SecuredDestination {self.name}>"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        return await (await self._made()).send(messages)

    async def check(self) -> None:
        try:
            destination = await self._made()
        except OSError as error:
            raise SourceError(f"{self.name}: its secrets cannot be had: {error}") from error
        await destination.check()

    async def close(self) -> None:
        async with self._opening:
            destination, self._destination = self._destination, None
        if destination is not None:
            await destination.close()

    async def _made(self) -> Destination:
        async with self._opening:
            if self._destination is None:
                self._destination = self._make(await self._fetch())
            return self._destination
