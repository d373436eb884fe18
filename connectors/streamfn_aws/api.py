"""Calling AWS: one seam with two ways behind it.

Answers come in the form they have on the wire whichever way they took: blobs as base64 text, instants as
epoch seconds. A call that fails raises `ServiceError` for the service's own answer, OSError where none came,
and ConfigurationError where there is nothing to sign with.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from functools import cache, partial
from ssl import SSLError
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import anyio
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from aiohttp import ClientConnectorError
from anyio import to_thread
from botocore import xform_name
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.exceptions import SSLError as BotocoreSslError
from botocore.loaders import Loader, create_loader

from streamfn.errors import ConfigurationError
from streamfn_aws.errors import ServiceError
from streamfn_aws.lean import HOT, Lean, proxy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from streamfn_aws.eventstream import EventStream
    from streamfn_aws.options import Connection

_TRIES: Final = 3
_PAUSE: Final = 0.1
"""Seconds before the second try of a call that nothing came of; the third waits twice as long."""

_LONGEST_POLL: Final = 20.0
_SILENCES: Final = {"lambda": 6000.0}
"""Seconds after which a connection without a word is given up: functions are silent while they run."""


_HEADERS: Final[ContextVar[Mapping[str, str]]] = ContextVar(
    "streamfn_aws.headers", default=MappingProxyType({})
)
"""Of the call that is being made."""


class Unreachable(OSError):
    """No connection could be made, so that the call was not."""


class Api:
    """One service of AWS, by one connection.

    A call is made again, twice at most, when the service failed or could not be reached. Throttling is the
    caller's to answer: only it knows what can wait.
    """

    def __init__(self, client: Any, lean: Lean, *, hot: frozenset[str]) -> None:
        self.region: str = client.meta.region_name
        self.endpoint: str = client.meta.endpoint_url
        self._client = client
        self._lean = lean
        self._hot = hot

    @classmethod
    @asynccontextmanager
    async def shared(cls, connection: Connection, service: str) -> AsyncIterator[Api]:
        """The client of a service in this event loop: made by the first who asks, closed by the last to
        leave.

        Raises ConfigurationError where profile, region or credentials are wrong.
        """
        shares = _shares.setdefault(asyncio.get_running_loop(), {})
        share = shares.setdefault((connection, service), _Share())
        share.users += 1
        try:
            async with share.lock:
                if share.api is None:
                    share.api = await share.resources.enter_async_context(_opened(connection, service))
            yield share.api
        finally:
            share.users -= 1
            if share.users == 0:
                # Whoever asks from now on opens one of its own.
                del shares[connection, service]
                with anyio.CancelScope(shield=True):
                    await share.resources.aclose()

    async def call(self, operation: str, parameters: Mapping[str, Any], *, patience: float = 10.0) -> Any:
        """The answer to a call. Each try may take `patience` seconds.

        Calls that records pass through (`lean.HOT`) must be safe to be made twice.
        """
        call = self._lean.call if operation in self._hot else self._by_botocore
        for left in reversed(range(_TRIES)):
            try:
                try:
                    return await call(operation, parameters, patience)
                except (ClientError, BotoCoreError) as error:
                    # From either way: both ask the SDK for credentials, which may ask for a role.
                    raise self._translated(error) from error
            except ServiceError as error:
                if not left or error.status < 500 or error.throttled:
                    raise
            except OSError:
                if not left:
                    raise
            await asyncio.sleep(_PAUSE * (_TRIES - left) * random.uniform(0.5, 1.0))
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    async def call_once(
        self,
        operation: str,
        parameters: Mapping[str, Any],
        *,
        patience: float,
        headers: Mapping[str, str],
    ) -> Any:
        """The answer to a call that is not made again, for it may have had its effect. Raises Unreachable
        where it had none for certain. `headers`: those that the SDK has no parameter for.
        """
        token = _HEADERS.set(headers)
        try:
            return await self._by_botocore(operation, parameters, patience)
        except (ClientError, BotoCoreError) as error:
            raise self._translated(error) from error
        finally:
            _HEADERS.reset(token)

    @asynccontextmanager
    async def stream(self, operation: str, parameters: Mapping[str, Any]) -> AsyncIterator[EventStream]:
        """The events that a call is answered with, as long as they come. Always by our own HTTP: what comes
        there can be waited for and cancelled without a loss.
        """
        try:
            async with self._lean.stream(operation, parameters) as events:
                yield events
        except (ClientError, BotoCoreError) as error:
            raise self._translated(error) from error

    async def _by_botocore(self, operation: str, parameters: Mapping[str, Any], patience: float) -> Any:
        call = getattr(self._client, xform_name(operation))
        try:
            async with asyncio.timeout(patience):
                return await call(**parameters)
        except TimeoutError as error:
            raise TimeoutError(f"{self.endpoint}: no answer within {patience:g} s") from error

    def _translated(self, error: Exception) -> Exception:
        match error:
            case ClientError():
                said, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
                # Not always the operation that was called: a role is asked for by another.
                return ServiceError(
                    error.operation_name,
                    said.get("Code", ""),
                    said.get("Message", ""),
                    meta.get("HTTPStatusCode", 0),
                    error.response,
                )
            case BotocoreConnectionError() if _unconnected(error):
                return Unreachable(f"{self.endpoint}: {error}")
            case BotocoreConnectionError() | HTTPClientError():
                return OSError(f"{self.endpoint}: {error}")
            case _:
                return _configuration(error)


@asynccontextmanager
async def _opened(connection: Connection, service: str) -> AsyncIterator[Api]:
    try:
        session = await _session(connection, service)
    except BotoCoreError as error:
        raise _configuration(error) from error
    bundle: str | None = connection.ca_bundle or session.get_config_variable("ca_bundle")
    async with AsyncExitStack() as resources:
        try:
            client = await resources.enter_async_context(_client(session, connection, service))
            client.meta.events.register("before-call", _add_headers)
            if await _credentials(session) is None:
                raise NoCredentialsError
            lean = await resources.enter_async_context(Lean.opened(client, session, bundle))
        except SSLError as error:
            raise _no_bundle(bundle) from error
        except FileNotFoundError as error:
            # A program that a profile names is told by its name, a file of certificates is not.
            raise (_configuration(error) if error.filename else _no_bundle(bundle)) from error
        except (BotoCoreError, ValueError) as error:
            raise _configuration(error) from error
        # Our HTTP knows no proxies, the SDK's does.
        is_lean = connection.transport == "lean" and proxy_of(client.meta.endpoint_url) is None
        yield Api(client, lean, hot=HOT if is_lean else frozenset())


async def _session(connection: Connection, service: str) -> AioSession:
    session = AioSession(profile=connection.profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    await to_thread.run_sync(_load_models, session, service)
    # As on the wire: base64 goes into events as it came, and an instant is a number there.
    session.get_component("response_parser_factory").set_parser_defaults(
        blob_parser=lambda text: text, timestamp_parser=lambda instant: instant
    )
    if connection.access_key_id is not None and connection.secret_access_key is not None:
        session.set_credentials(
            connection.access_key_id, connection.secret_access_key, connection.session_token
        )
    if connection.role_arn is not None:
        await _take_on(session, connection)
    return session


@cache
def _loader(data_path: str | None) -> Loader:
    """One for all sessions of the process: it keeps what it reads, and a model takes a tenth of a second."""
    loader: Loader = create_loader(data_path)
    return loader


def _load_models(session: AioSession, service: str) -> None:
    """What the SDK needs to know of a service. It takes a good tenth of a second: not for the loop."""
    loader = session.get_component("data_loader")
    for name in ("_retry", "endpoints", "partitions", "sdk-default-configuration"):
        loader.load_data_with_path(name)
    for kind in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model(service, kind)


async def _take_on(session: AioSession, connection: Connection) -> None:
    source = await _credentials(session)
    if source is None:
        raise NoCredentialsError
    asked = {"RoleSessionName": connection.role_session_name}
    if connection.external_id is not None:
        asked["ExternalId"] = connection.external_id
    create = partial(
        session.create_client,
        region_name=connection.region,
        endpoint_url=connection.sts_endpoint_url,
        verify=connection.ca_bundle,
        config=AioConfig(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2}),
    )
    fetcher = AioAssumeRoleCredentialFetcher(create, source, connection.role_arn, extra_args=asked)
    session._credentials = AioDeferredRefreshableCredentials(  # noqa: SLF001 - as the SDK's own resolver does
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )


async def _credentials(session: AioSession) -> Any:
    return await session.get_credentials()


def _client(session: AioSession, connection: Connection, service: str) -> Any:
    config = AioConfig(
        # Tries are counted here (`Api.call`), and timed too.
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=_SILENCES.get(service, _LONGEST_POLL + 40),
        # A long poll keeps a connection for itself.
        max_pool_connections=1000,
        parameter_validation=True,
        tcp_keepalive=True,
        # A server of one name has none for each bucket: `http://bucket.emulator:4566` leads nowhere.
        s3={"addressing_style": "path"} if connection.endpoint_url else None,
    )
    return session.create_client(
        service,
        region_name=connection.region,
        endpoint_url=connection.endpoint_url,
        verify=connection.ca_bundle,
        config=config,
    )


def _unconnected(error: BotocoreConnectionError) -> bool:
    """Whether no connection was made. The SDK says of broken ones too that it could not connect."""
    if isinstance(error, EndpointConnectionError):
        return isinstance(error.kwargs.get("error"), ClientConnectorError)
    return isinstance(error, ConnectTimeoutError | ProxyConnectionError | BotocoreSslError)


def _add_headers(params: dict[str, Any], **_: object) -> None:
    params["headers"].update(_HEADERS.get())


def _configuration(error: Exception) -> ConfigurationError:
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            return ConfigurationError(
                "there are no credentials for AWS",
                field="access_key_id",
                fix="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile; "
                "an emulator takes any",
            )
        case NoRegionError():
            return ConfigurationError(
                "no region is given",
                field="region",
                fix="add region=us-east-1 or the like, or set AWS_DEFAULT_REGION",
            )
        case ProfileNotFound():
            return ConfigurationError(str(error), field="profile", fix="check ~/.aws/config, or remove it")
        case CredentialRetrievalError() | TokenRetrievalError() | FileNotFoundError():
            return ConfigurationError(
                str(error), field="profile", fix="log in again, or check what the profile names"
            )
        case _:
            return ConfigurationError(f"{type(error).__name__}: {error}", field="Source", fix="change it")


def _no_bundle(path: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"there are no certificates in {path}", field="ca_bundle", fix="name a file of certificates as PEM"
    )


class _Share:
    """A client, and how many use it."""

    def __init__(self) -> None:
        self.users = 0
        self.api: Api | None = None
        self.lock = asyncio.Lock()
        self.resources = AsyncExitStack()


_shares: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Connection, str], _Share]] = (
    WeakKeyDictionary()
)
"""The clients of each event loop: a client lives and dies with its loop."""
