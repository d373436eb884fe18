"""The connections to one address, and one request over them."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)
from anyio import to_thread
from yarl import URL

from streamfn_http.answers import Answer, excerpt
from streamfn_http.sending import Lost, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn_http.options import Address

_READ: Final = 64 * 1024
"""Bytes of an answer that are read, so that its connection can be used again."""
_READING: Final = 1.0
"""Seconds for that. A message is taken or not by then: its status has come."""
_SHOWN: Final = 1024
"""Bytes of it that are looked at."""

_LARGE: Final = 2**20
"""Bytes of a body that the client wants to read piece by piece."""

_TRUST: Final = ". Fix: if it is the right one, give its certificate as ca_bundle"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole."""

    answer: Answer
    headers: Mapping[str, str]
    """By names in any case."""
    body: bytes | None
    """None: it was longer than was asked for."""


class Client:
    """Sends requests to one address. Connects with the first, and again after `close`.

    Proxies and passwords that only the environment names are not used, cookies not kept, redirects not
    followed.
    """

    def __init__(
        self,
        address: Address,
        trust: ssl.SSLContext | None,
        proxy: str | None,
        *,
        connections: int,
        connecting: float,
        hidden: Sequence[str],
        kept: float = 15.0,
    ) -> None:
        """`connections`: at a time, 0 for any number. `connecting`: seconds within which one is there.
        `kept`: seconds for which an unused one stays. `hidden`: what is never shown.
        """
        self._address = address
        self._url = URL(address.url, encoded=True)
        self._trust = trust
        self._proxy = None if proxy is None else URL(proxy)
        self._connections = connections
        self._connecting = connecting
        self._hidden = hidden
        self._kept = kept
        self._session: ClientSession | None = None
        self._opening = asyncio.Lock()

    async def post(self, headers: Sequence[tuple[str, str]], body: bytes, until: float) -> Answer:
        """The answer to a request, which has to come until an instant of the loop's clock.

        Raises Unreachable, Lost and TimeoutError.
        """
        response = await self._sent(headers, body, until)
        try:
            beginning = await self._read(response, until)
        finally:
            # Read to its end, it has given its connection back already.
            response.close()
        return Answer(
            response.status,
            response.reason or "",
            response.headers.get("Retry-After"),
            excerpt(beginning[:_SHOWN], self._hidden),
        )

    async def ask(self, headers: Sequence[tuple[str, str]], body: bytes, until: float, most: int) -> Reply:
        """As `post`, but with the body of the answer, as far as it has no more than `most` bytes."""
        response = await self._sent(headers, body, until)
        try:
            async with asyncio.timeout_at(until):
                whole = await _whole(response, most)
        except ClientError as error:
            why = str(error) or type(error).__name__
            raise Lost(f"{self._address.name}: the answer broke off: {why}") from error
        except TimeoutError:
            raise TimeoutError(f"{self._address.name}: no whole answer in time") from None
        finally:
            response.close()
        answer = Answer(
            response.status,
            response.reason or "",
            response.headers.get("Retry-After"),
            excerpt((whole or b"")[:_SHOWN], self._hidden),
        )
        return Reply(answer, response.headers, whole)

    async def _sent(self, headers: Sequence[tuple[str, str]], body: bytes, until: float) -> ClientResponse:
        name = self._address.name
        try:
            async with asyncio.timeout_at(until):
                session = await self._opened()
                data = BytesIO(body) if len(body) >= _LARGE else body
                return await session.post(
                    self._url, headers=headers, data=data, proxy=self._proxy, allow_redirects=False
                )
        # What some of these would say themselves has the query of the address in it.
        except ConnectionTimeoutError:
            raise Unreachable(self._slow()) from None
        except ClientConnectorError as error:
            raise Unreachable(f"{name}: {said(error)}") from error
        except ClientHttpProxyError as error:
            raise Unreachable(f"{name}: the proxy answers {error.status} {error.message}") from None
        except ClientResponseError as error:
            raise Lost(f"{name}: what came is no answer of HTTP: {error.message}") from None
        except ClientError as error:
            raise Lost(f"{name}: {str(error) or type(error).__name__}") from error
        except TimeoutError:
            raise TimeoutError(f"{name}: no answer in time") from None

    async def reach(self) -> None:
        """Connects, to the proxy if there is one, and hangs up. Raises OSError."""
        host, port, trust = self._address.host, self._address.port, await self._context()
        if self._proxy is not None:
            host, port, trust = self._proxy.host or "", self._proxy.port or 80, None
        try:
            async with asyncio.timeout(self._connecting):
                _, writer = await asyncio.open_connection(host, port, ssl=trust)
        except TimeoutError:
            raise Unreachable(self._slow()) from None
        except OSError as error:
            raise Unreachable(f"{self._address.name}: {said(error)}") from error
        writer.transport.abort()

    async def close(self) -> None:
        """Lets the connections go."""
        async with self._opening:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    async def _opened(self) -> ClientSession:
        async with self._opening:
            if self._session is None:
                trust = await self._context()
                self._session = ClientSession(
                    connector=TCPConnector(
                        limit=self._connections,
                        keepalive_timeout=self._kept,
                        ssl=True if trust is None else trust,
                    ),
                    timeout=ClientTimeout(total=None, sock_connect=self._connecting),
                    cookie_jar=DummyCookieJar(),
                    headers={"User-Agent": "streamfn", "Accept-Encoding": "identity"},
                    auto_decompress=False,
                    trust_env=False,
                )
            return self._session

    async def _context(self) -> ssl.SSLContext | None:
        if self._address.is_tls and self._trust is None:
            # It reads all certificates of the system.
            self._trust = await to_thread.run_sync(ssl.create_default_context)
        return self._trust

    async def _read(self, response: ClientResponse, until: float) -> bytes:
        """What it begins with, as far as it comes at once."""
        read = bytearray()
        end = min(until, asyncio.get_running_loop().time() + _READING)
        # The status says it all, and has come. What is missing would have been for people.
        with suppress(ClientError, TimeoutError):
            async with asyncio.timeout_at(end):
                while len(read) < _READ and (piece := await response.content.read(_READ - len(read))):
                    read += piece
        return bytes(read)

    def _slow(self) -> str:
        return f"{self._address.name}: nobody answers within {self._connecting:g} s"


async def _whole(response: ClientResponse, most: int) -> bytes | None:
    """The body; None where it is longer than `most` bytes."""
    read = bytearray()
    while piece := await response.content.readany():
        read += piece
        if len(read) > most:
            return None
    return bytes(read)


def said(error: OSError) -> str:
    """Why no connection came about, and the fix where one is known."""
    cause: Exception = error
    if isinstance(error, ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, ClientConnectorError):
        cause = error.os_error
    fix = _TRUST if isinstance(cause, ssl.SSLCertVerificationError) else ""
    return f"{str(cause) or type(cause).__name__}{fix}"
