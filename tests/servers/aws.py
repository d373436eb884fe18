"""AWS on loopback for tests: ministack answers for SQS, SNS, S3, EventBridge, Kinesis and DynamoDB.

``find_ministack()`` says by which way it can be had, in this order:

1. ``STREAMFN_TEST_AWS=host:port``: an AWS that answers already;
2. pip, which puts it once into an environment of its own in the user's cache;
3. Docker, through testcontainers;

or gives the reason why there is none.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar

from tests.servers.aws_docker import Container
from tests.servers.aws_process import LocalServer, found
from tests.servers.aws_ways import Way, find_way, server_python
from tests.servers.kafka_ways import HOST

ADDRESS_ENV = "STREAMFN_TEST_AWS"
REGION = "us-east-1"
ACCOUNT = "000000000000"
KEY = "test"
SECRET = "test-secret"

# A stop would wait 3 s for a ReceiveMessage that waits, and has no setting for that.
MAIN = """
from hypercorn.config import Config
Config.graceful_timeout = 0.05
from ministack.app import main
main()
"""


def find_ministack() -> Way | str:
    """The way to an AWS for tests, or the reason (a ``str``) why there is none."""
    return find_way("ministack", ADDRESS_ENV, server_python, docker=True)


class AwsServer(LocalServer):
    """A server that speaks as AWS does, and clients for the other end of a test."""

    region = REGION
    account = ACCOUNT

    @contextlib.asynccontextmanager
    async def client(self, service: str, **settings: Any) -> AsyncIterator[Any]:
        """A raw aiobotocore client; ``settings`` go into its ``AioConfig``."""
        async with client(service, self.endpoint, **settings) as made:
            yield made

    def unique(self, prefix: str = "t") -> str:
        """A name that no other test uses; fits queues, topics, buckets, streams and tables."""
        return unique(prefix)


class Ministack(AwsServer):
    """ministack: a ``stop`` keeps all but the records of DynamoDB's streams, a ``kill`` keeps nothing."""

    name: ClassVar[str] = "ministack"
    address_env: ClassVar[str] = ADDRESS_ENV
    ready_path: ClassVar[str] = "/_ministack/health"

    def command(self) -> list[str]:
        return [str(self.way.program), "-c", MAIN]

    def container(self) -> Container:
        here = {self.data_dir: str(self.data_dir)}
        return Container("ministackorg/ministack", self.port, self.environment(), here)

    def kill(self) -> None:
        super().kill()
        # It saves when it stops: what an earlier stop left would come back, with what was deleted since.
        shutil.rmtree(self.data_dir / "state", ignore_errors=True)
        shutil.rmtree(self.data_dir / "s3", ignore_errors=True)

    def environment(self) -> Mapping[str, str]:
        return {
            "BIND_HOST": self.bind_host,
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": HOST,
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.data_dir / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.data_dir / "s3"),
            # Both would listen on fixed ports, on all interfaces.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
        }


@contextlib.contextmanager
def run_ministack() -> Iterator[Ministack]:
    """A running ministack, for a sync fixture; skips the test with the reason if there is none.

    With ``STREAMFN_REQUIRE_SERVERS=1`` a missing one fails the test instead.
    """
    with Ministack(found(find_ministack())) as server:
        yield server


@contextlib.asynccontextmanager
async def client(service: str, endpoint: str, **settings: Any) -> AsyncIterator[Any]:
    """A raw aiobotocore client for one endpoint, with credentials of ours whatever the environment says."""
    from aiobotocore.config import AioConfig

    config = AioConfig(connect_timeout=5, read_timeout=30, **settings)
    made = _session().create_client(
        service,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=config,
    )
    async with made as opened:
        yield opened


@functools.cache
def _session() -> Any:
    """One for all tests, for it reads the descriptions of the services."""
    from aiobotocore.session import get_session

    return get_session()


def unique(prefix: str = "t") -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"
