"""What was fetched of a shard and is not handed out yet, and from where to fetch next."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog

from streamfn.errors import PositionLost
from streamfn_aws.errors import source_error
from streamfn_aws.kinesis.records import records_of
from streamfn_aws.kinesis.start import Start
from streamfn_aws.positions import TRIM_HORIZON, instant_position

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamfn.ports import Clock
    from streamfn_aws.errors import ServiceError
    from streamfn_aws.kinesis.records import KinesisRecord
    from streamfn_aws.kinesis.stream import StreamShard

_log = structlog.get_logger("streamfn.aws")

_AHEAD: Final = 60.0
"""Seconds that our clock may be before the service's, which refuses an instant that has not come yet."""


class Intake:
    """One shard's, from a position on."""

    def __init__(
        self,
        place: str,
        shard: StreamShard,
        position: int,
        *,
        aggregated: bool,
        on_position_lost: str,
        clock: Clock,
    ) -> None:
        self.place = place
        """The shard's name, in messages."""
        self.shard = shard
        self.start = Start(position, len(shard.first))
        self._aggregated = aggregated
        self._on_position_lost = on_position_lost
        self._clock = clock
        self._records: Iterator[KinesisRecord] = iter(())
        self.is_empty = True
        """All that was fetched is known to be handed out."""
        if shard.first and position >= 0 and self.start.after(shard.first) is not self.start:
            self.lost("it was made anew since: what is in it came later than what was done")

    def add(self, wire: Sequence[Mapping[str, Any]]) -> None:
        """Takes in an answer's records, when those of the one before were handed out."""
        if wire:
            # Unpacked when they are taken: an answer may hold a hundred thousand.
            self._records = self.start.fresh(records_of(wire, aggregated=self._aggregated))
            self.start = self.start.after(wire[-1]["SequenceNumber"])
            self.is_empty = False

    def take(self, limit: int) -> Sequence[KinesisRecord]:
        """Hands out up to `limit` of them."""
        if self.is_empty:
            return ()
        taken = list(islice(self._records, limit))
        self.is_empty = len(taken) < limit
        return taken

    def refused(self, error: ServiceError) -> None:
        """The service takes the start for none: begins elsewhere, or where it is another time. Raises
        PositionLost, SourceError.
        """
        if self.start.position >= 0:
            self.lost(f"Kinesis knows the position no more ({error})")
        elif instant_position(self._clock() - _AHEAD) < self.start.position:
            raise source_error(self.place, error) from error

    def lost(self, why: str) -> None:
        """What follows the position is gone: goes on as `on_position_lost` says. Raises PositionLost."""
        if self._on_position_lost == "fail":
            raise PositionLost(
                f"{self.place}: {why}. Fix: set on_position_lost to trim_horizon or latest, "
                "or begin with a new group"
            )
        # As text: a number of so many digits is more than some readers of logs take.
        _log.error("position_lost", shard=self.place, position=str(self.start.position), reason=why)
        oldest = self._on_position_lost == "trim_horizon"
        self.start = Start(TRIM_HORIZON if oldest else instant_position(self._clock()), self.start.digits)
