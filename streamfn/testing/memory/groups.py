"""Who of a group reads which shard of a memory stream: shares, hand-over, loss, and the checkpoints."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING

from anyio import lowlevel

from streamfn.core.policies import StartingPosition
from streamfn.errors import ConfigurationError
from streamfn.ports import Assigned, Checkpoint, Reason, Revoked, Subscription
from streamfn.testing.memory.bell import Bell

if TYPE_CHECKING:
    from streamfn.testing.memory.logs import Log
    from streamfn.testing.memory.streams import MemoryShard


class Reader(AsyncIterator[Assigned | Revoked]):
    """One member of a group, and what it is told."""

    def __init__(self, fail: Callable[[], None]) -> None:
        self.closing: set[str] = set()
        """Shards it has lost and not yet closed: it is not given them again before."""
        self._fail = fail
        self._left = False
        self._events: deque[Assigned | Revoked] = deque()
        self._bell = Bell()

    def tell(self, event: Assigned | Revoked) -> None:
        self._events.append(event)
        self._bell.ring()

    def leave(self) -> None:
        self._left = True
        self._bell.ring()

    def wake(self) -> None:
        self._bell.ring()

    async def __anext__(self) -> Assigned | Revoked:
        await lowlevel.checkpoint()
        while True:
            if self._left:
                raise StopAsyncIteration
            self._fail()
            if self._events:
                return self._events.popleft()
            await self._bell.heard()


class Claim:
    """One shard as a group sees it."""

    def __init__(self, log: Log, checkpoint: Checkpoint) -> None:
        self.log = log
        self.checkpoint = checkpoint
        self.owner: Reader | None = None
        self.shard: MemoryShard | None = None
        """The owner's view of it."""
        self.leaving = False
        """Its owner was asked to give it up."""

    @property
    def done(self) -> bool:
        """Nothing is left to read, and nothing will come."""
        return self.log.closed and self.checkpoint.position >= self.log.last

    @property
    def ended(self) -> bool:
        """Done, and given back: its children may be read."""
        return self.done and self.owner is None

    def free(self) -> None:
        """Takes it from whoever has it. From now on the old owner commits nothing."""
        if self.shard is not None:
            self.shard.lose()
        self.owner = self.shard = None
        self.leaving = False


class Group:
    """Readers that share the shards of a stream. A shard has one owner at any time."""

    def __init__(
        self, subscription: Subscription, committed: Bell, make: Callable[[Group, Claim], MemoryShard]
    ) -> None:
        if (
            subscription.starting_position is StartingPosition.AT_TIMESTAMP
            and subscription.starting_at is None
        ):
            raise ConfigurationError(
                "AT_TIMESTAMP needs a time", field="StartingPositionTimestamp", fix="give one, or use LATEST"
            )
        self.claims: dict[str, Claim] = {}
        self.committed = committed
        self._subscription = subscription
        self._make = make
        self._readers: list[Reader] = []

    def begin(self, logs: Iterable[Log]) -> None:
        """Settles where reading begins, for all shards there are, once and for all."""
        for log in logs:
            self.claims[log.id] = Claim(log, Checkpoint(log.start(self._subscription)))

    def join(self, reader: Reader) -> None:
        self._readers.append(reader)
        self.rebalance()

    def leave(self, reader: Reader) -> None:
        """Gives up all that a reader holds."""
        reader.leave()
        self._readers.remove(reader)
        for claim in self.claims.values():
            if claim.owner is reader:
                claim.free()
        self.rebalance()

    def add(self, log: Log) -> None:
        """A shard that came later is read from its beginning, or records would be missed."""
        self.claims[log.id] = Claim(log, Checkpoint(-1))
        self.rebalance()

    def give_back(self, claim: Claim, shard: MemoryShard) -> None:
        """A worker has closed its shard."""
        if claim.shard is shard:
            claim.free()
        for reader in self._readers:
            if shard.reader is reader:
                reader.closing.discard(claim.log.id)
        self.committed.ring()
        self.rebalance()

    def lose(self, shard_id: str, *, tell: bool) -> None:
        """Takes a shard from its owner, as when a session or a lease expires."""
        claim = self.claims[shard_id]
        owner = claim.owner
        claim.free()
        if owner is not None:
            owner.closing.add(shard_id)
            if tell:
                owner.tell(Revoked(shard_id, Reason.LOST))
        self.rebalance()

    def is_done(self) -> bool:
        return all(claim.checkpoint.position >= claim.log.last for claim in self.claims.values())

    def wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    def rebalance(self) -> None:
        """Shares that differ by at most one; as little as possible moves, and only when given back."""
        if not self._readers:
            return
        claims = [claim for claim in self.claims.values() if self._is_readable(claim)]
        held = {
            reader: [claim for claim in claims if claim.owner is reader and not claim.leaving]
            for reader in self._readers
        }
        base, extra = divmod(len(claims), len(self._readers))
        # Whoever has most keeps most. Who has just lost a shard comes last: another is to have it.
        order = sorted(self._readers, key=lambda reader: (-len(held[reader]), len(reader.closing)))
        share = {reader: base + (place < extra) for place, reader in enumerate(order)}
        for reader in self._readers:
            for claim in held[reader][share[reader] :]:
                claim.leaving = True
                reader.tell(Revoked(claim.log.id, Reason.REQUESTED))
            del held[reader][share[reader] :]
        for claim in claims:
            if claim.owner is None:
                takers = [
                    reader
                    for reader in self._readers
                    if len(held[reader]) < share[reader] and claim.log.id not in reader.closing
                ]
                if takers:
                    taker = min(takers, key=lambda reader: len(held[reader]))
                    held[taker].append(claim)
                    self._assign(claim, taker)

    def _assign(self, claim: Claim, reader: Reader) -> None:
        claim.owner = reader
        claim.shard = self._make(self, claim)
        reader.tell(Assigned(claim.shard))

    def _is_readable(self, claim: Claim) -> bool:
        return not claim.ended and all(
            self.claims[parent].ended for parent in claim.log.parents if parent in self.claims
        )
