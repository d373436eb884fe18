"""The destinations on AWS pass the suite of destinations, on a server that was not written here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from streamfn.testing.conformance import DestinationFeatures, DestinationHarness, DestinationSuite
from tests.aws.destinations import BucketEnd, DressedBusEnd, End, QueueEnd, StreamEnd, TopicEnd
from tests.servers.aws import AwsServer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    # aiohttp says so of what aiobotocore hands it above 1 MiB; outside of tests nobody hears it.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

_ATTRIBUTES = "message attributes have no order, no doubles and no empty values: see test_destinations"
_GROUPS = "a key is a MessageGroupId, which is not any text: see test_destinations"
_TEXT = "a message has a body, of the characters of XML"


class AwsSuite(DestinationSuite):
    end: ClassVar[type[End]]

    @pytest.fixture
    async def harness(self, aws: AwsServer) -> AsyncIterator[DestinationHarness]:
        async with self.end(aws) as end:
            yield end


class TestSqs(AwsSuite):
    end = QueueEnd
    features = DestinationFeatures(keys=_GROUPS, headers=_ATTRIBUTES, any_text=_TEXT, max_payload=2**20)


class TestSns(AwsSuite):
    end = TopicEnd
    features = DestinationFeatures(keys=_GROUPS, headers=_ATTRIBUTES, any_text=_TEXT, max_payload=2**18)


class TestS3(AwsSuite):
    end = BucketEnd
    features = DestinationFeatures(headers="objects keep none", max_payload=2**22)


class TestEventBridge(AwsSuite):
    end = DressedBusEnd
    features = DestinationFeatures(
        keys="an event has no key",
        headers="an event has no headers",
        any_text="the queue that events are looked at in takes none with control characters",
        max_payload=200_000,
    )


class TestKinesis(AwsSuite):
    end = StreamEnd
    features = DestinationFeatures(headers="records have none", max_payload=2**20 - 36)
