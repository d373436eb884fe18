"""What the programs here share: clients, packages of code, refusals, and a run of all checks of a program."""

from __future__ import annotations

import io
import itertools
import os
import sys
import threading
import time
import traceback
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = os.environ["AWS_DEFAULT_REGION"]
ACCOUNT = os.environ["AWS_ACCOUNT_ID"]
ROLE = f"arn:aws:iam::{ACCOUNT}:role/any"
RUNTIME = f"python3.{sys.version_info.minor}"
ECHO = "def handler(event, context):\n    return event\n"
SOON = {"Delay": 0.05, "MaxAttempts": 400}
"""A waiter that asks often, for 20 s."""

_names = itertools.count()
_run = uuid.uuid4().hex[:6]


def client(service: str = "lambda") -> Any:
    """A client that leaves refusing to the other side, and tells of it rather than try again."""
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, parameter_validation=False
    )
    return boto3.client(service, config=config)


api = client()


def unique(prefix: str) -> str:
    """A name that nothing else has."""
    return f"{prefix}-{_run}-{next(_names)}"


def arn(kind: str, name: str, service: str = "lambda") -> str:
    """`arn:aws:lambda:REGION:ACCOUNT:KIND:NAME`; for queues `arn:aws:sqs:REGION:ACCOUNT:NAME`."""
    return ":".join(filter(None, ("arn:aws", service, REGION, ACCOUNT, kind, name)))


def zipped(code: str | Mapping[str, str] = ECHO) -> bytes:
    """A package; a text is its `index.py`."""
    files = {"index.py": code} if isinstance(code, str) else code
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            package.writestr(info, text)
    return out.getvalue()


def create(code: str | Mapping[str, str] = ECHO, name: str = "", **options: Any) -> str:
    """A function that is active; its name."""
    name = name or unique("f")
    given = {"Runtime": RUNTIME, "Role": ROLE, "Handler": "index.handler", "Code": {"ZipFile": zipped(code)}}
    api.create_function(FunctionName=name, **{**given, **options})
    api.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=SOON)
    return name


def updated(name: str) -> None:
    """Waits until the last update is at work."""
    api.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=SOON)


@contextmanager
def refused(code: str, message: str | None = None, status: int | None = None) -> Iterator[None]:
    """What is within is answered by this error. A message may end in `...`."""
    try:
        yield
    except ClientError as error:
        answer = error.response
        said = answer["Error"]["Code"], answer["Error"]["Message"]
        assert said[0] == code, said
        if message is not None and message.endswith("..."):
            assert said[1].startswith(message[:-3]), said
        elif message is not None:
            assert said[1] == message, said
        if status is not None:
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
        return
    raise AssertionError(f"it was done, and {code} expected")


def until(holds: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Asks again and again until it holds, and gives what that was."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} seconds")
        threading.Event().wait(0.05)
    return answer


def status(answer: Mapping[str, Any]) -> int:
    """The HTTP status of an answer."""
    return answer["ResponseMetadata"]["HTTPStatusCode"]


def pages(operation: str, member: str, size: int = 2, **asked: Any) -> list[Any]:
    """All that a paginator gives, by pages of so many; several pages are expected."""
    found = list(api.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **asked))
    assert len(found) > 1, f"{operation}: one page only"
    assert all(len(page[member]) <= size for page in found), [len(page[member]) for page in found]
    return [item for page in found for item in page[member]]


def tell(line: str) -> None:
    """Writes it at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(program: Mapping[str, Any]) -> None:
    """Runs all that is called `check_...`, goes on after a failure, and ends with how many failed."""
    wanted = sys.argv[1:]
    failed = 0
    for name, check in program.items():
        if not name.startswith("check_") or (wanted and name not in wanted):
            continue
        began = time.perf_counter()
        try:
            check()
        except Exception as error:  # noqa: BLE001 - a check may fail in any way; the next is run all the same
            failed += 1
            tell(f"FAILED {name}\n{_told(error)}")
        else:
            tell(f"ok {name} {time.perf_counter() - began:.2f} s")
    sys.exit(failed)


def _told(error: Exception) -> str:
    """An error and how it came to be, without the client's own lines."""
    ours = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename
    ]
    return "".join([*traceback.format_list(ours), *traceback.format_exception_only(error)])
