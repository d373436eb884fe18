"""Invoke in all its ways, its limits, and the errors of functions."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import checks
from checks import api, arn, create, refused, unique

CODE = """
import os, sys, time

def handler(event, context):
    what = event.get("do")
    if what == "fail":
        raise ValueError("no: ü")
    if what == "sleep":
        time.sleep(event["seconds"])
    if what == "exit":
        os._exit(3)
    if what == "large":
        return "x" * event["size"]
    if what == "none":
        return None
    if what == "print":
        print(event["line"])
    if what == "context":
        custom = context.client_context.custom if context.client_context else None
        return {"custom": custom, "arn": context.invoked_function_arn, "version": context.function_version}
    return event
"""
SYNC_LIMIT = 6_291_456
ASYNC_LIMIT = 1_048_576
_made: list[str] = []


def name() -> str:
    """One function for all checks."""
    if not _made:
        _made.append(create(CODE, Timeout=1, Publish=True))
        api.create_alias(FunctionName=_made[0], Name="live", FunctionVersion="1")
    return _made[0]


def invoked(event: Any, **options: Any) -> tuple[Any, Any]:
    said = api.invoke(FunctionName=name(), Payload=json.dumps(event).encode(), **options)
    return said, json.loads(said["Payload"].read() or b"null")


def check_an_answer() -> None:
    said, answer = invoked({"a": 1})
    assert (said["StatusCode"], said["ExecutedVersion"], answer) == (200, "$LATEST", {"a": 1}), said
    assert "FunctionError" not in said
    assert "LogResult" not in said
    assert invoked({"do": "none"})[1] is None
    assert api.invoke(FunctionName=create("def handler(e, c):\n    return e\n"))["Payload"].read() in (
        b"{}",
        b"null",
    )


def check_an_error_of_the_function() -> None:
    said, answer = invoked({"do": "fail"})
    assert (said["StatusCode"], said["FunctionError"]) == (200, "Unhandled"), said
    assert (answer["errorType"], answer["errorMessage"]) == ("ValueError", "no: ü"), answer
    assert answer["requestId"] == said["ResponseMetadata"]["RequestId"]
    assert any("index.py" in line for line in answer["stackTrace"]), answer


def check_a_timeout() -> None:
    said, answer = invoked({"do": "sleep", "seconds": 5})
    assert said["FunctionError"] == "Unhandled"
    request = said["ResponseMetadata"]["RequestId"]
    assert answer == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request} Error: Task timed out after 1.00 seconds",
    }, answer


def check_an_exit() -> None:
    said, answer = invoked({"do": "exit"})
    assert said["FunctionError"] == "Unhandled"
    assert answer["errorType"] == "Runtime.ExitError", answer
    assert invoked({"again": 1})[1] == {"again": 1}


def check_an_answer_above_the_limit() -> None:
    # With 128 MB it has a fourteenth of a processor, and 7 MB are more than a second of work for that.
    api.update_function_configuration(FunctionName=name(), Timeout=60)
    api.get_waiter("function_updated_v2").wait(FunctionName=name())
    said, answer = invoked({"do": "large", "size": 7_000_000})
    assert said["FunctionError"] == "Unhandled"
    assert answer["errorType"] == "Function.ResponseSizeTooLarge", answer
    assert answer["errorMessage"] == (
        "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
    )


def check_payloads_up_to_the_limit() -> None:
    most = b'"' + b"x" * (SYNC_LIMIT - 2) + b'"'
    echo = create("def handler(event, context):\n    return len(event)\n")
    assert api.invoke(FunctionName=echo, Payload=most)["Payload"].read() == b"%d" % (SYNC_LIMIT - 2)
    with refused("RequestTooLargeException", status=413):
        api.invoke(FunctionName=echo, Payload=most + b" ")
    event = b'"' + b"x" * (ASYNC_LIMIT - 2) + b'"'
    assert checks.status(api.invoke(FunctionName=echo, Payload=event, InvocationType="Event")) == 202
    with refused("RequestTooLargeException", status=413):
        api.invoke(FunctionName=echo, Payload=event + b" ", InvocationType="Event")


def check_the_end_of_the_log() -> None:
    said, _ = invoked({"do": "print", "line": "a line ü"}, LogType="Tail")
    log = base64.b64decode(said["LogResult"]).decode()
    request = said["ResponseMetadata"]["RequestId"]
    for part in (f"START RequestId: {request}", "a line ü", f"END RequestId: {request}", "REPORT RequestId"):
        assert part in log, log
    said, _ = invoked({"do": "print", "line": "y" * 9000}, LogType="Tail")
    assert len(base64.b64decode(said["LogResult"])) <= 4096


def check_a_dry_run() -> None:
    said = api.invoke(FunctionName=name(), InvocationType="DryRun", Payload=b'{"do": "fail"}')
    assert (said["StatusCode"], said["Payload"].read()) == (204, b"")


def check_an_event() -> None:
    said = api.invoke(FunctionName=name(), InvocationType="Event", Payload=b'{"do": "print"}')
    assert (said["StatusCode"], said["Payload"].read()) == (202, b"")
    assert len(said["ResponseMetadata"]["RequestId"]) == 36
    with refused("InvalidRequestContentException", status=400):
        api.invoke(FunctionName=name(), InvocationType="Event", Payload=b"{")


def check_invoke_async() -> None:
    said = api.invoke_async(FunctionName=name(), InvokeArgs=b"{}")
    assert said["Status"] == 202


def check_qualifiers() -> None:
    for qualifier, version in (("1", "1"), ("live", "1")):
        said, answer = invoked({"do": "context"}, Qualifier=qualifier)
        assert said["ExecutedVersion"] == version
        assert answer["version"] == version
        assert answer["arn"] == f"{arn('function', name())}:{qualifier}", answer
    _, answer = invoked({"do": "context"})
    assert answer["arn"] == arn("function", name()), answer
    by_arn = api.invoke(FunctionName=f"{arn('function', name())}:live", Payload=b"{}")
    assert by_arn["ExecutedVersion"] == "1"


def check_the_context_of_the_client() -> None:
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    assert invoked({"do": "context"}, ClientContext=context)[1]["custom"] == {"k": "v"}


def check_what_is_not_there() -> None:
    missing = unique("none")
    said = f"Function not found: {arn('function', missing)}:$LATEST"
    for kind in ("RequestResponse", "Event", "DryRun"):
        with refused("ResourceNotFoundException", said, 404):
            api.invoke(FunctionName=missing, InvocationType=kind)
    with refused("ResourceNotFoundException", f"Function not found: {arn('function', name())}:99", 404):
        api.invoke(FunctionName=name(), Qualifier="99")
    with refused("ResourceNotFoundException", f"Function not found: {arn('function', name())}:nobody", 404):
        api.invoke(FunctionName=name(), Qualifier="nobody")


def check_what_is_no_json() -> None:
    with refused("InvalidRequestContentException", "Could not parse request body into json: ...", 400):
        api.invoke(FunctionName=name(), Payload=b"{no")
    with refused("InvalidRequestContentException", status=400):
        api.invoke(FunctionName=name(), Payload=b'"\xff"')


def check_a_stream() -> None:
    said = api.invoke_with_response_stream(FunctionName=name(), Payload=b'{"a": 1}', LogType="Tail")
    assert (said["StatusCode"], said["ExecutedVersion"]) == (200, "$LATEST")
    events = list(said["EventStream"])
    payload = b"".join(event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event)
    assert json.loads(payload) == {"a": 1}, events
    assert "InvokeComplete" in events[-1]
    assert b"REPORT" in base64.b64decode(events[-1]["InvokeComplete"]["LogResult"])


def check_a_stream_of_a_function_that_fails() -> None:
    said = api.invoke_with_response_stream(FunctionName=name(), Payload=b'{"do": "fail"}')
    complete = list(said["EventStream"])[-1]["InvokeComplete"]
    assert complete["ErrorCode"] == "Unhandled", complete
    assert "ValueError" in complete["ErrorDetails"], complete


def check_a_throttle() -> None:
    slow = create(CODE, Timeout=10)
    api.put_function_concurrency(FunctionName=slow, ReservedConcurrentExecutions=1)
    answers: list[Any] = []

    def invoke() -> None:
        try:
            answers.append(api.invoke(FunctionName=slow, Payload=b'{"do": "sleep", "seconds": 2}'))
        except api.exceptions.TooManyRequestsException as error:
            answers.append(error.response)

    both = [threading.Thread(target=invoke) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    refusal, done = answers  # the refused one does not wait
    assert done["StatusCode"] == 200, done
    assert refusal["Error"]["Message"] == "Rate Exceeded.", refusal
    assert refusal["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded", refusal
    assert checks.status(refusal) == 429


checks.run(globals())
