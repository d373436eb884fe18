"""What every runtime does, and every execution environment."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anyio
import pytest

from streamfn.core.outcomes import Cause, Failed, Succeeded
from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import Answer, Environment, Request, Runtime
from streamfn.testing.conformance.features import RuntimeFeatures, needs
from streamfn.testing.conformance.reading import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from streamfn.testing.conformance.harness import RuntimeHarness

ARN: Final = "arn:aws:lambda:us-east-1:000000000000:function:conformance"
TRACE: Final = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
CONTEXT: Final = '{"custom": {"key": "value"}}'
VALUES: Final = (
    "",
    "Zürich 東京 \U0001f680",
    'a "quoted" \\ line\nbreak \x00 \x7f',
    None,
    1.5,
    [1, {"a": []}],
)

_INIT: Final = 10.0


def request(do: str = "answer", number: int = 1, **more: Any) -> Request:
    """An invocation of the suite's function."""
    payload = json.dumps({"do": do, **more}).encode()
    return Request(f"00000000-0000-4000-8000-{number:012}", payload, ARN, TRACE, CONTEXT)


def said(answer: Answer) -> Any:
    """What the function answered, parsed; it must have."""
    assert isinstance(answer.outcome, Succeeded), answer
    return json.loads(answer.payload)


def failure(answer: Answer) -> tuple[Failed, dict[str, Any]]:
    """A failure, and the error JSON, which must say the same."""
    assert isinstance(answer.outcome, Failed), answer
    document = json.loads(answer.payload)
    assert document == answer.outcome.document
    assert document["errorType"] == answer.outcome.type
    assert document["errorMessage"] == answer.outcome.message
    return answer.outcome, document


class Taken:
    """A stream that keeps all pieces. Without room it asks to wait after each, until it is read."""

    def __init__(self, *, room: bool = True) -> None:
        self.version = ""
        self.types: list[str] = []
        self.pieces: list[bytes] = []
        self.over = False
        self._room = room
        self._call: Callable[[], None] | None = None

    def begin(self, content_type: str) -> None:
        """It has begun."""
        self.types.append(content_type)

    def write(self, piece: bytes) -> bool:
        """Takes a piece."""
        assert len(self.types) == 1, "a piece came and no stream had begun"
        assert not self.over, "a piece came after the end"
        self.pieces.append(piece)
        return self._room

    def when_read(self, call: Callable[[], None]) -> None:
        """Somebody waits."""
        self._call = call

    async def waited_for(self) -> bool:
        """Whether somebody waits."""
        return self._call is not None

    def read(self) -> None:
        """Makes room for all that is to come."""
        self._room = True
        assert self._call is not None
        self._call()


class RuntimeSuite:
    """All that is promised of a `Runtime` and its environments. Subclass it with `features` and a fixture
    `harness`.
    """

    features: ClassVar[RuntimeFeatures] = RuntimeFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> RuntimeHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    @asynccontextmanager
    async def environment(
        self, harness: RuntimeHarness, runtime: Runtime | None = None, *, provisioned: bool = False
    ) -> AsyncIterator[Environment]:
        """One, and then its runtime is closed."""
        runtime = runtime or harness.runtime()
        try:
            async with runtime.environment(provisioned=provisioned) as environment:
                yield environment
        finally:
            await runtime.close()

    async def works(self, environment: Environment, number: int = 9) -> Any:
        """It answers an invocation."""
        return said(await environment.invoke(request(value=number, number=number)))

    # ------------------------------------------------------------------------------------ the runtime

    async def test_a_runtime_says_what_it_is(self, harness: RuntimeHarness) -> None:
        """Runtime.name."""
        runtime = harness.runtime()
        assert runtime.name
        await runtime.close()

    async def test_check_proves_that_environments_can_be_made(self, harness: RuntimeHarness) -> None:
        """Runtime.check, which leaves nothing behind that would not do for an environment."""
        runtime = harness.runtime()
        async with harness.within(self.features.patience):
            await runtime.check()
        async with self.environment(harness, runtime) as environment:
            assert (await self.works(environment))["value"] == 9

    async def test_check_says_when_none_can_be_made(self, harness: RuntimeHarness) -> None:
        """Runtime.check raises SourceError or ConfigurationError."""
        needs(self.features.unusable, "a runtime that can make no environment")
        runtime = harness.unusable()
        async with harness.within(self.features.patience):
            with pytest.raises((SourceError, ConfigurationError)) as error:
                await runtime.check()
        assert str(error.value)
        await runtime.close()

    async def test_where_none_can_be_made_nothing_runs(self, harness: RuntimeHarness) -> None:
        """Runtime.environment raises OSError, or Environment.invoke of what it gave: it is to be left."""
        needs(self.features.unusable, "a runtime that can make no environment")
        async with harness.within(self.features.patience):
            with pytest.raises(OSError, match=r"."):
                async with self.environment(harness, harness.unusable()) as environment:
                    await environment.invoke(request())

    async def test_a_new_environment_is_initialised(self, harness: RuntimeHarness) -> None:
        """Runtime.environment: entering returns when the function is initialised. Environment.ready."""
        async with self.environment(harness) as environment:
            assert environment.ready
            assert (await self.works(environment))["value"] == 9
            assert environment.ready

    async def test_a_provisioned_one_works_alike(self, harness: RuntimeHarness) -> None:
        """Runtime.environment, provisioned."""
        async with self.environment(harness, provisioned=True) as environment:
            assert environment.ready
            assert (await self.works(environment))["value"] == 9

    async def test_environments_are_apart(self, harness: RuntimeHarness) -> None:
        """Runtime.environment: a new environment, which shares nothing with others and works beside them."""
        needs(self.features.apart, "environments of their own")
        runtime = harness.runtime()
        async with self.environment(harness, runtime) as one:
            await self.works(one)
            async with runtime.environment() as other:
                assert (await self.works(other))["count"] == 1
                assert (await self.works(one))["count"] == 2
            assert (await self.works(one))["count"] == 3

    async def test_leaving_ends_all_that_runs(self, harness: RuntimeHarness) -> None:
        """Runtime.environment: leaving ends all that runs in it, in the middle of an invocation too."""
        needs(self.features.cutting, "functions that can be ended")
        async with harness.within(self.features.patience), self.environment(harness) as environment:
            with anyio.move_on_after(self.features.timeout / 2):
                await environment.invoke(request("hang"))
        await harness.until(self.nothing(harness), self.features.ending)

    async def test_leaving_by_an_error_ends_it_too(self, harness: RuntimeHarness) -> None:
        """Runtime.environment: nothing stays behind, however it is left."""
        needs(self.features.cutting, "functions that can be ended")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - raised within
            async with self.environment(harness) as environment:
                await self.works(environment)
                raise ZeroDivisionError
        await harness.until(self.nothing(harness), self.features.ending)

    async def test_closing_may_be_all_that_is_done(self, harness: RuntimeHarness) -> None:
        """Runtime.close: unused ones close too, and may be closed again."""
        runtime = harness.runtime()
        await runtime.close()
        await runtime.close()

    # ----------------------------------------------------------------------------------------- init

    async def test_an_init_that_fails_is_told_by_ready(self, harness: RuntimeHarness) -> None:
        """Runtime.environment: a failed init raises nothing. Environment.ready is False; the next invocation
        begins with an init, whose failure it answers; requestId is empty, as no request was there yet.
        """
        needs(self.features.init, "functions that do not initialise")
        async with self.environment(harness, harness.failing(None)) as environment:
            assert not environment.ready
            for number in (1, 2):
                failed, document = failure(await environment.invoke(request(number=number)))
                assert failed.type == "ValueError"
                assert "no init" in failed.message
                assert document.get("requestId") == ""
                assert not environment.ready

    async def test_an_invocation_begins_with_the_init_that_is_missing(self, harness: RuntimeHarness) -> None:
        """Environment.ready: if not, the next invocation begins with that."""
        needs(self.features.init, "functions that do not initialise")
        async with self.environment(harness, harness.failing(1)) as environment:
            assert not environment.ready
            assert (await self.works(environment))["count"] == 1
            assert environment.ready

    async def test_an_init_ends_after_ten_seconds(self, harness: RuntimeHarness) -> None:
        """Runtime.environment: entering returns within 10 seconds; Environment.ready: the next invocation's
        init is within its timeout.
        """
        needs(self.features.slow_init, "functions that are slow to initialise")
        began = anyio.current_time()
        async with self.environment(harness, harness.slow(_INIT + 10)) as environment:
            took = anyio.current_time() - began
            assert _INIT * 0.99 <= took <= _INIT + self.features.ending
            assert not environment.ready
            failed, _ = failure(await environment.invoke(request()))
            assert failed.cause is Cause.TIMEOUT

    async def test_a_provisioned_init_has_more_time(self, harness: RuntimeHarness) -> None:
        """Runtime.environment: provisioned, 130 seconds."""
        needs(self.features.slow_init, "functions that are slow to initialise")
        async with self.environment(harness, harness.slow(_INIT + 5), provisioned=True) as environment:
            assert environment.ready
            assert (await self.works(environment))["value"] == 9

    # ------------------------------------------------------------------------------------ invocations

    async def test_events_and_answers_arrive_as_they_were_sent(self, harness: RuntimeHarness) -> None:
        """Request.payload and Answer.payload, up to the largest. Environment.invoke runs the function."""
        async with self.environment(harness) as environment:
            for value in (*VALUES, "x" * self.features.max_payload):
                answer = said(await environment.invoke(request(value=value)))
                assert answer["value"] == value

    async def test_the_function_knows_who_calls(self, harness: RuntimeHarness) -> None:
        """Request.request_id, function_arn, trace and client_context; and how much time there is."""
        async with self.environment(harness) as environment:
            asked = request(number=7)
            answer = said(await environment.invoke(asked))
        known = {"requestId": asked.request_id, "arn": ARN, "trace": TRACE, "custom": {"key": "value"}}
        able = {
            "requestId": self.features.request_ids,
            "arn": self.features.arns,
            "trace": self.features.traces,
            "custom": self.features.client_contexts,
        }
        told = [name for name in known if able[name] is True]
        assert {name: answer[name] for name in told} == {name: known[name] for name in told}
        if self.features.deadlines is True:
            assert 0 < answer["left"] <= self.features.timeout * 1000

    async def test_the_log_is_of_the_invocation(self, harness: RuntimeHarness) -> None:
        """Answer.log: what the function printed, in this invocation alone, 4 KB at most."""
        needs(self.features.logs, "logs")
        async with self.environment(harness) as environment:
            first = await environment.invoke(request("print", text="the first line"))
            long = await environment.invoke(request("print", number=2, text="y" * 10_000))
            last = await environment.invoke(request("print", number=3, text="the last line"))
        assert b"the first line" in first.log
        assert len(long.log) <= 4096
        assert b"yyy" in long.log
        assert b"the last line" in last.log
        assert b"the first line" not in last.log

    async def test_an_environment_is_used_again(self, harness: RuntimeHarness) -> None:
        """Environment.invoke, again and again, without another init."""
        async with self.environment(harness) as environment:
            counts = [(await self.works(environment, number))["count"] for number in range(1, 21)]
        assert counts == list(range(counts[0], counts[0] + 20))

    async def test_it_takes_as_many_at_a_time_as_it_says(self, harness: RuntimeHarness) -> None:
        """Environment.capacity."""
        async with self.environment(harness) as environment:
            assert environment.capacity == self.features.capacity
            answers: list[Any] = []

            async def sleep(number: int) -> None:
                asked = request("sleep", number, seconds=self.features.timeout / 2, value=number)
                answers.append(said(await environment.invoke(asked))["value"])

            await self.works(environment)
            async with harness.within(self.features.timeout * 0.95), tasks() as group:
                for number in range(environment.capacity):
                    group.start_soon(sleep, number)
        assert sorted(answers) == list(range(self.features.capacity))

    async def test_a_function_that_raises_is_an_answer(self, harness: RuntimeHarness) -> None:
        """Environment.invoke: what it raises is the error JSON, and the environment can be used again."""
        async with self.environment(harness) as environment:
            failed, document = failure(await environment.invoke(request("raise", message="no, ü")))
            assert failed.cause is Cause.FUNCTION
            assert "no, ü" in document["errorMessage"]
            assert environment.ready
            assert (await self.works(environment))["value"] == 9

    async def test_a_function_that_hangs_is_cut_off(self, harness: RuntimeHarness) -> None:
        """Environment.invoke: never longer than its timeout and the time that ending it takes; then the
        environment can be used again, and is another.
        """
        async with self.environment(harness) as environment:
            await self.works(environment)
            began = anyio.current_time()
            failed, document = failure(await environment.invoke(request("hang", number=2)))
            took = anyio.current_time() - began
            assert failed.cause is Cause.TIMEOUT
            assert document["errorType"] == "Sandbox.Timedout"
            assert f"Task timed out after {self.features.timeout:.2f} seconds" in document["errorMessage"]
            assert self.features.timeout * 0.99 <= took <= self.features.timeout + self.features.ending
            answer = await self.works(environment)
        assert answer["count"] == 1 or self.features.resetting is not True

    async def test_a_function_that_dies_is_an_answer(self, harness: RuntimeHarness) -> None:
        """Environment.invoke: the end of its process is an answer, and the environment can be used again."""
        async with self.environment(harness) as environment:
            for number in (1, 2):
                failed, _ = failure(await environment.invoke(request("die", number=number)))
                assert failed.cause is Cause.CRASH or self.features.dying is not True
                assert (await self.works(environment))["value"] == 9

    async def test_an_answer_that_is_too_large_is_refused(self, harness: RuntimeHarness) -> None:
        """Environment.invoke: above 6 MB, as Lambda answers; and the environment can be used again."""
        needs(self.features.large, "answers above 6 MB")
        async with self.environment(harness) as environment:
            failed, document = failure(await environment.invoke(request("large", size=7_000_000)))
            assert failed.cause is Cause.RUNTIME
            assert document["errorType"] == "Function.ResponseSizeTooLarge"
            assert "6291556" in document["errorMessage"]
            assert (await self.works(environment))["value"] == 9

    async def test_an_answer_that_is_not_streamed_is_whole(self, harness: RuntimeHarness) -> None:
        """Request.stream is for functions that stream: nothing else begins it."""
        taken = Taken()
        async with self.environment(harness) as environment:
            answer = said(await environment.invoke(request(value=7)._replace(stream=taken)))
        assert answer["value"] == 7
        assert taken.types == []
        assert taken.pieces == []

    async def test_a_stream_comes_piece_by_piece(self, harness: RuntimeHarness) -> None:
        """Request.stream, as the function writes: ResponseStream.begin once, then ResponseStream.write; not
        as Answer.payload. ResponseStream.version is not the runtime's to write.
        """
        needs(self.features.streaming, "functions that stream")
        asked = request("stream", pieces=["one,", "zwölf"], type="text/plain")
        taken = Taken()
        async with self.environment(harness, harness.streaming()) as environment:
            answer = await environment.invoke(asked._replace(stream=taken))
            assert (answer.outcome, answer.payload) == (Succeeded(), b"")
            assert (taken.types, b"".join(taken.pieces)) == (["text/plain"], "one,zwölf".encode())
            assert taken.version == ""
            assert (await environment.invoke(asked)).payload == "one,zwölf".encode()
            assert (await self.works(environment))["value"] == 9

    async def test_a_stream_that_fails_ends_with_the_error(self, harness: RuntimeHarness) -> None:
        """Answer.payload: of a stream, the error alone; what came before it stands. Nothing is written after
        Environment.invoke has returned.
        """
        needs(self.features.streaming, "functions that stream")
        async with self.environment(harness, harness.streaming()) as environment:
            for then, cause in (("raise", Cause.FUNCTION), ("hang", Cause.TIMEOUT)):
                taken = Taken()
                asked = request("stream", pieces=["half"], type="text/plain", then=then, message="no")
                failed, _ = failure(await environment.invoke(asked._replace(stream=taken)))
                taken.over = True
                assert failed.cause is cause
                assert taken.pieces == [b"half"]
                assert (await self.works(environment))["value"] == 9

    async def test_a_stream_that_nobody_reads_holds_the_function_back(self, harness: RuntimeHarness) -> None:
        """ResponseStream.write says that there is no room, until ResponseStream.when_read calls back."""
        needs(self.features.streaming, "functions that stream")
        size = 4 * 1024 * 1024
        taken = Taken(room=False)
        asked = request("stream", pieces=["first"], fill=size, type="text/plain")
        async with self.environment(harness, harness.streaming()) as environment:
            async with tasks() as group:
                group.start_soon(environment.invoke, asked._replace(stream=taken))
                await harness.until(taken.waited_for, self.features.patience)
                held = sum(map(len, taken.pieces))
                await anyio.sleep(self.features.moment)
                assert sum(map(len, taken.pieces)) == held < size / 8
                taken.read()
            assert sum(map(len, taken.pieces)) == size + len("first")

    async def test_what_is_cancelled_is_cut_off(self, harness: RuntimeHarness) -> None:
        """Environment.invoke: cancelled, the invocation is cut off, and the environment can be used again."""
        async with self.environment(harness) as environment:
            await self.works(environment)
            async with harness.within(self.features.timeout * 0.5 + self.features.ending):
                with anyio.move_on_after(self.features.timeout * 0.5) as limit:
                    await environment.invoke(request("hang"))
            assert limit.cancelled_caught
            needs(self.features.cutting, "functions that can be ended")
            answer = await self.works(environment)
        assert answer["count"] == 1 or self.features.resetting is not True

    async def test_one_that_cannot_work_raises(self, harness: RuntimeHarness) -> None:
        """Environment.invoke raises OSError where the environment cannot work, and can be left then."""
        needs(self.features.breaking, "environments that can be broken")
        async with harness.within(2 * self.features.patience), self.environment(harness) as environment:
            await self.works(environment)
            await harness.spoil(environment)
            with pytest.raises(OSError, match=r"."):
                await environment.invoke(request())

    def nothing(self, harness: RuntimeHarness) -> Any:
        """Whether nothing runs."""

        async def holds() -> bool:
            return await harness.running() == 0

        return holds
