"""Functions in this process, made ready to be called on batches."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from streamfn.core.outcomes import Cause, Failed, Outcome, Succeeded, Throttled
from streamfn.core.records import Batch
from streamfn.errors import TooManyRequests
from streamfn.functions import CURRENT, Call, Context, FunctionSpec
from streamfn.runtimes.each import EachRecord
from streamfn.runtimes.frames import Frames
from streamfn.runtimes.thread import in_thread

if TYPE_CHECKING:
    from streamfn.core.policies import Ordering

Body: TypeAlias = Callable[[Batch, Context], Any]
"""What a function does with a batch, in its own way: returns an answer or an awaitable of one."""


def prepare(spec: FunctionSpec, ordering: Ordering) -> Call:
    """The function behind one call: parsed or rendered input, timeout, errors as values.

    A coroutine function runs on the loop and is cancelled at its timeout. Any other runs on a thread, which
    nothing can stop: at its timeout the invocation counts as failed while the thread runs on and keeps its
    place.
    """
    body, is_async = _body(spec, ordering)
    return _on_loop(spec, body) if is_async else _on_thread(spec, body)


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives an awaitable: a coroutine function, or an object with an async `__call__`."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _body(spec: FunctionSpec, ordering: Ordering) -> tuple[Body, bool]:
    handler = spec.handler
    if spec.each is not None:
        each = EachRecord(handler, spec.each, ordering)
        return (each.run_async, True) if is_async(handler) else (each.run, False)
    if spec.batch:
        if _takes_context(handler):
            return handler, is_async(handler)
        return (lambda batch, context: handler(batch)), is_async(handler)
    return (lambda batch, context: handler(batch.shape.to_event(batch.records), context)), is_async(handler)


def _takes_context(handler: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _on_loop(spec: FunctionSpec, body: Callable[[Batch, Context], Awaitable[object]]) -> Call:
    async def call(batch: Batch, context: Context) -> Outcome:
        CURRENT.set(context)
        limit = asyncio.timeout_at(context.deadline)
        try:
            async with limit:
                answer = await body(batch, context)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return Failed("CancelledError", "the function was cancelled by itself")
        except BaseException as error:  # noqa: BLE001 - whatever a function raises is an outcome
            if limit.expired() and isinstance(error, TimeoutError):
                return timed_out(spec, context)
            return failure(error)
        return outcome_of(answer)

    return call


def _on_thread(spec: FunctionSpec, body: Body) -> Call:
    def run(batch: Batch, context: Context) -> object:
        try:
            return body(batch, context)
        except BaseException as error:  # noqa: BLE001 - whatever a function raises is an outcome
            return failure(error)

    async def call(batch: Batch, context: Context) -> Outcome:
        CURRENT.set(context)
        running = in_thread(run, batch, context)
        done, _ = await asyncio.wait([running], timeout=context.deadline - asyncio.get_running_loop().time())
        if not done:
            context.stuck = running
            return timed_out(spec, context)
        return outcome_of(running.result())

    return call


def outcome_of(answer: object) -> Outcome:
    """An answer as an outcome; what the runtime made itself is one already."""
    return answer if isinstance(answer, Succeeded | Failed | Throttled) else Succeeded(answer)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def timed_out(spec: FunctionSpec, context: Context) -> Failed:
    """The outcome that Lambda reports for a function past its timeout (recorded on AWS)."""
    text = f"RequestId: {context.aws_request_id} Error: Task timed out after {spec.timeout:.2f} seconds"
    return Failed("Sandbox.Timedout", text, cause=Cause.TIMEOUT)


def failure(error: BaseException) -> Outcome:
    """What an exception means. Raises KeyboardInterrupt on: it is for the process, not for the batch."""
    match error:
        case KeyboardInterrupt():
            raise error
        case TooManyRequests(retry_after=retry_after):
            return Throttled(retry_after, str(error))
        case SystemExit():
            return Failed("Runtime.ExitError", f"the function called exit({error.code!r})", cause=Cause.CRASH)
        case _:
            return Failed(type(error).__name__, str(error), Frames(error.__traceback__))
