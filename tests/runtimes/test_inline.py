"""Functions in this process: signatures, parsing, errors and limits."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pydantic
import pytest

from streamfn import App, Batch, TooManyRequests
from streamfn.core.events import KinesisShape
from streamfn.core.outcomes import Cause, Failed, Outcome, Succeeded, Throttled
from streamfn.core.policies import Ordering
from streamfn.core.records import StreamRecord
from streamfn.functions import Context, FunctionSpec
from streamfn.runtimes import prepare

pytestmark = pytest.mark.anyio

SHAPE = KinesisShape("arn:aws:kinesis:local:000000000000:stream/s", "shard-0", "local")


def batch(*values: bytes | None, keys: str = "") -> Batch:
    records = [
        StreamRecord(position, value, keys[position] if keys else None)
        for position, value in enumerate(values)
    ]
    return Batch(records, SHAPE)


async def call(handler: Any, its: Batch, *, ordering: Ordering = Ordering.SHARD, **spec: Any) -> Outcome:
    function = FunctionSpec("f", handler, **spec)
    context = Context(function, asyncio.get_running_loop().time() + function.timeout)
    return await prepare(function, ordering)(its, context)


async def test_a_lambda_handler_gets_event_and_context() -> None:
    def handler(event: Any, context: Any) -> Any:
        assert context.function_name == "f"
        assert context.function_version == "$LATEST"
        assert context.invoked_function_arn.endswith(":function:f")
        assert context.aws_request_id == context.aws_request_id
        assert 0 < context.get_remaining_time_in_millis() <= 60_000
        return [record["kinesis"]["data"] for record in event["Records"]]

    async def coroutine(event: Any, context: Any) -> Any:
        return handler(event, context)

    assert await call(handler, batch(b"a")) == Succeeded(["YQ=="])
    assert await call(coroutine, batch(b"a")) == Succeeded(["YQ=="])


@pytest.mark.parametrize("sent", ["", "null"])
async def test_who_sends_nothing_along_has_no_client_context(sent: str) -> None:
    assert Context(FunctionSpec("f", print), 0.0, client_context=sent).client_context is None


async def test_what_a_caller_sends_along_is_as_lambdas_runtime_gives_it(tmp_path: Path) -> None:
    sent = (
        b'{"client": {"installation_id": "i", "app_title": "t", "app_version_code": 3, "other": 1},'
        b' "custom": {"who": "me"}, "env": {"locale": "de"}, "w3c": {"traceparent": "x"}, "services": {}}'
    )
    app = App(state_dir=tmp_path)

    @app.function
    async def tells(event: Any, context: Any) -> Any:
        client = context.client_context.client
        assert context.client_context is context.client_context
        assert not hasattr(context.client_context, "w3c")
        told = [client.installation_id, client.app_title, client.app_version_name, client.app_version_code]
        return [*told, client.app_package_name, context.client_context.custom, context.client_context.env]

    async with app:
        response = await app.invoke("tells", None, client_context=sent.decode())
    assert orjson.loads(response.payload) == ["i", "t", None, 3, None, {"who": "me"}, {"locale": "de"}]


@pytest.mark.parametrize("sent", ["{}", "[1]", '{"custom": null, "client": null}'])
async def test_what_was_not_sent_along_is_none(sent: str) -> None:
    found = Context(FunctionSpec("f", print), 0.0, client_context=sent).client_context
    assert found is not None
    assert (found.custom, found.env, found.client) == (None, None, None)


async def test_a_plain_function_runs_on_a_thread_and_a_coroutine_on_the_loop() -> None:
    threads: list[int] = []

    def plain(its: Batch) -> None:
        threads.append(threading.get_ident())

    async def coroutine(its: Batch) -> None:
        threads.append(threading.get_ident())

    await call(plain, batch(b"a"), batch=True)
    await call(coroutine, batch(b"a"), batch=True)
    assert threads[0] != threading.get_ident()
    assert threads[1] == threading.get_ident()


async def test_a_batch_function_may_take_the_context_too() -> None:
    async def both(its: Batch, context: Context) -> object:
        return len(its), context.function_name

    assert await call(both, batch(b"a", b"b"), batch=True) == Succeeded((2, "f"))


async def test_an_error_is_an_outcome_with_its_place() -> None:
    async def broken(its: Batch) -> None:
        raise KeyError("nothing here")

    outcome = await call(broken, batch(b"a"), batch=True)
    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message) == ("KeyError", "'nothing here'")
    assert "test_inline.py" in outcome.stack[0]
    assert "in broken" in outcome.stack[0]


@pytest.mark.parametrize("is_async", [True, False])
async def test_exit_is_a_crash_of_the_function_not_of_the_worker(is_async: bool) -> None:
    def leave(its: Batch) -> None:
        raise SystemExit(3)

    async def leave_too(its: Batch) -> None:
        raise SystemExit(3)

    outcome = await call(leave_too if is_async else leave, batch(b"a"), batch=True)
    assert isinstance(outcome, Failed)
    assert outcome.cause is Cause.CRASH


async def test_a_throttle_is_asked_for_by_raising_it() -> None:
    async def busy(its: Batch) -> None:
        raise TooManyRequests("later", retry_after=7)

    assert await call(busy, batch(b"a"), batch=True) == Throttled(7, "later")


async def test_a_timeout_of_the_functions_own_is_its_own_error() -> None:
    async def impatient(its: Batch) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    outcome = await call(impatient, batch(b"a"), batch=True)
    assert isinstance(outcome, Failed)
    assert outcome.type == "TimeoutError"


async def test_a_function_that_cancels_itself_has_failed() -> None:
    async def gives_up(its: Batch) -> None:
        raise asyncio.CancelledError

    outcome = await call(gives_up, batch(b"a"), batch=True)
    assert isinstance(outcome, Failed)


async def test_a_cancelled_call_is_cancelled() -> None:
    begun = asyncio.Event()

    async def waits(its: Batch) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(call(waits, batch(b"a"), batch=True))  # noqa: TID251 - to be cancelled
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Order(pydantic.BaseModel):
    amount: int


class FastOrder(msgspec.Struct):
    amount: int


@pytest.mark.parametrize("model", [Order, FastOrder])
@pytest.mark.parametrize("is_async", [True, False])
async def test_each_record_is_parsed_and_failures_are_reported(model: Any, is_async: bool) -> None:
    seen: list[int] = []

    def plain(order: Any) -> None:
        if order.amount == 3:
            raise ValueError("three")
        seen.append(order.amount)

    async def coroutine(order: Any) -> None:
        plain(order)

    values = [b'{"amount": 1}', b'{"amount": "x"}', b'{"amount": 3}', b'{"amount": 4}']
    handler = coroutine if is_async else plain
    outcome = await call(handler, batch(*values), each=model, ordering=Ordering.NONE)
    assert isinstance(outcome, Succeeded)
    assert outcome.failed == {"1", "2"}
    assert outcome.error is not None
    assert "ValidationError" in outcome.error.type
    assert seen == [1, 4]


async def test_each_stops_where_order_would_be_broken() -> None:
    seen: list[str] = []

    def handler(value: str) -> None:
        seen.append(value)
        if value == "b":
            raise ValueError

    values = (b"a", b"b", b"c", b"d", b"e")
    outcome = await call(handler, batch(*values, keys="xyxyx"), each=str, ordering=Ordering.SHARD)
    assert seen == ["a", "b"]
    assert outcome == Succeeded(failed=frozenset({"1"}), error=outcome.error)  # type: ignore[union-attr]
    seen.clear()
    await call(handler, batch(*values, keys="xyxyx"), each=str, ordering=Ordering.KEY)
    assert seen == ["a", "b", "c", "e"]


@pytest.mark.parametrize(
    ("model", "value", "parsed"),
    [(bytes, b"\xff", b"\xff"), (str, "é".encode(), "é"), (dict, b'{"a": 1}', {"a": 1}), (bytes, None, None)],
)
async def test_each_of_plain_types(model: Any, value: bytes | None, parsed: object) -> None:
    seen: list[object] = []
    outcome = await call(seen.append, batch(value), each=model)
    assert outcome == Succeeded(failed=frozenset())
    assert seen == [parsed]
