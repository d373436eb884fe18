"""Requests name things by their ARNs, and say nothing of servers, credentials or variables of the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.control.api import LambdaApi
from streamfn.control.arns import plain_arn
from streamfn.control.operations import Operating
from tests.control.calling import Calls
from tests.control.function_calls import active, create
from tests.control.mapping_daemon import QUEUE, STREAM, Daemon, refused

pytestmark = pytest.mark.anyio

ELSEWHERE = f"{QUEUE}?endpoint_url=http://127.0.0.1:1&access_key_id=env:HOME&secret_access_key=x"
TO_ELSEWHERE = {"OnFailure": {"Destination": ELSEWHERE}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def call(tmp_path: Path) -> AsyncIterator[Calls]:
    """A daemon with the function `known`."""
    daemon = Daemon(tmp_path / "state")
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        calls = Calls(LambdaApi(Operating(daemon.plane).operations(), daemon.plane.identity))
        await create(calls, "known")
        await active(calls, "known")
        yield calls
        tasks.cancel_scope.cancel()


def test_a_plain_arn_has_nothing_behind_it() -> None:
    arn = plain_arn(QUEUE)
    assert arn is not None
    assert (arn.service, arn.name) == ("sqs", "orders")
    for text in (ELSEWHERE, f"{QUEUE}?", "local:queue/orders", ""):
        assert plain_arn(text) is None


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("CreateEventSourceMapping", {"EventSourceArn": ELSEWHERE}),
        (
            "CreateEventSourceMapping",
            {
                "EventSourceArn": STREAM,
                "StartingPosition": "LATEST",
                "DestinationConfig": TO_ELSEWHERE,
            },
        ),
        ("PutFunctionEventInvokeConfig", {"DestinationConfig": TO_ELSEWHERE}),
        ("UpdateFunctionConfiguration", {"DeadLetterConfig": {"TargetArn": ELSEWHERE}}),
    ],
)
async def test_a_request_chooses_no_server_and_no_credentials(
    call: Calls, operation: str, params: dict[str, Any]
) -> None:
    code, status, _ = await refused(call(operation, FunctionName="known", **params))
    assert (code, status) == ("InvalidParameterValueException", 400)
