"""One client for all who use a service by one connection in one event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from streamfn.errors import ConfigurationError
from streamfn_aws.api import Api, _shares
from streamfn_aws.options import Connection
from tests.servers.aws import KEY, REGION, SECRET, Ministack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

KEYS = {"access_key_id": KEY, "secret_access_key": SECRET}


def connection_to(aws: Ministack, **options: Any) -> Connection:
    return Connection.of({"endpoint_url": aws.endpoint, "region": REGION, **KEYS, **options})


async def test_two_users_share_one_client_and_the_last_closes_it(aws: Ministack) -> None:
    connection = connection_to(aws)
    async with Api.shared(connection, "sqs") as first:
        async with Api.shared(connection_to(aws), "sqs") as second:
            assert first is second
        await first.call("ListQueues", {})
        async with Api.shared(connection, "sns") as other:
            assert other is not first
        async with Api.shared(connection_to(aws, transport="botocore"), "sqs") as another:
            assert another is not first
        inside = first._client
    assert not _shares[asyncio.get_running_loop()]
    async with Api.shared(connection, "sqs") as later:
        assert later is not first
        assert later._client is not inside
        await later.call("ListQueues", {})


async def test_many_who_ask_at_once_get_one_client(aws: Ministack) -> None:
    found: list[Api] = []
    together = anyio.Event()

    async def ask() -> None:
        async with Api.shared(connection_to(aws), "sqs") as api:
            found.append(api)
            await together.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await until(lambda: len(found) == 5)
        together.set()
    assert len(set(map(id, found))) == 1
    assert not _shares[asyncio.get_running_loop()]


async def test_after_an_error_in_opening_the_next_try_works(
    aws: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection.of({"endpoint_url": aws.endpoint, "region": REGION})
    with pytest.raises(ConfigurationError, match="no credentials"):
        async with Api.shared(connection, "sqs"):
            pass
    assert not _shares[asyncio.get_running_loop()]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    async with Api.shared(connection, "sqs") as api:
        await api.call("ListQueues", {})


async def test_an_error_of_one_who_uses_it_leaves_it_to_the_other(aws: Ministack) -> None:
    connection = connection_to(aws)
    async with Api.shared(connection, "sqs") as api:
        with pytest.raises(ValueError, match="mine"):
            async with Api.shared(connection, "sqs"):
                raise ValueError("mine")
        await api.call("ListQueues", {})


async def test_another_event_loop_has_its_own(aws: Ministack) -> None:
    connection = connection_to(aws)

    async def elsewhere() -> Api:
        async with Api.shared(connection, "sqs") as api:
            await api.call("ListQueues", {})
            return api

    async with Api.shared(connection, "sqs") as here:
        there = await anyio.to_thread.run_sync(anyio.run, elsewhere)
        assert there is not here
        await here.call("ListQueues", {})
