"""Functions that hang, fork, leak, crash and flood: each is answered as Lambda answers, harms nobody else,
and leaves nothing behind.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import psutil
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from streamfn.core.outcomes import Cause, Failed, Succeeded
from streamfn.ports import Answer
from tests.proof.corpus import Corpus, Traces, said
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = os.geteuid() == 0
CHECKOUT = Path(__file__).parents[2]


def error(answer: Answer, cause: Cause) -> tuple[str, str]:
    """Type and message of a failure."""
    assert isinstance(answer.outcome, Failed)
    assert answer.outcome.cause is cause
    document = said(answer)
    return document["errorType"], document["errorMessage"]


@pytest.mark.parametrize(
    ("how", "more", "text"),
    [
        ("exits", {"status": 0}, "Runtime exited without providing a reason"),
        ("exits", {"status": 127}, "Runtime exited with error: exit status 127"),
        ("raises_system_exit", {"status": 4}, "Runtime exited with error: exit status 4"),
        ("segfaults", {}, "Runtime exited with error: signal: segmentation fault"),
        ("is_killed", {}, "Runtime exited with error: signal: killed"),
        ("opens_files", {"dies": True}, "Runtime exited with error: exit status 1"),
        ("forks", {"dies": True}, "Runtime exited with error: exit status 1"),
    ],
)
async def test_a_crash_is_answered_at_once_and_the_next_invocation_begins_anew(
    corpus: Corpus, how: str, more: dict[str, object], text: str
) -> None:
    traces = await warmed(corpus)
    async with corpus.runtime("harms.handler").environment() as environment:
        request = corpus.harm(how, **more)
        with anyio.fail_after(8):
            answer = await environment.invoke(request)
        assert error(answer, Cause.CRASH) == (
            "Runtime.ExitError",
            f"RequestId: {request.request_id} Error: {text}",
        )
        assert not environment.ready
        again = corpus.harm("nothing")
        assert (await environment.invoke(again)).payload == again.payload.replace(b":", b": ").replace(
            b",", b", "
        )
    await traces.are_gone()


@pytest.mark.parametrize(("how", "more"), [("hangs", {}), ("hangs_deaf", {}), ("forks", {"hangs": True})])
async def test_what_hangs_is_killed_with_all_that_it_started(
    corpus: Corpus, how: str, more: dict[str, object]
) -> None:
    traces = await warmed(corpus)
    async with corpus.runtime("harms.handler", timeout=0.5).environment() as environment:
        request = corpus.harm(how, **more)
        answer = await environment.invoke(request)
        assert error(answer, Cause.TIMEOUT) == (
            "Sandbox.Timedout",
            f"RequestId: {request.request_id} Error: Task timed out after 0.50 seconds",
        )
        assert b"Status: timeout" in answer.log
    await traces.are_gone()


async def test_a_daemon_lives_as_long_as_its_environment(corpus: Corpus) -> None:
    traces = await warmed(corpus)
    async with corpus.runtime("harms.handler").environment() as environment:
        assert said(await environment.invoke(corpus.harm("forks"))) == "forked"
        assert said(await environment.invoke(corpus.harm("forks_zombies"))) == "forked"
        assert len(marked(corpus.mark)) == 1
    await traces.are_gone()


async def test_one_that_leaks_is_killed_at_its_limit_and_the_others_go_on(corpus: Corpus) -> None:
    traces = await warmed(corpus)
    async with (
        corpus.runtime("harms.handler", memory_size=192).environment() as leaking,
        corpus.runtime("noop.counts").environment() as other,
        anyio.create_task_group() as tasks,
    ):
        answers: list[Answer] = []

        async def leak() -> None:
            answers.append(await leaking.invoke(corpus.harm("leaks")))
            tasks.cancel_scope.cancel()

        tasks.start_soon(leak)
        for count in range(1, 1_000_000):
            assert said(await other.invoke(corpus.request(None))) == count
    kind, text = error(answers[0], Cause.CRASH)
    assert (kind, text.partition("Error: ")[2]) == (
        "Runtime.ExitError",
        "Runtime exited with error: signal: killed",
    )
    await traces.are_gone()


async def test_what_takes_all_descriptors_takes_only_its_own(corpus: Corpus) -> None:
    traces = await warmed(corpus)
    async with corpus.runtime("harms.handler").environment() as environment:
        opened = said(await environment.invoke(corpus.harm("opens_files")))
        assert opened["error"] == "OSError"
        assert 900 < opened["opened"] < 1024
        assert isinstance((await environment.invoke(corpus.harm("nothing"))).outcome, Succeeded)
    await traces.are_gone()


@pytest.mark.skipif(not ROOT, reason="processes are counted by user, and by control group")
@pytest.mark.timeout(60)
async def test_a_fork_bomb_ends_at_its_limit(corpus: Corpus) -> None:
    traces = await warmed(corpus)
    async with corpus.runtime("harms.handler", timeout=40.0, memory_size=10_240).environment() as environment:
        made = said(await environment.invoke(corpus.harm("forks_without_end")))
        assert made["error"] == "BlockingIOError"
        assert 900 < made["made"] < 1024
    await traces.are_gone()


@pytest.mark.skipif(not ROOT, reason="without namespaces a function may kill what its user may")
async def test_a_function_can_kill_nobody_else(corpus: Corpus) -> None:
    async with (
        corpus.runtime("harms.handler").environment() as environment,
        corpus.runtime("noop.counts").environment() as other,
    ):
        assert said(await other.invoke(corpus.request(None))) == 1
        await environment.invoke(corpus.harm("kills_everything"))
        assert said(await other.invoke(corpus.request(None))) == 2


@pytest.mark.parametrize("line", [100, 10_000_000])
async def test_ten_megabytes_of_output_are_read_and_the_last_four_kilobytes_kept(
    corpus: Corpus, line: int
) -> None:
    async with corpus.runtime("harms.handler").environment() as environment:
        answer = await environment.invoke(corpus.harm("prints", bytes=10_000_000, line=line))
        assert said(answer) == "printed"
        assert len(answer.log) == 4096
        assert answer.log.startswith(b"xxxxx")
        assert b"\nREPORT RequestId: " in answer.log


async def test_seven_megabytes_are_too_large_an_answer(corpus: Corpus) -> None:
    async with corpus.runtime("harms.handler").environment() as environment:
        answer = await environment.invoke(corpus.harm("returns_large", bytes=7_000_000))
        assert error(answer, Cause.RUNTIME) == (
            "Function.ResponseSizeTooLarge",
            "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        )
        assert isinstance((await environment.invoke(corpus.harm("nothing"))).outcome, Succeeded)


async def test_what_is_no_json_is_an_error_of_the_function(corpus: Corpus) -> None:
    async with corpus.runtime("raises.returns_no_json").environment() as environment:
        kind, text = error(await environment.invoke(corpus.request({})), Cause.FUNCTION)
        assert kind == "Runtime.MarshalError"
        assert "object is not JSON serializable" in text
        assert environment.ready


async def test_an_exception_has_its_class_and_its_lines(corpus: Corpus) -> None:
    async with corpus.runtime("raises.handler").environment() as environment:
        answer = await environment.invoke(corpus.request({"what": "apples"}))
        assert error(answer, Cause.FUNCTION) == ("OutOfStock", "apples")
        assert 'raise OutOfStock(event["what"])' in "".join(said(answer)["stackTrace"])


async def test_one_that_cannot_be_imported_says_why(corpus: Corpus) -> None:
    async with corpus.runtime("broken.handler").environment() as environment:
        assert not environment.ready
        answer = await environment.invoke(corpus.request({}))
        assert error(answer, Cause.FUNCTION) == ("RuntimeError", "no configuration")
        assert said(answer)["requestId"] == ""


async def test_one_that_exits_in_its_init_is_answered_as_an_exit(corpus: Corpus) -> None:
    traces = await warmed(corpus)
    async with corpus.runtime("exits.handler").environment() as environment:
        assert not environment.ready
        request = corpus.request({})
        answer = await environment.invoke(request)
        assert error(answer, Cause.CRASH) == (
            "Runtime.ExitError",
            f"RequestId: {request.request_id} Error: Runtime exited with error: exit status 7",
        )
        assert b"about to exit" in answer.log
    await traces.are_gone()


KILLED = """
import sys
import anyio
from streamfn.runtimes.process.launchers import Launchers
from tests.proof.corpus import Corpus

async def main():
    async with Launchers(sys.argv[1]) as launchers:
        corpus = Corpus(launchers)
        corpus.mark = sys.argv[2]
        async with corpus.runtime("harms.handler").environment() as environment:
            await environment.invoke(corpus.harm("forks"))
            print("forked", flush=True)
            await environment.invoke(corpus.harm("hangs_deaf"))

anyio.run(main)
"""


async def test_an_init_that_takes_too_long_is_tried_again_within_the_invocation(corpus: Corpus) -> None:
    runtime = corpus.runtime("slow_start.handler", init_timeout=0.2, environment={"SECONDS": "0.5"})
    async with runtime.environment() as environment:
        assert not environment.ready
        assert said(await environment.invoke(corpus.request({}))) == "there"
        assert environment.ready


async def test_of_a_streamfn_that_is_killed_nothing_is_left(tmp_path: Path) -> None:
    mark = f"killed-{tmp_path.name}"
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "environments"), mark]
    async with await anyio.open_process(command, env=os.environ | {"PYTHONPATH": path}) as process:
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        assert await lines.receive_until(b"\n", 100) == b"forked"
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 3  # launcher, init and runtime at least
        assert len(marked(mark)) == 1
        process.kill()
    await until(lambda: not marked(mark) and not any(one.is_running() for one in family))


def marked(mark: str) -> list[int]:
    """Processes that functions of this test left."""
    return [one.pid for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or ())[:1]]


async def warmed(corpus: Corpus) -> Traces:
    """The launcher runs, so that what it keeps open is not counted."""
    async with corpus.runtime("noop.handler").environment():
        pass
    return Traces(corpus)
