"""Must type-check: adapters satisfy the ports they claim. Never run."""

from __future__ import annotations

from streamfn.destinations.file import FileDestination
from streamfn.destinations.log import LogDestination
from streamfn.local import LocalDestination, LocalQueue, LocalStream
from streamfn.ports import (
    Destination,
    FunctionStore,
    Key,
    LeaseStore,
    QueueSource,
    Runtime,
    RuntimeKind,
    StreamSource,
)
from streamfn.runtimes.container import ContainerRuntime
from streamfn.runtimes.process import ProcessRuntime
from streamfn.stores.functions import SqliteFunctionStore
from streamfn.stores.keys import LocalKey
from streamfn.stores.memory import MemoryLeaseStore
from streamfn.testing.functions_store import MemoryFunctionStore
from streamfn.testing.memory import MemoryDestination, MemoryQueue, MemoryStream
from streamfn.testing.runtimes import ScriptedRuntime
from streamfn_aws import KmsKey, LambdaRuntime
from streamfn_http import HttpRuntime
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


def functions(sqlite: SqliteFunctionStore, memory: MemoryFunctionStore) -> list[FunctionStore]:
    return [sqlite, memory]


def keys(local: LocalKey, kms: KmsKey) -> list[Key]:
    return [local, kms]


def runtimes(
    process: ProcessRuntime,
    container: ContainerRuntime,
    http: HttpRuntime,
    aws: LambdaRuntime,
    scripted: ScriptedRuntime,
) -> list[Runtime]:
    return [process, container, http, aws, scripted]


RUNTIMES: list[RuntimeKind] = [ContainerRuntime, HttpRuntime, LambdaRuntime]
