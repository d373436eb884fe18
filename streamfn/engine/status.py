"""What mappings are doing, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamfn.engine.supervisor import Supervised
    from streamfn.telemetry import Counters


@dataclass(frozen=True, slots=True)
class MappingStatus:
    """What one mapping is doing."""

    name: str
    function: str
    source: str
    state: str
    state_transition_reason: str
    last_processing_result: str
    in_flight: int
    """Records being delivered."""
    lag: int | None
    """Records that wait in the source; None when unknown."""
    iterator_age: float | None
    """Streams: seconds by which what was read last is behind the newest record; None when unknown."""
    shards: int
    """Shards held; for a queue, its pollers."""
    counters: dict[str, int]
    """Counts since the process began, under the names of Lambda's metrics."""
    circuit_breaker: str | None = None
    """`closed`, `open` or `half_open`; None: it has none."""
    adaptive_limit: int | None = None
    """Invocations of the function at a time, as they have adapted; None: they do not."""


def status_of(item: Supervised, counters: Counters) -> MappingStatus:
    """The status of one mapping now."""
    name, running = item.plan.name, item.mapping
    breaker = running.circuit_breaker if running else None
    return MappingStatus(
        name=name,
        function=item.plan.function.name,
        source=item.plan.source.name,
        state=item.state.value,
        state_transition_reason=item.reason,
        last_processing_result=counters.last_results.get(name, "No records processed"),
        in_flight=running.in_flight if running else 0,
        lag=running.lag if running else None,
        iterator_age=running.iterator_age if running else None,
        shards=running.shards if running else 0,
        counters=counters.of(name),
        circuit_breaker=breaker.value if breaker else None,
        adaptive_limit=running.adaptive_limit if running else None,
    )
