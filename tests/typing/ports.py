"""Must type-check: adapters satisfy the ports they claim. Never run."""

from __future__ import annotations

from streamfn.destinations.file import FileDestination
from streamfn.destinations.log import LogDestination
from streamfn.local import LocalDestination, LocalQueue, LocalStream
from streamfn.ports import Destination, LeaseStore, QueueSource, StreamSource
from streamfn.stores.memory import MemoryLeaseStore
from streamfn.testing.memory import MemoryDestination, MemoryQueue, MemoryStream
from streamfn_kafka import KafkaDestination, KafkaSource


def streams(kafka: KafkaSource, local: LocalStream, memory: MemoryStream) -> list[StreamSource]:
    return [kafka, local, memory]


def queues(local: LocalQueue, memory: MemoryQueue) -> list[QueueSource]:
    return [local, memory]


def destinations(
    kafka: KafkaDestination,
    local: LocalDestination,
    memory: MemoryDestination,
    file: FileDestination,
    log: LogDestination,
) -> list[Destination]:
    return [kafka, local, memory, file, log]


def stores(memory: MemoryLeaseStore) -> list[LeaseStore]:
    return [memory]
