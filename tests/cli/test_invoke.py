"""`streamfn invoke --async`: durable when it returns, and taken by workers before and after."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Start, Streamfn, add, until

FUNCTIONS = """
@app.function
def note(event, context):
    print("noted", context.aws_request_id, context.invoked_function_arn.rpartition(":function:")[2],
          event["n"], flush=True)

app.event_invoke_config(note, Qualifier="live")
"""

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.fixture(autouse=True)
def functions(project: Path) -> None:
    add(project, FUNCTIONS)


def test_an_event_waits_for_a_worker(streamfn: Streamfn, start: Start) -> None:
    done = streamfn("invoke", "note", '{"n": 1}', "--async")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(UUID + "\n", done.stdout)
    assert "no worker runs here" in done.stderr
    worker = start("run", "app:app")
    assert until(worker.stdout, "noted").split() == ["noted", done.stdout.strip(), "note", "1"]


def test_a_running_worker_takes_it_though_it_never_had_one(streamfn: Streamfn, start: Start) -> None:
    worker = start("run", "app:app")
    until(worker.stderr, "worker_started")
    done = streamfn("invoke", "note:live", "-", "--async", "--json", stdin='{"n": [2]}')
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["StatusCode"] == 202
    assert until(worker.stdout, "noted").split() == ["noted", answer["RequestId"], "note:live", "[2]"]


def test_a_worker_that_lacks_the_function_is_told_of(streamfn: Streamfn, start: Start) -> None:
    worker = start("run", "app:app")
    until(worker.stderr, "worker_started")
    done = streamfn("invoke", "other", "{}", "--async")
    assert done.returncode == 0
    assert "no worker takes the event, which waits: FunctionName: Function not found: other" in done.stderr


def test_payloads_come_from_files(project: Path, streamfn: Streamfn) -> None:
    (project / "payload.json").write_text('{"n": 3}')
    assert streamfn("invoke", "note", "@payload.json", "--async").returncode == 0
    done = streamfn("invoke", "note", "@nothing.json", "--async")
    assert done.returncode == 2
    assert "nothing.json: PAYLOAD: cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("note", "{"), 1, "Could not parse request body into json"),
        (("note", "{}", "--qualifier", "a b"), 2, "'note:a b' is no function's name"),
        (("no/te",), 2, "'no/te' is no function's name"),
    ],
)
def test_what_cannot_be_queued_is_refused(
    streamfn: Streamfn, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = streamfn("invoke", *arguments, "--async")
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_a_payload_above_1_mb_is_refused(streamfn: Streamfn) -> None:
    largest = '"' + "x" * (2**20 - 2) + '"'
    assert streamfn("invoke", "note", "-", "--async", stdin=largest).returncode == 0
    done = streamfn("invoke", "note", "-", "--async", stdin=largest + " ")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the payload has 1,048,577 bytes; an asynchronous invocation takes 1,048,576" in done.stderr


def test_a_state_directory_that_cannot_be_used_is_told(project: Path, streamfn: Streamfn) -> None:
    (project / "file").write_text("")
    done = streamfn("invoke", "note", "{}", "--async", "--state-dir", "file")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing was queued: " in done.stderr


def test_a_function_answers_who_waits(streamfn: Streamfn, start: Start, project: Path) -> None:
    add(
        project,
        """
@app.function
def add_up(event, context):
    return {"sum": event["a"] + event["b"]}
""",
    )
    worker = start("run", "app:app")
    until(worker.stderr, "worker_started")
    done = streamfn("invoke", "add_up", '{"a": 1, "b": 2}')
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"sum":3}\n', "")
    failed = streamfn("invoke", "add_up", "{}", "--json")
    assert failed.returncode == 1
    answer = json.loads(failed.stdout)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"])["errorType"] == "KeyError"
    unknown = streamfn("invoke", "other")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "Function does not exist" in unknown.stderr


def test_without_a_worker_nobody_answers(streamfn: Streamfn) -> None:
    done = streamfn("invoke", "note")
    assert done.returncode == 1
    assert "no worker runs" in done.stderr
