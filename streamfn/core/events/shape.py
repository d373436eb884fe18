"""The port of event shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.records import Record


class EventShape(Protocol):
    """What a function sees of the records of one shard."""

    def to_event(self, records: Sequence[Record]) -> dict[str, Any]:
        """The event for a Lambda function in this process."""

    def filter_view(self, record: Record) -> Mapping[str, Any]:
        """The record as event patterns match it: as delivered, the data decoded."""

    def record_id(self, identifier: object) -> str | None:
        """The id of the record that an `itemIdentifier` names; None when it is not of the source's form."""

    def batch_info(self, records: Sequence[Record]) -> dict[str, Any]:
        """What an on-failure record says of a batch: `{"KinesisBatchInfo": {...}}` and the like."""
