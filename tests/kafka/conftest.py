"""One broker for all tests that leave it alone; those that stop it have their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.cluster import Cluster
from tests.servers.kafka import run_kafka


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with run_kafka() as server:
        yield Cluster(server)
