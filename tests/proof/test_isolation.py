"""What a function sees of the machine, of streamfn and of its neighbours: its own, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamfn.core.outcomes import Cause, Failed
from streamfn.runtimes.process.launchers import Launchers
from tests.proof.corpus import Corpus, said

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
async def confined(launchers: Launchers, corpus: Corpus) -> Corpus:
    """Where there are namespaces and users."""
    async with corpus.runtime("noop.handler").environment():
        (launcher,) = launchers._launchers.values()
    if not (launcher.capabilities.namespaces and launcher.capabilities.users):
        pytest.skip("namespaces and users of their own take root, and a kernel that lets it")
    return corpus


async def test_no_secret_of_the_parent_is_seen(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFN_TEST_SECRET", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    runtime = corpus.runtime("tells.handler", environment={"OWN": "yes"}, memory_size=1769, timeout=10.0)
    async with runtime.environment() as environment:
        request = corpus.request({})
        seen = said(await environment.invoke(request))
    assert "hush" not in seen["environment"].values()
    assert seen["environment"]["OWN"] == "yes"
    assert seen["context"] == {
        "aws_request_id": request.request_id,
        "function_name": "corpus",
        "function_version": "$LATEST",
        "invoked_function_arn": request.function_arn,
        "log_group_name": "/aws/lambda/corpus",
        "log_stream_name": seen["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"],
        "memory_limit_in_mb": "1769",
    }
    assert 0 < seen["remaining"] <= 10_000
    assert seen["folder"] == seen["environment"]["LAMBDA_TASK_ROOT"]
    # Input, both outputs, the connection to the Runtime API, the folder that is read: nothing inherited.
    assert seen["open"] <= 7
    assert seen["new_privileges"] == "1"


async def test_each_environment_has_a_user_and_a_tmp_of_its_own(confined: Corpus) -> None:
    async with (
        confined.runtime("tells.handler").environment() as one,
        confined.runtime("tells.handler").environment() as other,
    ):
        users = {said(await place.invoke(confined.request({})))["user"] for place in (one, other)}
    assert len(users) == 2
    assert 0 not in users
    async with (
        confined.runtime("tells.keeps").environment() as one,
        confined.runtime("tells.keeps").environment() as other,
    ):
        for place, text in ((one, "mine"), (other, "yours"), (one, "mine")):
            assert said(await place.invoke(confined.request({"text": text}))) == text


async def test_what_others_have_is_closed(confined: Corpus, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    async with confined.runtime("tells.reads").environment() as environment:
        for path in (str(tmp_path), "/proc/1/root", "/proc/1/fd"):
            seen = said(await environment.invoke(confined.request({"path": path})))
            assert seen in ("PermissionError", "FileNotFoundError"), path


async def test_nobody_sees_the_processes_of_others(confined: Corpus) -> None:
    async with confined.runtime("tells.reads").environment() as environment:
        seen = said(await environment.invoke(confined.request({"path": "/proc"})))
    # Its init, and the function.
    assert len([name for name in seen if name.isdigit()]) <= 3


async def test_code_cannot_be_changed(confined: Corpus) -> None:
    async with confined.runtime("tells.writes").environment() as environment:
        request = confined.request({"folder": "/var/task", "megabytes": 1})
        answer = await environment.invoke(request)
    assert said(answer)["errorType"] == "OSError"
    assert "Read-only file system" in said(answer)["errorMessage"]


async def test_a_single_file_ends_at_the_limit_of_tmp(corpus: Corpus) -> None:
    async with corpus.runtime(
        "tells.writes", ephemeral_storage=512, timeout=30.0
    ).environment() as environment:
        assert said(await environment.invoke(corpus.request({"megabytes": 5}))) == 5
        answer = await environment.invoke(corpus.request({"megabytes": 600}))
    assert isinstance(answer.outcome, Failed)
    assert answer.outcome.cause is Cause.FUNCTION
    assert "File too large" in said(answer)["errorMessage"]


async def test_the_runtime_apis_of_others_do_not_answer(corpus: Corpus) -> None:
    async with (
        corpus.runtime("tells.handler").environment() as one,
        corpus.runtime("harms.handler").environment() as other,
    ):
        api = said(await one.invoke(corpus.request({})))["environment"]["AWS_LAMBDA_RUNTIME_API"]
        port = int(api.rpartition(":")[2])
        answered = said(await other.invoke(corpus.harm("calls_others", ports=[port])))
        # It is cut off, or never gets through.
        assert answered[str(port)] in (
            "",
            "ConnectionResetError",
            "BrokenPipeError",
            "ConnectionRefusedError",
        )
        assert said(await one.invoke(corpus.request({})))["context"]["function_name"] == "corpus"
