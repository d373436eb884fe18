"""The client in Python that stands in for awslambdaric's compiled one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio import to_thread

from streamfn.ports import Request
from streamfn.runtimes.process.api import Ending, Invocation, RuntimeApi
from streamfn.runtimes.process.bootstraps.python import runtime_client
from streamfn.runtimes.process.connection import Posted
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RuntimeApi]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    made = RuntimeApi(1, lambda peer: True)
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", f"127.0.0.1:{listener.getsockname()[1]}")
    await made.open(listener)
    runtime_client.initialize_client("test/1")
    yield made
    for connection, reader in runtime_client._connections.values():
        reader.close()
        connection.close()
    runtime_client._connections.clear()
    made.close()


def give(api: RuntimeApi, payload: bytes = b"{}", **fields: str) -> Invocation:
    done: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
    invocation = Invocation(Request("id-1", payload, "arn:f", **fields), 1_700_000_000_000, done)
    api.give(invocation)
    return invocation


async def test_an_invocation_comes_with_its_headers(api: RuntimeApi) -> None:
    payload = b"x" * 300_000
    give(api, payload, trace="Root=1", client_context='{"a":"\u00fc"}')
    body, headers = await to_thread.run_sync(runtime_client.next)
    assert body == payload
    assert headers == {
        "Lambda-Runtime-Aws-Request-Id": "id-1",
        "Lambda-Runtime-Trace-Id": "Root=1",
        "Lambda-Runtime-Client-Context": '{"a":"\u00fc"}',
        "Lambda-Runtime-Cognito-Identity": None,
        "Lambda-Runtime-Invoked-Function-Arn": "arn:f",
        "Lambda-Runtime-Aws-Tenant-Id": None,
        "Lambda-Runtime-Invocation-Id": None,
        "Content-Type": "application/json",
        "Lambda-Runtime-Deadline-Ms": 1_700_000_000_000,
    }


async def test_results_and_errors_go_back_on_one_connection(api: RuntimeApi) -> None:
    invocation = give(api)
    await to_thread.run_sync(runtime_client.next)
    await to_thread.run_sync(runtime_client.post_invocation_result, "id-1", b'"done"', "application/json")
    assert await invocation.done == Posted(b'"done"')
    invocation = give(api)
    await to_thread.run_sync(runtime_client.next)
    await to_thread.run_sync(runtime_client.post_error, "id-1", '{"errorType":"E"}', "{}", "extra")
    assert await invocation.done == Posted(b'{"errorType":"E"}', failed=True)
    assert len(api._connections) == 1


async def test_refusals_are_raised_as_the_compiled_client_does(api: RuntimeApi) -> None:
    with pytest.raises(RuntimeError, match="Http response code: 400"):
        await to_thread.run_sync(runtime_client.post_invocation_result, "id-9", b"", "application/json")
    give(api)
    await to_thread.run_sync(runtime_client.next)
    with pytest.raises(RuntimeError, match="Http Response code: 403"):
        await to_thread.run_sync(runtime_client.next)


async def test_an_end_of_the_api_is_an_error(api: RuntimeApi) -> None:
    async def close() -> None:
        await until(lambda: api._idle)
        api.close()

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        with pytest.raises((RuntimeError, ConnectionResetError), match=r"No Response|reset"):
            await to_thread.run_sync(runtime_client.next)
