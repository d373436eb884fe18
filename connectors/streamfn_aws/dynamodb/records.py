"""Changes of items as functions see them: views over what came from the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamfn.core.events import DynamoDbRecord
from streamfn_aws.positions import position_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class ChangeRecord(DynamoDbRecord):
    """A record of GetRecords."""

    __slots__ = ("change",)

    def __init__(self, change: Mapping[str, Any]) -> None:
        self.change = change

    @property
    def position(self) -> int:
        return position_of(self.id)
