"""Where dead letters are, and what waits behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from typing_extensions import TypeIs

    from streamfn.core.letters import Stored


class LetterStore(Protocol):
    """A place with dead letters, to be looked through and put in order."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def removes(self) -> bool:
        """Whether single letters can be taken out. Of a log they cannot: who redrives keeps a list."""

    def scan(self) -> AsyncIterator[Stored]:
        """All letters, the oldest first as far as the store has an order; nothing changes by it, or nothing
        that does not pass by itself. Raises OSError, SourceError.
        """

    async def remove(self, letters: Sequence[Stored]) -> None:
        """Takes out letters of a scan; durable when it returns. Of those that are gone already nothing is
        said. Only where `removes`.
        """

    async def purge(self) -> int | None:
        """Takes out all there is at this time: how many, or None where the store does not tell."""

    async def close(self) -> None:
        """Lets connections go. Letters that a scan had in hand can be seen by others again."""


class SequencedStore(LetterStore, Protocol):
    """A store in which records wait behind letters of their keys."""

    async def reopen(self, letters: Sequence[Stored]) -> int:
        """Lets the mapping deliver letters of a scan once more, and then what waits behind each; how many
        letters it opened. Durable when it returns.
        """


def is_sequenced(store: LetterStore) -> TypeIs[SequencedStore]:
    """Whether records wait behind its letters."""
    return hasattr(store, "reopen")


@dataclass(frozen=True, slots=True)
class Parked:
    """A record with its key, as a letter, in a sequence."""

    key: str
    position: int
    """In its shard."""
    arrived_at: float
    """In epoch seconds. With the position it says which record of the shard it is."""
    body: bytes


class Sequences(Protocol):
    """Dead letters of one mapping by key, and the records of these keys that wait behind them."""

    @property
    def name(self) -> str:
        """What people call it."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """The time within which records are buried and parked. Raises OSError."""

    async def refresh(self) -> None:
        """Learns which keys other processes have closed. Raises OSError."""

    def holds(self, key: str | None) -> bool:
        """Whether records of a key may have to wait. Never wrong when it says no."""

    async def bury(self, shard: str, letters: Sequence[Parked]) -> None:
        """Closes the keys of letters; durable when it returns. Raises OSError."""

    async def park(self, shard: str, records: Sequence[Parked]) -> Sequence[Parked]:
        """Puts records behind what closed their keys; durable when it returns. Gives those whose keys are
        open by now. Raises SequenceFull, OSError.
        """


class LetterFetcher(Protocol):
    """Fetches records back that an on-failure record of Lambda tells of without holding them."""

    async def fetch(self, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The event of the records that a `KinesisBatchInfo` or the like names, as far as they still exist;
        None where none does. Raises OSError, SourceError.
        """

    async def close(self) -> None:
        """Lets connections go."""
