"""Conformance suites: what streamfn asks of connectors and stores, as tests to subclass.

    from streamfn.testing.conformance import QueueFeatures, QueueHarness, QueueSourceSuite

    class TestMyQueue(QueueSourceSuite):
        features = QueueFeatures(fifo="the broker knows no order")

        @pytest.fixture
        async def harness(self): ...

A harness is the connector's broker as the tests see it: it makes sources, and puts records at the other end.
A feature that is off skips its tests with the reason. The same suites run on real brokers, in real time, and
on fakes, in virtual time. Run them with `-p streamfn.testing.pytest_plugin`, or failures show no values.
"""

from __future__ import annotations

from streamfn.testing.conformance.destinations import DestinationSuite as DestinationSuite
from streamfn.testing.conformance.features import DestinationFeatures as DestinationFeatures
from streamfn.testing.conformance.features import EventQueueFeatures as EventQueueFeatures
from streamfn.testing.conformance.features import LeaseStoreFeatures as LeaseStoreFeatures
from streamfn.testing.conformance.features import LetterFetcherFeatures as LetterFetcherFeatures
from streamfn.testing.conformance.features import LetterStoreFeatures as LetterStoreFeatures
from streamfn.testing.conformance.features import QueueFeatures as QueueFeatures
from streamfn.testing.conformance.features import RuntimeFeatures as RuntimeFeatures
from streamfn.testing.conformance.features import StreamFeatures as StreamFeatures
from streamfn.testing.conformance.functions import FunctionStoreFeatures as FunctionStoreFeatures
from streamfn.testing.conformance.functions import FunctionStoreHarness as FunctionStoreHarness
from streamfn.testing.conformance.functions import FunctionStoreSuite as FunctionStoreSuite
from streamfn.testing.conformance.harness import DestinationHarness as DestinationHarness
from streamfn.testing.conformance.harness import EventQueueHarness as EventQueueHarness
from streamfn.testing.conformance.harness import LeaseStoreHarness as LeaseStoreHarness
from streamfn.testing.conformance.harness import LetterFetcherHarness as LetterFetcherHarness
from streamfn.testing.conformance.harness import LetterStoreHarness as LetterStoreHarness
from streamfn.testing.conformance.harness import QueueHarness as QueueHarness
from streamfn.testing.conformance.harness import RuntimeHarness as RuntimeHarness
from streamfn.testing.conformance.harness import StreamHarness as StreamHarness
from streamfn.testing.conformance.keys import KeyFeatures as KeyFeatures
from streamfn.testing.conformance.keys import KeyHarness as KeyHarness
from streamfn.testing.conformance.keys import KeySuite as KeySuite
from streamfn.testing.conformance.leases import LeaseStoreSuite as LeaseStoreSuite
from streamfn.testing.conformance.letters import LetterFetcherSuite as LetterFetcherSuite
from streamfn.testing.conformance.letters import LetterStoreSuite as LetterStoreSuite
from streamfn.testing.conformance.queues import QueueSourceSuite as QueueSourceSuite
from streamfn.testing.conformance.remembering import EventQueueSuite as EventQueueSuite
from streamfn.testing.conformance.resources import ResourceStoreFeatures as ResourceStoreFeatures
from streamfn.testing.conformance.resources import ResourceStoreHarness as ResourceStoreHarness
from streamfn.testing.conformance.resources import ResourceStoreSuite as ResourceStoreSuite
from streamfn.testing.conformance.runtimes import RuntimeSuite as RuntimeSuite
from streamfn.testing.conformance.streams import StreamSourceSuite as StreamSourceSuite
