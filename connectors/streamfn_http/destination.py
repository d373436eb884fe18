"""An HTTP address as a destination."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Self

from streamfn.errors import SourceError
from streamfn.options import within
from streamfn.ports import Clock, Message, SendFailure
from streamfn_http.client import Client
from streamfn_http.options import (
    address,
    authorization,
    content_type,
    format_of,
    hidden,
    parsed_uri,
    proxy_address,
    trust,
)
from streamfn_http.requests import SIGNATURE, TIMESTAMP, Refused, Request, request_of
from streamfn_http.sending import Delivery
from streamfn_http.signing import keys_of, signatures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn_http.answers import Answer

_CONNECTING: Final = 5.0
"""Seconds within which somebody answers at the address."""


class HttpDestination:
    """Posts each message to one address: a webhook.

    What is answered with 2xx was taken. What is answered with 404, 408, 409, 429 or 5xx, or with nothing,
    goes again until the send's time is over, after `Retry-After` where 429 and 503 have one; any other answer
    refuses the message for good. Messages of one key keep their order within a send. A message whose answer
    is lost is sent again, so it can arrive twice: with the same `webhook-id`. That is made of its name, key,
    headers and body: equal messages are one, unless their names tell them apart.

    Keys and headers arrive as `streamfn_http.requests` says. With secrets the body, its id and the time of
    the request are signed as the Standard Webhooks specification says; keys and headers are not.

    `secret`: `whsec_BASE64`, or several while they are changed. `authorization`: the header of that name.
    `query`: what stands behind the ? of the address. `proxy`: an http: address to go through; those that
    only the environment names are not used. These four may be written `env:NAME`. `content_type`: of all
    bodies. `concurrency`: requests at a time. `failure_format`: which on-failure record is sent, `metadata`,
    `payload` or `record`. `timeout`: seconds that a send may take. `ca_bundle`: a file of certificates to
    trust; else the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | Sequence[str] | None = None,
        authorization: str | None = None,
        query: str | None = None,
        content_type: str = "application/json",
        concurrency: int = 10,
        failure_format: str = "record",
        timeout: float = 15.0,
        ca_bundle: str | None = None,
        proxy: str | None = None,
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
    ) -> None:
        self._address = address(url, query)
        self._keys = keys_of(secret)
        self._headers = _headers(content_type, authorization)
        self._width = int(within("concurrency", concurrency, 1, 1000))
        self._timeout = within("timeout", timeout, 0.1, 3600)
        self._clock = clock
        self.failure_format = format_of(failure_format)
        self._client = Client(
            self._address,
            trust(ca_bundle, self._address.is_tls),
            proxy_address(proxy),
            connections=self._width,
            # Whoever is not there is known to be so before the time is over.
            connecting=min(_CONNECTING, self._timeout / 2),
            hidden=hidden(dict(self._headers).get("Authorization", ""), self._address.query),
        )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`https://host/path?option=value`, with the options of the class; `secret` may come several times.

        Raises ConfigurationError naming the option and the fix.
        """
        url, given = parsed_uri(uri)
        return cls(url, **given)

    @property
    def name(self) -> str:
        return self._address.name

    def __repr__(self) -> str:
        return f"<HttpDestination {self.name}>"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Those that were not taken; the others were answered with 2xx.

        Raises OSError when no connection could be made and so nobody answered.
        """
        until = asyncio.get_running_loop().time() + self._timeout
        requests: list[Request] = []
        failures: list[SendFailure] = []
        for index, message in enumerate(messages):
            try:
                requests.append(request_of(index, message))
            except Refused as error:
                failures.append(SendFailure(index, str(error), retryable=False))
        failures += await Delivery(self._post, self._width, until, self._clock).run(requests)
        return sorted(failures, key=lambda failure: failure.index)

    async def check(self) -> None:
        """Proves that somebody is there: connects, with https: shakes hands, and hangs up; with a proxy that
        one is there. No request is made, since receivers would take any for a message, or refuse it.

        Raises SourceError.
        """
        try:
            await self._client.reach()
        except OSError as error:
            raise SourceError(str(error)) from error

    async def close(self) -> None:
        """Lets the connections go. What was sent is durable already."""
        await self._client.close()

    async def _post(self, request: Request, until: float) -> Answer:
        now = int(self._clock())
        headers = [*self._headers, *request.headers, (TIMESTAMP, str(now))]
        if self._keys:
            headers.append((SIGNATURE, signatures(self._keys, request.id, now, request.body)))
        return await self._client.post(headers, request.body, until)


def _headers(type_of_body: str, credentials: str | None) -> tuple[tuple[str, str], ...]:
    """Those that all requests have."""
    headers = [("Content-Type", content_type(type_of_body))]
    if (said := authorization(credentials)) is not None:
        headers.append(("Authorization", said))
    return tuple(headers)
