"""Where functions run that do not run in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from streamfn.core.outcomes import Outcome


class ResponseStream(Protocol):
    """Where an answer goes piece by piece, as the function writes it (Developer Guide:
    configuration-response-streaming). Nothing here waits: what nobody has read yet is held.
    """

    version: str
    """Of the function that answers: who chooses it writes it here, before anything else."""

    def begin(self, content_type: str) -> None:
        """The function streams its answer, of this type. Once, before the first piece."""

    def write(self, piece: bytes) -> bool:
        """Takes a piece. False where it now holds enough: then the function is held back."""

    def when_read(self, call: Callable[[], None]) -> None:
        """Calls back once, when there is room again. Only after `write` said that there is none."""


class Request(NamedTuple):
    """One invocation, as an execution environment gets it."""

    request_id: str
    payload: bytes
    """The event, as JSON."""
    function_arn: str
    """With a qualifier only if the caller used one."""
    trace: str = ""
    """The X-Ray trace header; empty for none."""
    client_context: str = ""
    """JSON that a synchronous caller sent along; empty for none."""
    stream: ResponseStream | None = None
    """Takes the answer, if the function streams it and the runtime can; None: the answer is to be whole."""


class Answer(NamedTuple):
    """What came of it."""

    outcome: Outcome
    """`Succeeded` without its payload, which stands below; `Failed`; or `Throttled`, where nothing ran."""
    payload: bytes = b""
    """What Lambda's Invoke answers: the function's result as it wrote it, or the error JSON. A result that
    went to `Request.stream` is not here, an error is.
    """
    log: bytes = b""
    """The last 4 KB of the invocation's log, START, END and REPORT included, where the runtime has it."""


class Environment(Protocol):
    """One execution environment: a place where a function is initialised and then invoked again and again."""

    @property
    def capacity(self) -> int:
        """Invocations that it takes at a time."""

    @property
    def ready(self) -> bool:
        """Whether it is initialised. If not, the next invocation begins with that, within its timeout."""

    async def invoke(self, request: Request) -> Answer:
        """Runs the function; never longer than its timeout and the time that ending it takes.

        What the function does to itself (it raises, hangs, dies) is an answer, and the environment can be
        used again. Cancelled, the invocation is cut off. Nothing is written to its stream after the return.
        Raises OSError where the environment cannot work here and now, and nothing ran: it is to be left.
        """


class Runtime(Protocol):
    """Makes the execution environments of one version of a function."""

    @property
    def name(self) -> str:
        """What people call it: `python3.12`, `http://host/path`."""

    def environment(self, *, provisioned: bool = False) -> AbstractAsyncContextManager[Environment]:
        """A new environment. Entering is the cold start: it returns when the function is initialised, or has
        failed to be within 10 seconds (provisioned: 130, or the function's timeout if that is longer), which
        `ready` tells. Leaving ends all that runs in it; nothing stays behind. Raises OSError where none can
        be made.
        """

    async def check(self) -> None:
        """Proves that environments can be made. Raises SourceError or ConfigurationError naming the fix."""

    async def close(self) -> None:
        """Lets go of what all environments shared, once they have been left."""
