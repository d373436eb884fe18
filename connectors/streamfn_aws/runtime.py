"""A function on AWS Lambda, as a runtime."""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import orjson
from aiohttp import ClientError
from botocore.exceptions import BotoCoreError

from streamfn.core.outcomes import Cause, Failed, Succeeded, Throttled
from streamfn.errors import ConfigurationError
from streamfn.options import text, within
from streamfn.ports import Answer, Deployment, Request
from streamfn_aws.api import Api, Unreachable
from streamfn_aws.errors import ServiceError, checking
from streamfn_aws.options import Connection, ConnectionOptions, parsed_uri

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ROLE: Final = "Code"

_MARGIN: Final = 25.0
"""Seconds for all that AWS does not count as the function's time: two inits of ten, and the way there."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,140}(:(\$LATEST|[A-Za-z0-9_-]{1,128}))?")
_ARN: Final = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:" + _NAME.pattern)
_OF_THE_EVENT: Final = frozenset(
    {
        "InvalidRequestContentException",
        "RecursiveInvocationException",
        "RequestTooLargeException",
        "SerializedRequestEntityTooLargeException",
        "SnapStartException",
    }
)
"""Refusals of this invocation. All others below 500 are of the function, or of who calls it."""
_NOT_READY: Final = 502
"""What it answers where the function cannot be started: a key, a network, an image that is not there."""
_CAUSES: Final = {
    "Sandbox.Timedout": Cause.TIMEOUT,
    "Runtime.ExitError": Cause.CRASH,
    "Function.ResponseSizeTooLarge": Cause.RUNTIME,
}


class LambdaRuntime:
    """Invokes a function on AWS: `lambda:NAME`, `lambda:NAME:QUALIFIER` or its ARN. Credentials need the
    permission lambda:InvokeFunction.

    What Lambda throttles did not run and counts for nothing. What it refuses because of the function (it is
    not there, not allowed, not ready) did not run either, and raises OSError. An invocation whose answer is
    lost may have run, and is a failure: it is not made again here. One that is cut off goes on at AWS, where
    nothing can end it.

    `qualifier`: a version or an alias. `timeout`: seconds that the function may take there; an answer is
    waited for somewhat longer. `capacity`: invocations of one environment at a time; AWS makes as many
    environments of its own as it needs.
    """

    def __init__(
        self,
        function: str,
        *,
        qualifier: str | None = None,
        timeout: float = 900.0,
        capacity: int = 1,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self._function = _named(function)
        self._qualifier = None if qualifier is None else text("qualifier", qualifier)
        self._timeout = within("timeout", timeout, 0.1, 5400)
        self._capacity = int(within("capacity", capacity, 1, 10_000))
        region = self._function.split(":")[3] if self._function.startswith("arn:") else None
        self._connection = Connection.of(connection, region)
        self._opening = asyncio.Lock()
        self._api: Api | None = None
        self._resources = AsyncExitStack()

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`lambda:NAME?option=value`, or an ARN with options, with those of the class; what is not given is
        as the `deployment` among the options says.

        Raises ConfigurationError naming the option and the fix.
        """
        types = {"qualifier": str, "timeout": float, "capacity": int}
        resource, given = parsed_uri(uri, ROLE, types)
        deployment = options.get("deployment")
        usual: dict[str, Any] = {}
        if isinstance(deployment, Deployment):
            usual = {"timeout": deployment.timeout, "capacity": deployment.maximum_concurrency}
        return cls(resource.arn or resource.name, **{**usual, **given})

    @property
    def name(self) -> str:
        return f"lambda:{self._function.rpartition(':function:')[2]}"

    def __repr__(self) -> str:
        return f"<LambdaRuntime {self.name}>"

    @asynccontextmanager
    async def environment(self, *, provisioned: bool = False) -> AsyncIterator[LambdaEnvironment]:
        """A place for invocations. Raises OSError where there are no credentials to make them with."""
        await self._open()
        yield LambdaEnvironment(self)

    async def check(self) -> None:
        """Proves that the function is there and may be invoked, without invoking it.

        Raises SourceError or ConfigurationError naming the fix.
        """
        with checking(self.name, ROLE):
            async with Api.shared(self._connection, "lambda") as api:
                await api.call("Invoke", {**self._target(), "InvocationType": "DryRun"})

    async def close(self) -> None:
        """Lets the connections go."""
        async with self._opening:
            self._api = None
            await self._resources.aclose()

    async def invoke(self, request: Request) -> Answer:
        """One invocation, as `Environment.invoke`."""
        api = await self._open()
        headers = {"X-Amzn-Trace-Id": request.trace} if request.trace else {}
        asked = {**self._target(), "Payload": request.payload, "LogType": "Tail"}
        if request.client_context:
            asked["ClientContext"] = b64encode(request.client_context.encode()).decode()
        patience = self._timeout + _MARGIN
        try:
            async with asyncio.timeout(patience):
                answer = await api.call_once("Invoke", asked, patience=patience + 1, headers=headers)
                async with answer["Payload"] as stream:
                    payload: bytes = await stream.read()
        except ServiceError as error:
            return _refused(self.name, error)
        except Unreachable:
            raise
        except ConfigurationError as error:
            # Credentials that were there and are no more.
            raise OSError(f"{self.name}: {error}") from error
        except TimeoutError:
            message = (
                f"RequestId: {request.request_id} Error: Task timed out after {self._timeout:.2f} seconds"
            )
            return _failed("Sandbox.Timedout", message, Cause.TIMEOUT)
        except (OSError, BotoCoreError, ClientError) as error:
            return _failed("Lambda.ConnectionLost", f"{self.name}: {error}", Cause.CRASH)
        return _answer(payload, "FunctionError" in answer, b64decode(answer.get("LogResult", "")))

    def _target(self) -> dict[str, Any]:
        named: dict[str, Any] = {"FunctionName": self._function}
        return named if self._qualifier is None else {**named, "Qualifier": self._qualifier}

    async def _open(self) -> Api:
        async with self._opening:
            if self._api is None:
                async with AsyncExitStack() as resources:
                    try:
                        shared = Api.shared(self._connection, "lambda")
                        self._api = await resources.enter_async_context(shared)
                    except ConfigurationError as error:
                        raise OSError(f"{self.name}: {error}") from error
                    self._resources = resources.pop_all()
            return self._api


class LambdaEnvironment:
    """A place for invocations of a function on AWS."""

    ready = True
    """AWS initialises it, within an invocation where it has to."""

    def __init__(self, runtime: LambdaRuntime) -> None:
        self._runtime = runtime

    @property
    def capacity(self) -> int:
        return self._runtime._capacity  # noqa: SLF001 - both are one runtime

    async def invoke(self, request: Request) -> Answer:
        """Raises OSError where Lambda could not be reached, or refused the function: nothing ran."""
        return await self._runtime.invoke(request)


def _answer(payload: bytes, is_error: bool, log: bytes) -> Answer:
    if not is_error:
        return Answer(Succeeded(), payload or b"null", log)
    try:
        found = orjson.loads(payload)
    except ValueError:
        found = None
    document = found if isinstance(found, dict) else {"errorType": "Unhandled", "errorMessage": ""}
    type_, message = str(document.get("errorType", "")), str(document.get("errorMessage", ""))
    trace = document.get("stackTrace") or document.get("trace")
    stack = tuple(map(str, trace)) if isinstance(trace, list) else ()
    cause = _CAUSES.get(type_, Cause.FUNCTION)
    return Answer(Failed(type_, message, stack, cause, document), payload, log)


def _refused(name: str, error: ServiceError) -> Answer:
    """What an error says of an invocation. Raises OSError where the function can't be invoked: of a role that
    is not to be had too.
    """
    if error.throttled:
        after = str(error.answer.get("retryAfterSeconds", ""))
        reason = str(error.answer.get("Reason") or Throttled().reason)
        return Answer(Throttled(float(after) if after.isdecimal() else 0.0, reason))
    if error.code in _OF_THE_EVENT:
        return _failed(error.code, error.message, Cause.RUNTIME)
    if error.operation == "Invoke" and error.status >= 500 and error.status != _NOT_READY:
        return _failed(error.code, f"{name}: {error}", Cause.CRASH)
    fix = f". Fix: {error.fix}" if error.fix else ""
    raise OSError(f"{name}: {error}{fix}") from error


def _failed(type_: str, message: str, cause: Cause) -> Answer:
    document = {"errorType": type_, "errorMessage": message}
    return Answer(Failed(type_, message, cause=cause, document=document), orjson.dumps(document))


def _named(function: str) -> str:
    known = _ARN if function.startswith("arn:") else _NAME
    if not known.fullmatch(function):
        raise ConfigurationError(
            f"{function!r} is no function of Lambda",
            field=ROLE,
            fix="write lambda:NAME, or arn:aws:lambda:REGION:ACCOUNT:function:NAME",
        )
    return function
