"""Asking a service of AWS now and then: opened when it is first needed, asked again while it is busy."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from streamfn.core.policies import Backoff
from streamfn.errors import ConfigurationError, SourceError
from streamfn_aws.api import Api
from streamfn_aws.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streamfn_aws.options import Connection

T = TypeVar("T")

_TRIES: Final = 8
_BACKOFF: Final = Backoff(first=0.2, factor=2.0, cap=5.0)
"""All tries together take some twenty seconds."""


class Asked:
    """A service by one connection, open from the first use until it is closed. Can be used again then."""

    def __init__(self, connection: Connection, service: str, name: str) -> None:
        """`name`: what people call the place that is asked for, in messages."""
        self._connection = connection
        self._service = service
        self._name = name
        self._opening = asyncio.Lock()
        self._api: Api | None = None
        self._resources = AsyncExitStack()

    async def api(self) -> Api:
        """Raises SourceError where there is nothing to ask it with: no credentials, no region."""
        async with self._opening:
            if self._api is None:
                try:
                    opened = Api.shared(self._connection, self._service)
                    self._api = await self._resources.enter_async_context(opened)
                except ConfigurationError as error:
                    raise SourceError(f"{self._name}: {error}", retryable=False) from error
            return self._api

    async def close(self) -> None:
        """Lets the connections go."""
        async with self._opening:
            self._api = None
            await self._resources.aclose()


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What a call comes to, made again while the service has too much to do or is away for a moment.

    Raises ServiceError, OSError.
    """
    for tried in range(1, _TRIES):
        try:
            return await call()
        except ServiceError as error:
            if not error.transient:
                raise
        await anyio.sleep(_BACKOFF.delay(tried) * random.uniform(0.5, 1.0))
    return await call()
