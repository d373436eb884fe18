"""What all destinations on AWS share: a connection, made with the first send, and how a send goes."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from urllib.parse import unquote

from streamfn.errors import ConfigurationError, SourceError
from streamfn.options import one_of, within
from streamfn.ports import FailureFormat, Message, SendFailure
from streamfn_aws.api import Api
from streamfn_aws.destinations.sending import Delivery, Entry, Fault, Limits, Refused
from streamfn_aws.errors import ServiceError, checking, source_error
from streamfn_aws.options import Connection, Resource, parsed_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROLE: Final = "Destination"

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_FORMATS: Final = {style.value: style for style in FailureFormat}


class AwsDestination(ABC):
    """Sends messages to one place, in batches.

    A send lasts `timeout` seconds at most: what is throttled or fails in passing goes again until then, and
    before what has to come after it. A call whose answer is lost is made again, so a message can be there
    twice. A message that is too large, or that the service refuses, fails alone and for good.
    """

    service: ClassVar[str]
    limits: Limits
    option_types: ClassVar[Mapping[str, type]] = {}
    """Options of the URI beside those of the connection and `timeout`."""

    failure_format = FailureFormat.METADATA

    def __init__(self, resource: Resource, timeout: float, connection: Mapping[str, Any]) -> None:
        self._resource = resource
        self._timeout = within("timeout", timeout, 0.1, 3600)
        self._connection = Connection.of(connection, resource.region)
        self._opening = asyncio.Lock()
        self._opened: tuple[Api, str] | None = None
        self._resources = AsyncExitStack()

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """The URI or ARN of the class, with its options as `?option=value`.

        Raises ConfigurationError naming the option and the fix.
        """
        _, given = parsed_uri(uri, ROLE, {**cls.option_types, "timeout": float})
        place = uri.partition("?")[0]
        if not place.startswith("arn:"):
            place = unquote(place.partition(":")[2].strip("/"))
        return cls(place, **given)  # type: ignore[arg-type]

    @property
    @abstractmethod
    def name(self) -> str: ...

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Those that were not taken; the others are durable on return.

        Raises OSError when out of reach, SourceError naming the fix where nothing can be sent at all.
        """
        until = asyncio.get_running_loop().time() + self._timeout
        failures: list[SendFailure] = []
        entries: list[Entry] = []
        for index, message in enumerate(messages):
            try:
                entries.append(self._entry(index, message))
            except Refused as error:
                failures.append(SendFailure(index, str(error), retryable=False))
        if entries:
            api, address = await self._open(until)
            post = partial(self._post, api, address)
            failures += await Delivery(self.name, self.limits, post, until).run(entries)
        return sorted(failures, key=lambda failure: failure.index)

    async def check(self) -> None:
        """Proves that it is there. Raises SourceError or ConfigurationError naming the fix."""
        with checking(self.name, ROLE):
            async with Api.shared(self._connection, self.service) as api:
                await self._look(api, await self._find(api))

    async def close(self) -> None:
        """Lets the connections go. What was sent is durable already."""
        async with self._opening:
            self._opened = None
            await self._resources.aclose()

    @abstractmethod
    def _entry(self, index: int, message: Message) -> Entry:
        """A message as the service wants it. Raises Refused."""

    @abstractmethod
    async def _post(self, api: Api, address: str, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        """Makes one call: those that were not taken, by their index. Raises ServiceError, OSError."""

    @abstractmethod
    async def _look(self, api: Api, address: str) -> None:
        """Asks for something of the destination. Raises ServiceError, OSError."""

    async def _find(self, api: Api) -> str:
        """What calls name it by. Raises ServiceError, OSError."""
        return self._resource.arn or self._resource.name

    async def _open(self, until: float) -> tuple[Api, str]:
        async with self._opening:
            if self._opened is None:
                async with AsyncExitStack() as resources:
                    try:
                        async with asyncio.timeout_at(until):
                            api = await resources.enter_async_context(
                                Api.shared(self._connection, self.service)
                            )
                            self._opened = api, await self._find(api)
                    except TimeoutError as error:
                        said = str(error) or f"no answer within {self._timeout:g} s"
                        raise TimeoutError(f"{self.name}: {said}") from None
                    except ConfigurationError as error:
                        raise SourceError(f"{self.name}: {error}", retryable=False) from error
                    except ServiceError as error:
                        raise source_error(self.name, error) from error
                    self._resources = resources.pop_all()
            return self._opened


def named(place: str, service: str, what: str, prefix: str = "") -> Resource:
    """What a name, `account/name` or an ARN of a service stands for; `prefix` is before the name in ARNs.

    Raises ConfigurationError.
    """
    resource, _ = parsed_uri(place if place.startswith("arn:") else f"{service}://{place}", ROLE, {})
    name = resource.name
    if resource.arn is not None:
        name = name.removeprefix(prefix) if name.startswith(prefix) else ""
    if resource.service != service or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{place!r} is no {what}",
            field=ROLE,
            fix=f"write its name or arn:aws:{service}:REGION:ACCOUNT:{prefix}NAME",
        )
    return replace(resource, name=name)


def format_of(said: str) -> FailureFormat:
    """Which on-failure record is to be sent. Raises ConfigurationError."""
    return _FORMATS[one_of("failure_format", said, _FORMATS)]
