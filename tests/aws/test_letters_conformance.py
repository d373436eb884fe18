"""The stores of dead letters on AWS, and what fetches records back, pass their suites on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from streamfn.testing.conformance import (
    LetterFetcherFeatures,
    LetterFetcherHarness,
    LetterFetcherSuite,
    LetterStoreFeatures,
    LetterStoreHarness,
    LetterStoreSuite,
)
from tests.aws.letters import (
    BucketLetters,
    FifoLetters,
    KinesisRecords,
    LettersEnd,
    QueueLetters,
    TableRecords,
)
from tests.servers.aws import AwsServer
from tests.servers.elasticmq import ElasticMQ
from tests.servers.kinesis_local import KinesisLocal

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    # aiohttp says so of what aiobotocore hands it above 1 MiB; outside of tests nobody hears it.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

_ATTRIBUTES = "message attributes have no order, no doubles and no empty values: see test_letters"
_GROUPS = "a key is a MessageGroupId, which is not any text: see test_letters"
_TEXT = "a message has a body, of the characters of XML"
_UNORDERED = "a standard queue has no order"


class StoreSuite(LetterStoreSuite):
    end: ClassVar[type[LettersEnd]]

    @pytest.fixture
    async def harness(self, aws: AwsServer) -> AsyncIterator[LetterStoreHarness]:
        async with self.end(aws) as end:
            yield end


class TestSqs(StoreSuite):
    end = QueueLetters
    features = LetterStoreFeatures(ordered=_UNORDERED, keys=_GROUPS, headers=_ATTRIBUTES, any_text=_TEXT)


class TestSqsFifo(StoreSuite):
    end = FifoLetters
    features = LetterStoreFeatures(keys=_GROUPS, headers=_ATTRIBUTES, any_text=_TEXT)


class TestS3(StoreSuite):
    end = BucketLetters
    features = LetterStoreFeatures(keys="objects keep none", headers="objects keep none", max_payload=2**21)


class TestElasticMq(LetterStoreSuite):
    features = LetterStoreFeatures(ordered=_UNORDERED, keys=_GROUPS, headers=_ATTRIBUTES, any_text=_TEXT)

    @pytest.fixture
    async def harness(self, elasticmq: ElasticMQ) -> AsyncIterator[LetterStoreHarness]:
        async with QueueLetters(elasticmq) as end:
            yield end


_KEPT = "the server keeps records, and has no way to remove them"


class TestKinesis(LetterFetcherSuite):
    features = LetterFetcherFeatures(trimming=_KEPT)

    @pytest.fixture
    async def harness(self, aws: AwsServer, tmp_path: Path) -> AsyncIterator[LetterFetcherHarness]:
        records = KinesisRecords(aws, tmp_path)
        async with aws.client("kinesis") as records.client:
            await records.create()
            yield records


class TestKinesisLocal(TestKinesis):
    @pytest.fixture
    async def harness(
        self, kinesis_local: KinesisLocal, tmp_path: Path
    ) -> AsyncIterator[LetterFetcherHarness]:
        records = KinesisRecords(kinesis_local, tmp_path)
        async with kinesis_local.client("kinesis") as records.client:
            await records.create()
            yield records
            await records.client.delete_stream(StreamName=records.place)


class TestDynamoDb(LetterFetcherSuite):
    features = LetterFetcherFeatures(trimming=_KEPT)

    @pytest.fixture
    async def harness(self, aws: AwsServer, tmp_path: Path) -> AsyncIterator[LetterFetcherHarness]:
        records = TableRecords(aws, tmp_path)
        async with aws.client("dynamodb") as records.client:
            await records.create()
            yield records
