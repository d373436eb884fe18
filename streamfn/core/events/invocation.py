"""Events of asynchronous invocations: the function sees the payload itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamfn.core.events.shape import FilterForm
from streamfn.core.records import Headers, Record
from streamfn.core.rendering import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamfn.core.outcomes import Failed
    from streamfn.core.rendering import Loads


@dataclass(frozen=True, slots=True)
class History:
    """What the queue remembers of an event's deliveries."""

    attempts: int = 0
    """Those that failed."""
    throttles: int = 0
    """Those in a row that could not begin."""
    failure: Failed | None = None
    """What the last failed one came to."""
    suspect: bool = False
    """In flight when its process died, more than once: it is delivered alone, and that is written down."""
    died: bool = False
    """Delivered alone when its process died: that was a failed delivery."""


FRESH: Final = History()

_NULL: Final = b"null"
"""What a function sees of no payload."""


@dataclass(slots=True, eq=False, repr=False)
class EventRecord(Record):
    """One event of the queue, as an asynchronous invocation's payload."""

    id: str
    """The request id, of all its deliveries."""
    value: bytes
    arrived_at: float
    headers: Headers = ()
    key: str | None = None
    history: History = FRESH
    receipt: Any = None
    """The queue's own handle on this delivery."""

    @property
    def position(self) -> int:
        return 0

    @property
    def attempt(self) -> int:
        return self.history.attempts

    @property
    def size(self) -> int:
        return len(self.value or _NULL)


INVOCATION_FILTERING: Final = FilterForm((), lambda item, data: dict(item))


@dataclass(frozen=True, slots=True)
class InvocationShape:
    """One event a batch, and nothing around it."""

    filtering: ClassVar[FilterForm] = INVOCATION_FILTERING

    read: Callable[[bytes], Any] = loads
    """Reads JSON."""

    def to_event(self, records: Sequence[Record]) -> Any:
        """The payload. Raises ValueError where it is no JSON."""
        (record,) = records
        return self.read(record.value or _NULL)

    def filter_data(self, record: Record, read: Loads) -> Any:
        """The payload."""
        return read(record.value or _NULL)

    def filter_view(self, record: Record, data: Any) -> Mapping[str, Any]:
        """The payload, where it is an object."""
        return data if isinstance(data, dict) else {}

    def record_id(self, identifier: object) -> str | None:
        """A request id."""
        return identifier if isinstance(identifier, str) else None

    def batch_info(self, records: Sequence[Record]) -> dict[str, Any]:
        """Nothing: what is to be told of an event is its payload."""
        return {}
