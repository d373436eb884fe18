"""The port of event shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamfn.core.records import Record
    from streamfn.core.rendering import Loads


@dataclass(frozen=True, slots=True)
class FilterForm:
    """What event patterns find in the records of one kind of source, and what holds where a pattern is made
    for data of another kind: JSON, or plain text (Developer Guide: invocation-eventfiltering, and the page on
    filters of each source).
    """

    paths: tuple[str, ...]
    """Where the data stands, in the words of a pattern."""
    placed: Callable[[Mapping[str, Any], Any], dict[str, Any]]
    """A record as delivered, with its data in the place of what stands for it there."""
    takes_text: bool = True
    """Whether a pattern may be for data that is plain text."""
    ignores_other_kinds: bool = False
    """What a pattern asks of data of another kind is left out; else the record does not fit."""


class EventShape(Protocol):
    """What a function sees of the records of one shard."""

    @property
    def filtering(self) -> FilterForm:
        """How patterns speak of these records."""

    def to_event(self, records: Sequence[Record]) -> dict[str, Any]:
        """The event for a Lambda function in this process."""

    def filter_data(self, record: Record, read: Loads) -> Any:
        """The record's data for patterns: a dict or a list where it is JSON; text, or None where there is
        none; bytes where it is neither. Never raises.
        """

    def filter_view(self, record: Record, data: Any) -> Mapping[str, Any]:
        """The record as event patterns match it: as delivered, with that data in it."""

    def record_id(self, identifier: object) -> str | None:
        """The id of the record that an `itemIdentifier` names; None when it is not of the source's form."""

    def batch_info(self, records: Sequence[Record]) -> dict[str, Any]:
        """What an on-failure record says of a batch: `{"KinesisBatchInfo": {...}}` and the like."""
