"""Our own way to AWS for the calls that records pass through.

The SDK checks and converts every field of every answer, which costs more than everything else on a record's
way. Here an answer is read as JSON, and that is all. What makes a call AWS's stays the SDK's: its endpoint,
credentials and error codes, and its signature, which `signing` makes in fewer steps.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from anyio import to_thread
from botocore.httpsession import create_urllib3_context
from botocore.parsers import create_parser
from botocore.utils import get_environ_proxies

from streamfn_aws.errors import ServiceError
from streamfn_aws.eventstream import EventStream
from streamfn_aws.http import Http
from streamfn_aws.signing import Signer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from aiobotocore.session import AioSession

HOT: Final = frozenset(
    {
        "ReceiveMessage",
        "DeleteMessageBatch",
        "ChangeMessageVisibilityBatch",
        "GetRecords",
    }
)
"""Operations that take this way. All of them may be made twice: then nothing else happens than once."""


class Lean:
    """One service of the JSON protocol by HTTP, signed as the SDK signs."""

    def __init__(self, client: Any, session: AioSession, http: Http, events: aiohttp.ClientSession) -> None:
        service = client.meta.service_model
        self._url: str = client.meta.endpoint_url.rstrip("/") + "/"
        self._session = session
        self._http = http
        self._events = events
        self._target: str = service.metadata.get("targetPrefix", "")
        version = service.metadata.get("jsonVersion", "1.0")
        self._signer = Signer(
            self._url, client.meta.region_name, service.signing_name, f"application/x-amz-json-{version}"
        )
        self._errors = create_parser("json")

    @classmethod
    @asynccontextmanager
    async def opened(cls, client: Any, session: AioSession, ca_bundle: str | None) -> AsyncIterator[Lean]:
        """It, while the block lasts."""
        url = client.meta.endpoint_url
        tls = await to_thread.run_sync(_tls, ca_bundle) if url.startswith("https") else None
        async with AsyncExitStack() as resources:
            http = await resources.enter_async_context(Http.opened(url, tls))
            connector = aiohttp.TCPConnector(limit=0, ssl=tls or True)
            events = await resources.enter_async_context(
                aiohttp.ClientSession(connector=connector, proxy=proxy_of(url))
            )
            yield cls(client, session, http, events)

    async def call(self, operation: str, parameters: Mapping[str, Any], patience: float) -> Any:
        """The answer. Raises ServiceError, OSError."""
        body = orjson.dumps(parameters)
        answer = await self._http.ask(await self._head(operation, body) + body, patience)
        if answer.status >= 300:
            raise self._error(operation, answer.status, answer.headers(), answer.body)
        return orjson.loads(answer.body) if answer.body else {}

    @asynccontextmanager
    async def stream(self, operation: str, parameters: Mapping[str, Any]) -> AsyncIterator[EventStream]:
        """The events of an answer. Raises ServiceError, OSError."""
        body = orjson.dumps(parameters)
        lines = (await self._head(operation, body)).decode().split("\r\n")[1:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        waits = aiohttp.ClientTimeout(total=None, sock_connect=5)
        # Opened here and not in the caller's block, so that only the way there is translated.
        try:
            response = await self._events.post(self._url, data=body, headers=headers, timeout=waits)
            refusal = await response.read() if response.status >= 300 else b""
        except aiohttp.ClientError as error:
            raise OSError(f"{self._url}: {type(error).__name__}: {error}") from error
        async with response:
            if response.status >= 300:
                said = {name.lower(): value for name, value in response.headers.items()}
                raise self._error(operation, response.status, said, refusal)
            yield EventStream(operation, response.content)

    async def _head(self, operation: str, body: bytes) -> bytes:
        credentials = await self._session.get_credentials()
        frozen = await credentials.get_frozen_credentials()
        return self._signer.head(f"{self._target}.{operation}", body, frozen)

    def _error(self, operation: str, status: int, headers: dict[str, str], body: bytes) -> ServiceError:
        try:
            answer = {"status_code": status, "headers": headers, "body": body}
            said = self._errors.parse(answer, None).get("Error", {})
        except (ValueError, AttributeError):  # something in between answers in words of its own
            said = {}
        return ServiceError(operation, said.get("Code") or str(status), said.get("Message") or "", status)


def proxy_of(url: str) -> str | None:
    """The HTTP proxy on the way to an address, as the SDK finds it: in the environment."""
    found: str | None = get_environ_proxies(url).get(urlsplit(url).scheme)
    return found


def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    context: ssl.SSLContext = create_urllib3_context()
    if ca_bundle is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca_bundle)
    return context
