"""One server of each kind for all tests that leave it alone; those that stop one have their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.aws import Ministack, run_ministack
from tests.servers.elasticmq import ElasticMQ, run_elasticmq
from tests.servers.kinesis_local import KinesisLocal, run_kinesis_local
from tests.servers.microburst import Microburst, run_microburst


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def nothing_of_the_machine() -> Iterator[None]:
    """No test reads credentials, profiles, endpoints or proxies of the machine it runs on."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def aws() -> Iterator[Ministack]:
    """Shared: make names of your own with ``aws.unique()``, and never stop it."""
    with run_ministack() as server:
        yield server


@pytest.fixture(scope="module")
def own_aws() -> Iterator[Ministack]:
    """For a module that stops, kills or freezes it; a test leaves it running."""
    with run_ministack() as server:
        yield server


@pytest.fixture(scope="session")
def elasticmq() -> Iterator[ElasticMQ]:
    """Shared: a second SQS."""
    with run_elasticmq() as server:
        yield server


@pytest.fixture(scope="session")
def kinesis_local() -> Iterator[KinesisLocal]:
    """Shared: a Kinesis that reshards, pages and filters shards."""
    with run_kinesis_local() as server:
        yield server


@pytest.fixture(scope="session")
def _burst(aws: Ministack) -> Iterator[Microburst]:
    with run_microburst(aws.endpoint) as server:
        yield server


@pytest.fixture
def burst(_burst: Microburst) -> Iterator[Microburst]:
    """The shared AWS, seen through a proxy that fails requests by ``burst.rules(...)``."""
    _burst.reset()
    yield _burst
    _burst.reset()
