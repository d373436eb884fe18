"""Where what was made through Lambda's API is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that was made: a function, an event source mapping, a layer's version..."""

    kind: str
    """Such as `function` or `mapping`."""
    key: str
    """Its name, unique among those of its kind."""
    document: Mapping[str, Any] | None
    """What is known of it, as JSON; None takes it away."""


class ResourceStore(Protocol):
    """Resources of one daemon. Nobody else writes to it meanwhile.

    What is written is durable when its call returns. Everything raises OSError where the store cannot be
    used; then nothing was done.
    """

    async def resources(self) -> Sequence[Resource]:
        """All there are, ordered by kind and by when they were first written."""

    async def write(self, changes: Sequence[Resource]) -> None:
        """Writes all of them or none: each as it is now, or gone."""
