"""Functions in Node.js, shell, Go and Rust run as they are: a handler under its runtime, or a `bootstrap`."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamfn.core.outcomes import Cause, Failed
from tests.proof.corpus import FUNCTIONS, Corpus, Traces, said

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(120)]

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
needs_bash = pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash here")


# --------------------------------------------------------------------------------------------- Node.js


@needs_node
async def test_node_runs_commonjs(corpus: Corpus) -> None:
    async with corpus.runtime("index.handler", "nodejs20.x", "node/cjs").environment() as environment:
        for count in (1, 2):
            request = corpus.request({"a": "ü"})
            answer = await environment.invoke(request)
            assert said(answer) == {
                "event": {"a": "ü"},
                "count": count,
                "id": request.request_id,
                "name": "corpus",
                "left": True,
            }
            assert f"seen {count}".encode() in answer.log


@needs_node
async def test_node_runs_modules(corpus: Corpus) -> None:
    async with corpus.runtime("index.handler", "nodejs20.x", "node/esm").environment() as environment:
        answer = await environment.invoke(corpus.request({"value": 21}))
        assert said(answer) == {"value": 42, "started": "started", "version": "$LATEST"}


@needs_node
async def test_node_calls_back(corpus: Corpus) -> None:
    async with corpus.runtime("index.calls_back", "nodejs20.x", "node/cjs").environment() as environment:
        assert said(await environment.invoke(corpus.request({"value": 1}))) == {"called": 1}


@needs_node
async def test_node_throws_and_rejects(corpus: Corpus) -> None:
    async with corpus.runtime("index.raises", "nodejs20.x", "node/cjs").environment() as environment:
        answer = await environment.invoke(corpus.request({"what": "apples"}))
        assert isinstance(answer.outcome, Failed)
        assert answer.outcome.cause is Cause.FUNCTION
        assert (said(answer)["errorType"], said(answer)["errorMessage"]) == ("OutOfStock", "apples")
    async with corpus.runtime("index.rejects_later", "nodejs20.x", "node/cjs").environment() as environment:
        answer = await environment.invoke(corpus.request({}))
        assert isinstance(answer.outcome, Failed)
        assert "nobody listens" in said(answer)["errorMessage"]


@needs_node
async def test_node_that_hangs_is_killed(corpus: Corpus) -> None:
    runtime = corpus.runtime("index.hangs", "nodejs20.x", "node/cjs", timeout=0.5)
    async with runtime.environment() as environment:
        answer = await environment.invoke(corpus.request({}))
        assert said(answer)["errorType"] == "Sandbox.Timedout"
    await Traces(corpus).are_gone()


# ----------------------------------------------------------------------------------------------- shell


@needs_bash
async def test_a_shell_script_is_a_runtime(corpus: Corpus) -> None:
    async with corpus.runtime("echoes", "provided.al2023", "shell").environment() as environment:
        for value in (1, "zwölf", ["a" * 10_000]):
            request = corpus.request(value)
            answer = await environment.invoke(request)
            assert said(answer) == {"echo": value}
            assert f"asked for {request.request_id}".encode() in answer.log


@needs_bash
@pytest.mark.parametrize(
    ("handler", "answered"),
    [
        ("answers_no_json", b'plain words: {"a":1}'),  # as on Lambda: it is for the caller to read
        ("fails", b'{"errorMessage":"status 3","errorType":"Shell.Failed"}'),
        (
            "fills",
            b'{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).",'
            b'"errorType":"Function.ResponseSizeTooLarge"}',
        ),
    ],
)
async def test_a_shell_script_answers_what_it_likes(corpus: Corpus, handler: str, answered: bytes) -> None:
    async with corpus.runtime(handler, "provided.al2023", "shell").environment() as environment:
        for _ in range(2):
            assert (await environment.invoke(corpus.request({"a": 1}))).payload == answered


@needs_bash
async def test_a_shell_script_that_hangs_is_killed_with_its_children(corpus: Corpus) -> None:
    async with corpus.runtime("hangs", "provided.al2023", "shell", timeout=0.5).environment() as environment:
        answer = await environment.invoke(corpus.request({}))
        assert said(answer)["errorType"] == "Sandbox.Timedout"
    await Traces(corpus).are_gone()


@needs_bash
async def test_a_shell_script_reports_an_error_of_its_init(corpus: Corpus) -> None:
    async with corpus.runtime("nonsense", "provided.al2023", "shell").environment() as environment:
        assert not environment.ready
        answer = await environment.invoke(corpus.request({}))
        assert answer.payload == b'{"errorMessage":"no such handler","errorType":"Shell.NoHandler"}'


# ------------------------------------------------------------------------------------ compiled languages


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the function in Go."""
    folder = tmp_path_factory.mktemp("go")
    return _built(folder, "go", ["build", "-o", str(folder / "bootstrap"), "."], FUNCTIONS / "go")


@pytest.fixture(scope="session")
def rust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the function in Rust."""
    folder = tmp_path_factory.mktemp("rust")
    return _built(folder, "rustc", ["-o", str(folder / "bootstrap"), "main.rs"], FUNCTIONS / "rust")


def _built(folder: Path, compiler: str, arguments: Sequence[str], sources: Path) -> Path:
    program = _compiler(compiler)
    if program is None:
        pytest.skip(f"there is no {compiler} here")
    # As little as a default installation brings, and nothing out of a network.
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [program, *arguments], cwd=sources, env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    folder.chmod(0o755)  # For users of environments, as a folder with code is.
    return folder


@functools.cache
def _compiler(name: str) -> str | None:
    """It is there, and runs: a shim of a version tool may lead nowhere."""
    found = shutil.which(name)
    asked = {"go": "version", "rustc": "--version"}[name]
    if found and subprocess.run([found, asked], capture_output=True).returncode == 0:
        return found
    return None


async def test_go_is_run_as_it_was_compiled(corpus: Corpus, go: Path) -> None:
    async with corpus.runtime("unused", "provided.al2023", go).environment() as environment:
        answer = await environment.invoke(corpus.request({"values": [1, 2, 39]}))
        assert said(answer) == {"sum": 42}
        assert b"added 3\n" in answer.log
        answer = await environment.invoke(corpus.request({"values": "none"}))
        assert isinstance(answer.outcome, Failed)
        assert said(answer)["errorType"] == "Go.Error"


async def test_rust_is_run_as_it_was_compiled(corpus: Corpus, rust: Path) -> None:
    async with corpus.runtime("unused", "provided.al2", rust).environment() as environment:
        answer = await environment.invoke(corpus.request([1, 2]))
        assert said(answer) == {"bytes": 5}
        assert b"turned 5 bytes\n" in answer.log
        request = corpus.request("panic")
        answer = await environment.invoke(request)
        assert said(answer) == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {request.request_id} Error: "
            "Runtime exited with error: exit status 101",
        }
        assert said(await environment.invoke(corpus.request([]))) == {"bytes": 2}
