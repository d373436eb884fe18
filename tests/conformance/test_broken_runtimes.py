"""The suite notices what is broken in runtimes. Each test says what it is for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from streamfn.core.outcomes import Failed
from streamfn.ports import Answer
from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import RuntimeSuite
from streamfn.testing.runtimes import INIT_TIMEOUT, ScriptedEnvironment, ScriptedRuntime
from tests.conformance.broken import assert_noticed, breaks
from tests.conformance.test_runtimes import ScriptedHarness
from tests.conformance.test_runtimes import TestScripted as Scripted


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


RUNTIMES: list[Any] = []

invoke = ScriptedEnvironment.invoke
environment = ScriptedRuntime.environment
initialise = ScriptedEnvironment.initialise


@breaks(RUNTIMES, ScriptedEnvironment, "capacity", "test_it_takes_as_many_at_a_time_as_it_says")
class AsManyAsYouLike:
    def __get__(self, *_: object) -> int:
        return 7


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_it_takes_as_many_at_a_time_as_it_says")
async def one_after_the_other(self: ScriptedEnvironment, request: Any) -> Answer:
    while self.running:  # noqa: ASYNC110 - virtual time
        await anyio.sleep(0.01)
    return await invoke(self, request)


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_a_function_that_raises_is_an_answer")
async def raises_what_the_function_raises(self: ScriptedEnvironment, request: Any) -> Answer:
    answer = await invoke(self, request)
    if isinstance(answer.outcome, Failed):
        raise LookupError(answer.outcome.message)
    return answer


@breaks(
    RUNTIMES,
    ScriptedEnvironment,
    "invoke",
    "test_a_function_that_raises_is_an_answer",
    "test_a_function_that_hangs_is_cut_off",
    "test_a_function_that_dies_is_an_answer",
)
async def is_of_no_use_after_a_failure(self: ScriptedEnvironment, request: Any) -> Answer:
    assert not self.provisioned, "it failed before"
    answer = await invoke(self, request)
    self.provisioned = isinstance(answer.outcome, Failed)
    return answer


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_a_function_that_raises_is_an_answer")
async def keeps_the_error_json(self: ScriptedEnvironment, request: Any) -> Answer:
    answer = await invoke(self, request)
    if isinstance(answer.outcome, Failed):
        answer = answer._replace(outcome=replace(answer.outcome, document=None))
    return answer


@breaks(
    RUNTIMES,
    ScriptedEnvironment,
    "invoke",
    "test_the_log_is_of_the_invocation",
)
async def has_no_log(self: ScriptedEnvironment, request: Any) -> Answer:
    return (await invoke(self, request))._replace(log=b"")


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_the_function_knows_who_calls")
async def forgets_the_trace(self: ScriptedEnvironment, request: Any) -> Answer:
    return await invoke(self, request._replace(trace=""))


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_the_function_knows_who_calls")
async def forgets_the_client_context(self: ScriptedEnvironment, request: Any) -> Answer:
    return await invoke(self, request._replace(client_context=""))


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_events_and_answers_arrive_as_they_were_sent")
async def thinks_in_latin(self: ScriptedEnvironment, request: Any) -> Answer:
    answer = await invoke(self, request)
    return answer._replace(payload=answer.payload.decode("unicode_escape").encode("utf-8", "replace"))


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_what_is_cancelled_is_cut_off")
async def cannot_be_cancelled(self: ScriptedEnvironment, request: Any) -> Answer:
    with anyio.CancelScope(shield=True):
        return await invoke(self, request)
    raise AssertionError("a shield swallows nothing")


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_an_answer_that_is_not_streamed_is_whole")
async def streams_everything(self: ScriptedEnvironment, request: Any) -> Answer:
    if request.stream is not None:
        request.stream.begin("application/json")
    return await invoke(self, request)


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_a_stream_comes_piece_by_piece")
async def streams_nothing(self: ScriptedEnvironment, request: Any) -> Answer:
    return await invoke(self, request._replace(stream=None))


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_a_stream_that_fails_ends_with_the_error")
async def streams_the_error_too(self: ScriptedEnvironment, request: Any) -> Answer:
    answer = await invoke(self, request)
    if request.stream is not None:
        request.stream.write(answer.payload)
    return answer


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_a_stream_that_nobody_reads_holds_the_function_back")
async def does_not_wait_for_readers(self: ScriptedEnvironment, request: Any) -> Answer:
    if request.stream is None:
        return await invoke(self, request)
    write = request.stream.write
    request.stream.write = lambda piece: write(piece) or True
    return await invoke(self, request)


@breaks(
    RUNTIMES,
    ScriptedRuntime,
    "_may",
    "test_one_that_cannot_work_raises",
    "test_where_none_can_be_made_nothing_runs",
)
def works_anyway(self: ScriptedRuntime, operation: str) -> None:
    self.faults.calls[operation] += 1


@breaks(RUNTIMES, ScriptedEnvironment, "invoke", "test_one_that_cannot_work_raises")
async def answers_that_it_cannot_work(self: ScriptedEnvironment, request: Any) -> Answer:
    try:
        return await invoke(self, request)
    except OSError as error:
        return Answer(Failed("OSError", str(error)))


@breaks(
    RUNTIMES, ScriptedEnvironment, "initialise", "test_an_invocation_begins_with_the_init_that_is_missing"
)
async def initialises_once(self: ScriptedEnvironment) -> None:
    if self.runtime.inits:
        assert self.ready, "it failed, and that was that"
    await initialise(self)


@breaks(
    RUNTIMES,
    ScriptedEnvironment,
    "initialise",
    "test_an_init_that_fails_is_told_by_ready",
    "test_an_init_ends_after_ten_seconds",
)
async def is_always_ready(self: ScriptedEnvironment) -> None:
    try:
        await initialise(self)
    finally:
        self.ready = True


@breaks(RUNTIMES, ScriptedRuntime, "environment", "test_a_new_environment_is_initialised")
@asynccontextmanager
async def is_lazy(self: ScriptedRuntime, *, provisioned: bool = False) -> Any:
    async with environment(self) as made:
        made.ready = False
        yield made


@breaks(RUNTIMES, ScriptedRuntime, "environment", "test_a_provisioned_init_has_more_time")
@asynccontextmanager
async def has_no_more_time_for_provisioned_ones(self: ScriptedRuntime, *, provisioned: bool = False) -> Any:
    async with environment(self) as made:
        yield made


@breaks(RUNTIMES, ScriptedRuntime, "environment", "test_an_init_ends_after_ten_seconds")
@asynccontextmanager
async def waits_for_an_init(self: ScriptedRuntime, *, provisioned: bool = False) -> Any:
    async with environment(self, provisioned=True) as made:
        assert INIT_TIMEOUT == 10
        yield made


@breaks(RUNTIMES, ScriptedRuntime, "environment", "test_leaving_ends_all_that_runs")
@asynccontextmanager
async def leaves_something_behind(self: ScriptedRuntime, *, provisioned: bool = False) -> Any:
    async with environment(self, provisioned=provisioned) as made:
        yield made
    self.running += 1


@breaks(RUNTIMES, ScriptedRuntime, "environment", "test_leaving_by_an_error_ends_it_too")
@asynccontextmanager
async def is_left_only_in_peace(self: ScriptedRuntime, *, provisioned: bool = False) -> Any:
    self.running += 1
    async with environment(self, provisioned=provisioned) as made:
        yield made
    self.running -= 1


@breaks(RUNTIMES, ScriptedRuntime, "environment", "test_environments_are_apart")
@asynccontextmanager
async def gives_the_same_to_all(self: ScriptedRuntime, *, provisioned: bool = False) -> Any:
    if self.environments:
        yield self.environments[0]
        return
    async with environment(self) as made:
        yield made


@breaks(RUNTIMES, ScriptedRuntime, "check", "test_check_says_when_none_can_be_made")
async def checks_nothing(self: ScriptedRuntime) -> None:
    pass


@breaks(RUNTIMES, ScriptedRuntime, "check", "test_check_proves_that_environments_can_be_made")
async def checks_too_much(self: ScriptedRuntime) -> None:
    raise LookupError("not today")


@breaks(RUNTIMES, ScriptedRuntime, "close", "test_closing_may_be_all_that_is_done")
async def closes_once(self: ScriptedRuntime) -> None:
    assert not self.closed
    self.closed = True


@breaks(RUNTIMES, ScriptedRuntime, "name", "test_a_runtime_says_what_it_is")
class Nameless:
    def __get__(self, *_: object) -> str:
        return ""


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), RUNTIMES)
async def test_a_broken_runtime_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead() if isinstance(instead, type) else instead)
    await assert_noticed(Scripted(), ScriptedHarness(), test)


def test_each_test_of_a_runtime_notices_something() -> None:
    noticing = {case.values[0] for case in RUNTIMES}
    tests = {name for name in dir(RuntimeSuite) if name.startswith("test_")}
    others = {
        "test_a_provisioned_one_works_alike",
        "test_an_environment_is_used_again",
        "test_an_answer_that_is_too_large_is_refused",
    }
    assert tests - noticing == others
