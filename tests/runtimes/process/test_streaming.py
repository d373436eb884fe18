"""Answers that functions in processes stream: their pieces go on as they come, and how they end."""

from __future__ import annotations

import orjson
import pytest
from anyio import create_task_group

from streamfn.core.outcomes import Cause, Failed, Succeeded
from streamfn.ports import Answer
from streamfn.runtimes.process import connection
from tests.gates import gate
from tests.runtimes.process.environments import Made
from tests.runtimes.process.streaming import Asked, written
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The daemon has uvloop where it is installed, whose connections are less patient."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


async def test_pieces_come_before_the_function_has_ended(made: Made) -> None:
    async with gate() as door, written(made).runtime().environment() as environment:
        asked = Asked(made.request({"steps": ["one,", {"wait": door.port}, "two"], "type": "text/csv"}))
        async with create_task_group() as tasks:
            tasks.start_soon(asked.run, environment)
            assert await asked.stream.settled()
            assert asked.stream.content_type == "text/csv"
            pieces = asked.stream.pieces()
            assert await anext(pieces) == b"one,"
            await door.reached.wait()
            assert not asked.answered
            door.open()
            assert [piece async for piece in pieces] == [b"two"]
        assert (asked.answer.outcome, asked.answer.payload) == (Succeeded(), b"")
        assert b"REPORT" in asked.answer.log
        # The next caller wants it whole; then one does not, and the function does not stream.
        whole = await environment.invoke(made.request({"steps": ["one,", "two"]}))
        assert whole.payload == b"one,two"
        asked = Asked(made.request({"echo": 1}))
        await asked.run(environment)
        assert not await asked.stream.settled()
        assert asked.answer == Answer(Succeeded(), b'{"echo": 1}', asked.answer.log)


async def test_an_error_in_the_middle_is_an_error(made: Made) -> None:
    error = {"errorType": "Worse", "errorMessage": "half of it"}
    async with written(made).runtime().environment() as environment:
        asked = Asked(made.request({"steps": ["half"], "error": error}))
        await asked.run(environment)
        assert await asked.all() == b"half"
        assert isinstance(asked.answer.outcome, Failed)
        assert orjson.loads(asked.answer.payload) == error
        asked = Asked(made.request({"steps": ["half", {"break": 1}]}))
        await asked.run(environment)
        assert await asked.all() == b"half"
        assert orjson.loads(asked.answer.payload) == {"errorType": "Broken", "errorMessage": "off"}
        assert "again 400" in made.sink.texts
        assert (await environment.invoke(made.request({"echo": 1}))).payload == b'{"echo": 1}'


@pytest.mark.parametrize(
    ("step", "cause", "kind"),
    [({"exit": 3}, Cause.CRASH, "Runtime.ExitError"), ({"hang": 1}, Cause.TIMEOUT, "Sandbox.Timedout")],
)
async def test_the_end_of_the_function_ends_the_stream(
    made: Made, step: dict[str, int], cause: Cause, kind: str
) -> None:
    async with written(made).runtime(timeout=2).environment() as environment:
        asked = Asked(made.request({"steps": ["half", step]}))
        await asked.run(environment)
        assert await asked.all() == b"half"
        assert isinstance(asked.answer.outcome, Failed)
        assert (asked.answer.outcome.cause, asked.answer.outcome.type) == (cause, kind)
        asked = Asked(made.request({"steps": ["again"]}))
        await asked.run(environment)
        assert (await asked.all(), asked.answer.outcome) == (b"again", Succeeded())


async def test_a_function_that_is_held_back_too_long_times_out(made: Made) -> None:
    async with written(made).runtime(timeout=2).environment() as environment:
        asked = Asked(made.request({"steps": [{"fill": 64 * 1024 * 1024}]}))
        await asked.run(environment)
        assert orjson.loads(asked.answer.payload)["errorType"] == "Sandbox.Timedout"
        held = asked.stream._held
        assert 0 < held < 1024 * 1024
        # Which begins when nothing of the last one is left.
        assert (await environment.invoke(made.request({"echo": 1}))).payload == b'{"echo": 1}'
        assert len(await asked.all()) == held


async def test_a_slow_reader_holds_the_function_back(made: Made) -> None:
    size = 64 * 1024 * 1024
    async with gate() as door, written(made).runtime(timeout=60).environment() as environment:
        steps = [{"fill": size}, {"wait": door.port}]
        asked = Asked(made.request({"steps": steps}))
        async with create_task_group() as tasks:
            tasks.start_soon(asked.run, environment)
            await asked.stream.settled()
            await until(lambda: asked.stream._call is not None)
            held = asked.stream._held
            assert held < 1024 * 1024
            assert not door.reached.is_set()
            door.open()
            assert len(await asked.all()) == size
        assert asked.answer.outcome == Succeeded()


async def test_a_reader_that_has_gone_does_not(made: Made) -> None:
    async with gate() as door, written(made).runtime(timeout=60).environment() as environment:
        steps = [{"fill": 16 * 1024 * 1024}, {"wait": door.port}, "end"]
        asked = Asked(made.request({"steps": steps}))
        async with create_task_group() as tasks:
            tasks.start_soon(asked.run, environment)
            await until(lambda: asked.stream._call is not None)
            asked.stream.abandon()
            await door.reached.wait()
            door.open()
        assert asked.answer.outcome == Succeeded()
        await until(lambda: "ended 202" in made.sink.texts)
        assert (await environment.invoke(made.request({"echo": 1}))).payload == b'{"echo": 1}'


async def test_a_stream_has_a_limit_of_its_own(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    async with written(made).runtime(timeout=60).environment() as environment:
        asked = Asked(made.request({"steps": [{"fill": connection.MAX_RESPONSE + 65_536}]}))
        async with create_task_group() as tasks:
            tasks.start_soon(asked.run, environment)
            assert len(await asked.all()) > connection.MAX_RESPONSE
        assert asked.answer.outcome == Succeeded()
        whole = await environment.invoke(
            made.request({"steps": [{"fill": connection.MAX_RESPONSE + 65_536}]})
        )
        assert orjson.loads(whole.payload)["errorType"] == "Function.ResponseSizeTooLarge"
        monkeypatch.setattr(connection, "MAX_STREAM", 100_000)
        asked = Asked(made.request({"steps": [{"fill": 131_072}]}))
        await asked.run(environment)
        assert len(await asked.all()) <= 100_000
        assert orjson.loads(asked.answer.payload) == {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size (100000 bytes).",
        }
        await until(lambda: "ended 413" in made.sink.texts)


def test_two_hundred_megabytes() -> None:
    assert connection.MAX_STREAM == 200 * 1024 * 1024
