"""`streamfn invoke`: a function of a running worker, or with --async an event into the event queue."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson

from streamfn.cli import CLEAN, CUT_OFF, remote
from streamfn.cli.control import NoWorker, ask
from streamfn.errors import ConfigurationError, StreamfnError
from streamfn.invoking import payload_of
from streamfn.local import LocalEvents
from streamfn.ports import Event
from streamfn.request_response import PAYLOAD_LIMIT

if TYPE_CHECKING:
    import argparse


_LONGEST: Final = 1000.0
"""Seconds that an answer is waited for: a function's 15 minutes, and its start."""


def invoke(options: argparse.Namespace) -> int:
    """Prints what a function answers: exit code 0, or 1 for an error of the function."""
    function = _function(options.function, options.qualifier)
    if options.endpoint:
        return remote.invoke(options, function, _payload(options.payload))
    state_dir = Path(options.state_dir or ".streamfn")
    if options.asynchronous:
        return _enqueue(function, state_dir, options)
    payload = payload_of(_payload(options.payload), PAYLOAD_LIMIT)
    request = {"op": "invoke", "name": function, "payload": payload.decode("utf-8", "surrogateescape")}
    answers = ask(state_dir / "run", request, wait=_LONGEST, first=True)
    answer = answers[-1]
    if "error" in answer:
        raise StreamfnError("; ".join(sorted({str(each["error"]) for each in answers})))
    return _show(answer, options)


def _show(answer: dict[str, Any], options: argparse.Namespace) -> int:
    log = b64decode(answer["log_result"])
    if options.log:
        sys.stderr.write(log.decode("utf-8", "replace"))
    failed = bool(answer["function_error"])
    if options.json:
        shown = {"StatusCode": 200, "ExecutedVersion": answer["executed_version"]}
        if failed:
            shown["FunctionError"] = answer["function_error"]
        if options.log:
            shown["LogResult"] = answer["log_result"]
        print(orjson.dumps(shown | {"Payload": answer["payload"]}).decode())
    else:
        print(answer["payload"])
    return CUT_OFF if failed else CLEAN


def _enqueue(function: str, state_dir: Path, options: argparse.Namespace) -> int:
    """Puts one event; it is durable, and its request id printed, when it returns."""
    payload = payload_of(_payload(options.payload))
    request_id = str(uuid4())
    try:
        asyncio.run(_put(state_dir, function, Event(request_id, payload)))
    except OSError as error:
        raise StreamfnError(f"nothing was queued: {error.strerror or error}") from error
    if options.json:
        print(orjson.dumps({"StatusCode": 202, "RequestId": request_id}).decode())
    else:
        print(request_id)
    _tell_workers(state_dir, function)
    return CLEAN


async def _put(state_dir: Path, function: str, event: Event) -> None:
    events = LocalEvents(state_dir, clock=time.time)  # noqa: TID251 - a root of its own
    async with events.open():
        await events.put(function, event)


def _tell_workers(state_dir: Path, function: str) -> None:
    """A worker that has not served the function's events yet does so now; and whoever waits is told."""
    try:
        answers = ask(state_dir / "run", {"op": "events", "name": function})
    except NoWorker:
        sys.stderr.write("streamfn: no worker runs here: the event waits for streamfn run TARGET\n")
        return
    problems = [answer["error"] for answer in answers if "error" in answer]
    if len(problems) == len(answers):
        sys.stderr.write(f"streamfn: no worker takes the event, which waits: {'; '.join(problems)}\n")


def _function(name: str, qualifier: str | None) -> str:
    key = f"{name}:{qualifier}" if qualifier else name
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?", key):
        raise ConfigurationError(
            f"{key!r} is no function's name", field="FUNCTION", fix="write NAME, or NAME:QUALIFIER"
        )
    return key.removesuffix(":$LATEST")


def _payload(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", where=text[1:], field="PAYLOAD"
        ) from error
