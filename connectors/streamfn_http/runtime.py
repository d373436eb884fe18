"""A function behind an HTTP address, as a runtime."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from streamfn.core.outcomes import Cause
from streamfn.errors import SourceError
from streamfn.options import within
from streamfn.ports import Answer, Clock, Deployment, Request
from streamfn_http.client import Client
from streamfn_http.invoking import LARGEST_ANSWER, Protocol, failed, timed_out, too_large
from streamfn_http.options import (
    CODE,
    RUNTIME_TYPES,
    address,
    authorization,
    hidden,
    parsed_uri,
    proxy_address,
    trust,
)
from streamfn_http.sending import Lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_CONNECTING: Final = 5.0
"""Seconds within which somebody answers at the address."""
_KEPT: Final = 4.0
"""Seconds for which an unused connection is kept: less than the five after which most servers close theirs,
for an invocation on its way to a closed one would be lost.
"""


class HttpRuntime:
    """Posts each event to one address, whose answer is the function's: a service, a container with the
    Runtime Interface Emulator, another streamfn.

    What is answered with 2xx is a result; 429, and 503 with Retry-After, say that nothing ran; any other
    answer is a failure, and so is a connection that breaks after the event was sent, when the function may
    have run. `streamfn_http.invoking` has the whole table. An answer that is no JSON is taken for the text
    that it is. Its environments are places for invocations: what runs them, the service itself knows. The
    Runtime Interface Emulator is one environment: let its own timeout be the shorter one, since what is cut
    off here goes on there, and give the function a reserved concurrency of 1.

    `timeout`: seconds of one invocation. `capacity`: invocations of one environment at a time.
    `authorization`, `query`, `proxy` (these three may be written `env:NAME`) and `ca_bundle`: as
    `HttpDestination` has them.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 3.0,
        capacity: int = 1,
        authorization: str | None = None,
        query: str | None = None,
        ca_bundle: str | None = None,
        proxy: str | None = None,
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
    ) -> None:
        self._address = address(url, query, CODE)
        self._timeout = within("timeout", timeout, 0.1, 5400)
        self._capacity = int(within("capacity", capacity, 1, 10_000))
        self._headers = _headers(authorization)
        self._protocol = Protocol(self._address.name)
        self._clock = clock
        self._places = 0
        self._client = Client(
            self._address,
            trust(ca_bundle, self._address.is_tls),
            proxy_address(proxy),
            connections=0,
            connecting=min(_CONNECTING, self._timeout / 2),
            hidden=hidden(dict(self._headers).get("Authorization", ""), self._address.query),
            kept=_KEPT,
        )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`https://host/path?option=value`, with the options of the class; what is not given is as the
        `deployment` among the options says.

        Raises ConfigurationError naming the option and the fix.
        """
        url, given = parsed_uri(uri, RUNTIME_TYPES, CODE)
        deployment = options.get("deployment")
        usual: dict[str, Any] = {}
        if isinstance(deployment, Deployment):
            usual = {"timeout": deployment.timeout, "capacity": deployment.maximum_concurrency}
        return cls(url, **{**usual, **given})

    @property
    def name(self) -> str:
        return self._address.name

    def __repr__(self) -> str:
        return f"<HttpRuntime {self.name}>"

    @asynccontextmanager
    async def environment(self, *, provisioned: bool = False) -> AsyncIterator[HttpEnvironment]:
        """A place for invocations. Raises OSError where nobody answers at the address, and where an emulator
        has one already.
        """
        if self._protocol.emulates and self._places:
            # Asked twice at a time, it would end with a panic.
            raise OSError(f"{self.name}: the emulator is one environment, which is in use")
        self._places += 1
        try:
            await self._client.reach()
            yield HttpEnvironment(self)
        finally:
            self._places -= 1

    async def check(self) -> None:
        """Proves that somebody is there: connects and hangs up. Nothing is invoked. Raises SourceError."""
        try:
            await self._client.reach()
        except OSError as error:
            raise SourceError(str(error)) from error

    async def close(self) -> None:
        """Lets the connections go."""
        await self._client.close()

    async def _invoke(self, request: Request) -> Answer:
        answer = too_large(request)
        if answer is not None:
            return answer
        now = self._clock()
        headers = [*self._headers, *self._protocol.headers(request, now + self._timeout)]
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            reply = await self._client.ask(headers, request.payload, until, LARGEST_ANSWER)
        except TimeoutError:
            return timed_out(request, f"Task timed out after {self._timeout:.2f} seconds")
        except Lost as error:
            return failed(request, "Http.ConnectionLost", str(error), Cause.CRASH)
        return self._protocol.answer(request, reply, self._clock())


class HttpEnvironment:
    """A place for invocations of a function behind an address."""

    ready = True
    """It is initialised elsewhere, or within its first invocation."""

    def __init__(self, runtime: HttpRuntime) -> None:
        self._runtime = runtime

    @property
    def capacity(self) -> int:
        return self._runtime._capacity  # noqa: SLF001 - both are one runtime

    async def invoke(self, request: Request) -> Answer:
        """Raises OSError where no connection could be made, so that nothing ran."""
        return await self._runtime._invoke(request)  # noqa: SLF001


def _headers(credentials: str | None) -> tuple[tuple[str, str], ...]:
    """Those that all requests have."""
    said = authorization(credentials)
    return () if said is None else (("Authorization", said),)
