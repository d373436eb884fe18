"""What a function is, and what it is told about an invocation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from uuid import uuid4

from streamfn.client_context import ClientContext, client_context_of
from streamfn.core.deployments import LATEST
from streamfn.core.lineage import Trace
from streamfn.core.outcomes import Outcome
from streamfn.core.policies import Ordering
from streamfn.core.records import Batch

if TYPE_CHECKING:
    from streamfn.core.deployments import Deployment

Handler: TypeAlias = Callable[..., Any]


def elsewhere(event: object, context: object) -> NoReturn:
    """Stands for functions that do not run in this process."""
    raise TypeError("this function runs in environments of its own")


@dataclass(frozen=True, slots=True, eq=False)
class FunctionSpec:
    """A function as declared: the callable and its limits."""

    name: str
    handler: Handler
    timeout: float = 60.0
    """Seconds an invocation may take."""
    reserved_concurrency: int | None = None
    """Invocations at a time, guaranteed and capped; 0 switches the function off; None: what the app has to
    share.
    """
    batch: bool = False
    """Called with the `Batch` itself, not with a Lambda event."""
    each: Any = None
    """Called record by record with the value parsed into this type."""
    memory_size: int = 128
    qualifier: str = ""
    """The version or alias that was asked for; empty for none."""
    deployment: Deployment | None = None
    """What its environments are made of, where it does not run in this process; then `handler` is not
    called.
    """

    place: str = "local:000000000000"
    """Region and account, as its ARN has them."""

    @property
    def arn(self) -> str:
        """Shaped as Lambda's, so that handlers which take it apart work."""
        arn = f"arn:aws:lambda:{self.place}:function:{self.name}"
        return f"{arn}:{self.qualifier}" if self.qualifier else arn

    @property
    def key(self) -> str:
        """Its name, with the qualifier behind a colon if there is one."""
        return f"{self.name}:{self.qualifier}" if self.qualifier else self.name


class Context:
    """One invocation, as a Lambda handler's second argument.

    Durations in milliseconds, as on Lambda. The request id is made when it is first asked for, unless the
    invocation has one.
    """

    __slots__ = ("_client", "_request_id", "deadline", "function_version", "spec", "stuck", "trace")

    def __init__(
        self,
        spec: FunctionSpec,
        deadline: float,
        request_id: str = "",
        trace: Trace | None = None,
        client_context: str = "",
    ) -> None:
        self.spec = spec
        self.deadline = deadline
        """By the event loop's clock."""
        self.trace = trace
        """The chain of requests that led here, if it is known."""
        self.stuck: asyncio.Future[Any] | None = None
        """Set when the invocation was given up and its thread runs on; done when the thread ends."""
        self.function_version = LATEST
        """What runs; where the qualifier is an alias, the version that it stood for."""
        self._request_id = request_id
        self._client: str | ClientContext | None = client_context

    @property
    def aws_request_id(self) -> str:
        if not self._request_id:
            self._request_id = str(uuid4())
        return self._request_id

    @property
    def function_name(self) -> str:
        return self.spec.name

    @property
    def invoked_function_arn(self) -> str:
        return self.spec.arn

    @property
    def memory_limit_in_mb(self) -> int:
        return self.spec.memory_size

    @property
    def log_group_name(self) -> str:
        return f"/aws/lambda/{self.spec.name}"

    @property
    def log_stream_name(self) -> str:
        return "local"

    @property
    def identity(self) -> None:
        return None

    @property
    def client_context(self) -> ClientContext | None:
        """What the caller of a synchronous invocation sent along. Raises ValueError for what is no JSON."""
        if isinstance(self._client, str):
            self._client = client_context_of(self._client)
        return self._client

    def onward(self, now: float) -> Trace:
        """The trace that requests of this invocation carry. `now`, epoch seconds, is for a new one."""
        trace = self.trace or Trace.begun(now, uuid4().hex[:24])
        return trace.invoked(self.spec.arn)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is cut off. Safe to call from threads."""
        return max(0, int((self.deadline - asyncio_time()) * 1000))


def asyncio_time() -> float:
    """The running loop's clock; in a worker thread, which has no loop, the clock that loops use by
    default.
    """
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        from time import monotonic

        return monotonic()


CURRENT: ContextVar[Context | None] = ContextVar("streamfn.functions.current", default=None)
"""The invocation that the running code belongs to."""

Call: TypeAlias = Callable[[Batch, Context], Awaitable[Outcome]]
"""A function made ready to be called on batches. Raises nothing but cancellation."""

MakeCall: TypeAlias = Callable[[FunctionSpec, Ordering], Call]
"""A runtime: makes a function ready. The ordering tells it where to stop at a failed record."""
