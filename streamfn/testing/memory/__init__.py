"""Sources, a destination and telemetry in memory, which behave as real ones do."""

from __future__ import annotations

from streamfn.testing.memory.destinations import MemoryDestination as MemoryDestination
from streamfn.testing.memory.events import MemoryEvents as MemoryEvents
from streamfn.testing.memory.faults import Faults as Faults
from streamfn.testing.memory.queues import MemoryPoller as MemoryPoller
from streamfn.testing.memory.queues import MemoryQueue as MemoryQueue
from streamfn.testing.memory.streams import MemoryShard as MemoryShard
from streamfn.testing.memory.streams import MemoryStream as MemoryStream
from streamfn.testing.memory.telemetry import MemoryTelemetry as MemoryTelemetry
