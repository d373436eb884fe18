"""What a mapping is to do, as the engine needs it: values only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from streamfn.core.policies import BatchPolicy, DeliveryPolicy, WhenDestinationFails

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.core.breaking import BreakerPolicy
    from streamfn.core.events import EventShape
    from streamfn.core.letters import Origin
    from streamfn.functions import FunctionSpec
    from streamfn.ports import Destination, Filter, Sequences, Source, Subscription


_MAPPINGS: Final = UUID("5b0f6a5e-8d1c-4c1e-9d0a-2f6f3c7b9e41")
_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


def mapping_id(app: str, mapping: str) -> str:
    """The UUID of a mapping: no registry gives one, so it comes from the names, unless it is its name."""
    if _UUID.fullmatch(mapping):
        return mapping
    return str(uuid5(_MAPPINGS, f"{app}/{mapping}"))


@dataclass(frozen=True, slots=True)
class MappingPlan:
    """One event source mapping: a source, a function, and the rules between them."""

    name: str
    id: str
    """A UUID: the same for this mapping of this app in every process and after every restart."""
    function: FunctionSpec
    source: Source
    subscription: Subscription
    delivery: DeliveryPolicy = DeliveryPolicy()
    batching: BatchPolicy = BatchPolicy()
    parallelization_factor: int = 1
    concurrency: int = 1
    """Batches in flight: of a shard with Ordering.KEY or NONE, of the whole mapping for a queue."""
    minimum_pollers: int = 1
    """Queues: pollers that wait for messages while there are none."""
    filter: Callable[[EventShape], Filter] | None = None
    """Which records of a shard are for the function, by how the shard shows them."""
    on_success: Destination | None = None
    """Asynchronous invocations."""
    on_failure: Destination | None = None
    dead_letter_queue: Destination | None = None
    """Asynchronous invocations: takes the event alone."""
    dead_letters: Destination | None = None
    """Takes all that is known of each record that is given up."""
    dead_letters_always: bool = True
    """False: only what no other destination took."""
    sequences: Sequences | None = None
    """Where records wait behind dead letters of their keys."""
    origin: Origin | None = None
    """What dead letters say of where they come from."""
    when_destination_fails: WhenDestinationFails = WhenDestinationFails.BLOCK
    retry_delay: float | None = None
    """Queues: seconds until a failed record comes again; None: when its visibility timeout is over, as on
    AWS.
    """
    circuit_breaker: BreakerPolicy | None = None
    """When the function is no longer called for a while; None: never. Not for asynchronous invocations."""
    revoke_grace: float = 20.0
    """Seconds that batches in flight have to end when a shard goes to another worker."""

    @property
    def runners(self) -> int:
        """Batches of one stream shard that may be in flight."""
        return max(self.parallelization_factor, self.concurrency)
