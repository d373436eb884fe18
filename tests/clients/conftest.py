"""One daemon for all tests of a module; those that kill one have their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from tests.clients import environment
from tests.clients.daemon import Daemon
from tests.servers.aws import Ministack, run_ministack
from tests.servers.aws_process import found

Program: TypeAlias = Callable[..., None]


@pytest.fixture(scope="session", autouse=True)
def clients() -> None:
    """boto3 and the AWS CLI are there, or all tests are skipped with the reason."""
    found(environment.find_clients())


@pytest.fixture(scope="session")
def aws() -> Iterator[Ministack]:
    """Shared: never stop it."""
    with run_ministack() as server:
        yield server


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """Without a TARGET; ARNs stand for the embedded broker."""
    with Daemon() as running:
        yield running
        assert running.drain() == 0, running.log_tail()
