"""InvokeWithResponseStream of a function that streams: a custom runtime, which is a shell script."""

from __future__ import annotations

import base64
import io
import json
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import checks
from checks import ROLE, SOON, api, unique

BOOTSTRAP = r"""#!/bin/bash
# Writes "first,", waits until somebody lets it on at a port, and ends as its event says.
ROOT=/2018-06-01/runtime/invocation
ask() {
    exec 3<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API/:/\/}
    printf "$1\r\nHost: a\r\nConnection: close\r\n$2\r\n" >&3
}
pass() {
    exec 4<>/dev/tcp/127.0.0.1/$1
    cat <&4 >/dev/null
    exec 4>&-
}
ERROR='{"errorType": "Broken", "errorMessage": "half of it"}'
while true; do
    ask "GET $ROOT/next HTTP/1.1" ""
    answer=$(cat <&3)
    id=$(grep -i '^Lambda-Runtime-Aws-Request-Id' <<<"$answer" | tr -d '\r' | cut -d' ' -f2)
    event=$(tail -n 1 <<<"$answer")
    ports=($(grep -o '[0-9]\+' <<<"$event"))
    ask "POST $ROOT/$id/response HTTP/1.1" "Content-Type: text/csv\r\nTransfer-Encoding: chunked\r
Lambda-Runtime-Function-Response-Mode: streaming\r
Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
    printf '6\r\nfirst,\r\n' >&3
    for port in "${ports[@]}"; do pass $port; done
    case $event in
    *die*) kill -9 $$ ;;
    *fail*)
        printf '0\r\nLambda-Runtime-Function-Error-Type: Broken\r\n' >&3
        printf 'Lambda-Runtime-Function-Error-Body: %s\r\n\r\n' "$(base64 -w 0 <<<"$ERROR")" >&3
        ;;
    *) printf '6\r\nsecond\r\n0\r\n\r\n' >&3 ;;
    esac
    cat <&3 >/dev/null
done
"""
_made: list[str] = []


def name() -> str:
    """One function for all checks."""
    if not _made:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as package:
            info = zipfile.ZipInfo("bootstrap", (2026, 1, 1, 0, 0, 0))
            info.external_attr = 0o755 << 16
            package.writestr(info, BOOTSTRAP)
        made = unique("streams")
        code = {"ZipFile": out.getvalue()}
        options = {"Runtime": "provided.al2023", "Role": ROLE, "Handler": "any", "Timeout": 30}
        api.create_function(FunctionName=made, Code=code, **options)
        api.get_waiter("function_active_v2").wait(FunctionName=made, WaiterConfig=SOON)
        _made.append(made)
    return _made[0]


class Door:
    """Whoever comes waits until it is opened."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._listener.settimeout(30)
        self.port = listener.getsockname()[1]
        self._waits: socket.socket | None = None

    def reached(self) -> None:
        """Returns when somebody waits there."""
        self._waits, _ = self._listener.accept()

    def open(self) -> None:
        """Lets on who waits."""
        assert self._waits is not None
        self._waits.close()


@contextmanager
def doors(count: int = 1) -> Iterator[list[Door]]:
    """So many that are closed."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield [Door(listener) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def begun(do: str, *all_doors: Door) -> tuple[Any, Iterator[Any]]:
    """An invocation whose first piece is here, while the function waits at its first door."""
    event = {"do": do, "ports": [door.port for door in all_doors]}
    said = api.invoke_with_response_stream(
        FunctionName=name(), Payload=json.dumps(event).encode(), LogType="Tail"
    )
    events = iter(said["EventStream"])
    assert next(events) == {"PayloadChunk": {"Payload": b"first,"}}
    all_doors[0].reached()
    return said, events


def check_the_first_piece_comes_while_the_function_runs() -> None:
    with doors() as (door,):
        said, events = begun("go on", door)
        assert (said["StatusCode"], said["ExecutedVersion"]) == (200, "$LATEST"), said
        assert said["ResponseStreamContentType"] == "application/vnd.amazon.eventstream", said
        door.open()
        assert next(events) == {"PayloadChunk": {"Payload": b"second"}}
        complete = next(events)["InvokeComplete"]
        assert list(events) == []
    assert "ErrorCode" not in complete, complete
    log = base64.b64decode(complete["LogResult"]).decode()
    assert f"REPORT RequestId: {said['ResponseMetadata']['RequestId']}" in log, log


def check_an_error_in_the_middle() -> None:
    with doors() as (door,):
        _, events = begun("fail", door)
        door.open()
        (complete,) = events
    complete = complete["InvokeComplete"]
    assert complete["ErrorCode"] == "Broken", complete
    assert json.loads(complete["ErrorDetails"])["errorMessage"] == "half of it", complete


def check_the_end_of_the_runtime_in_the_middle() -> None:
    with doors() as (door,):
        _, events = begun("die", door)
        door.open()
        (complete,) = events
    complete = complete["InvokeComplete"]
    assert complete["ErrorCode"] == "Runtime.TruncatedResponse", complete
    assert "signal: killed" in complete["ErrorDetails"], complete


def check_a_caller_that_goes() -> None:
    with doors(2) as (door, end):
        said, _ = begun("go on", door, end)
        said["EventStream"].close()
        door.open()
        end.reached()
        end.open()
    check_the_first_piece_comes_while_the_function_runs()


def check_an_invocation_that_wants_it_whole() -> None:
    said = api.invoke(FunctionName=name(), Payload=b'{"do": "go on"}')
    assert said["Payload"].read() == b"first,second", said
    assert "FunctionError" not in said, said


checks.run(globals())
