"""The ports: what the engine asks of sources, destinations, stores and functions, and nothing else.

Each sentence of these docstrings is a test of the conformance suites in `streamfn.testing.conformance`.
"""

from __future__ import annotations

from streamfn.core.deployments import Deployment as Deployment
from streamfn.core.envelopes import FailureFormat as FailureFormat
from streamfn.core.leasing import Checkpoint as Checkpoint
from streamfn.core.leasing import Lease as Lease
from streamfn.core.versions import Alias as Alias
from streamfn.core.versions import PreconditionFailed as PreconditionFailed
from streamfn.ports.destinations import Destination as Destination
from streamfn.ports.destinations import Message as Message
from streamfn.ports.destinations import SendFailure as SendFailure
from streamfn.ports.environments import Answer as Answer
from streamfn.ports.environments import Environment as Environment
from streamfn.ports.environments import Request as Request
from streamfn.ports.environments import ResponseStream as ResponseStream
from streamfn.ports.environments import Runtime as Runtime
from streamfn.ports.events import Event as Event
from streamfn.ports.events import EventQueue as EventQueue
from streamfn.ports.events import EventShard as EventShard
from streamfn.ports.events import EventSource as EventSource
from streamfn.ports.functions import FunctionStore as FunctionStore
from streamfn.ports.functions import Key as Key
from streamfn.ports.functions import Published as Published
from streamfn.ports.kinds import DestinationKind as DestinationKind
from streamfn.ports.kinds import KeyKind as KeyKind
from streamfn.ports.kinds import LetterFetcherKind as LetterFetcherKind
from streamfn.ports.kinds import LetterStoreKind as LetterStoreKind
from streamfn.ports.kinds import RuntimeKind as RuntimeKind
from streamfn.ports.kinds import SourceKind as SourceKind
from streamfn.ports.leases import LeaseStore as LeaseStore
from streamfn.ports.letters import LetterFetcher as LetterFetcher
from streamfn.ports.letters import LetterStore as LetterStore
from streamfn.ports.letters import Parked as Parked
from streamfn.ports.letters import SequencedStore as SequencedStore
from streamfn.ports.letters import Sequences as Sequences
from streamfn.ports.letters import is_sequenced as is_sequenced
from streamfn.ports.objects import Bucket as Bucket
from streamfn.ports.objects import NoSuchBucket as NoSuchBucket
from streamfn.ports.objects import Secret as Secret
from streamfn.ports.objects import Take as Take
from streamfn.ports.resources import Resource as Resource
from streamfn.ports.resources import ResourceStore as ResourceStore
from streamfn.ports.sources import Assigned as Assigned
from streamfn.ports.sources import Clock as Clock
from streamfn.ports.sources import Filter as Filter
from streamfn.ports.sources import QueueShard as QueueShard
from streamfn.ports.sources import QueueSource as QueueSource
from streamfn.ports.sources import Reason as Reason
from streamfn.ports.sources import Revoked as Revoked
from streamfn.ports.sources import Shard as Shard
from streamfn.ports.sources import Source as Source
from streamfn.ports.sources import StreamShard as StreamShard
from streamfn.ports.sources import StreamSource as StreamSource
from streamfn.ports.sources import Subscription as Subscription
from streamfn.ports.sources import is_queue as is_queue
from streamfn.ports.telemetry import Telemetry as Telemetry
