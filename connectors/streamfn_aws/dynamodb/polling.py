"""A shard by polling: GetRecords, one answer at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from streamfn.core.policies import Backoff
from streamfn.errors import PositionLost
from streamfn_aws.dynamodb.records import ChangeRecord
from streamfn_aws.dynamodb.start import Start
from streamfn_aws.dynamodb.stream import MOST
from streamfn_aws.errors import ServiceError, source_error
from streamfn_aws.polling import Pace, PolledReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.events import EventShape
    from streamfn.core.records import Record
    from streamfn.ports import Clock
    from streamfn_aws.dynamodb.stream import Stream

_log = structlog.get_logger("streamfn.aws")

_BETWEEN: Final = 0.1
"""Seconds between the starts of two calls while records come, unless an answer was full."""
_BACKOFF: Final = Backoff(first=0.4, factor=2.0, cap=5.0)


class PollingReader(PolledReader):
    """Reads a shard's records as they are asked for. Holds one answer at most: 1 MB.

    An iterator that died, a throttled call and a service that is away for a while are no errors here.
    """

    def __init__(
        self,
        stream: Stream,
        shape: EventShape,
        shard: str,
        start: Start,
        *,
        place: str,
        poll_interval: float,
        on_position_lost: str,
        clock: Clock,
        iterator: str | None = None,
    ) -> None:
        super().__init__(place, Pace(place, poll_interval, _BACKOFF))
        self.shape = shape
        self._stream = stream
        self._shard = shard
        self._start = start
        self._poll_interval = poll_interval
        self._on_position_lost = on_position_lost
        self._clock = clock
        self._iterator = iterator
        self._is_exact = iterator is not None
        """Whether the iterator came from where reading begins: then nothing is passed over."""
        self._renewed = False
        """The last call's iterator was of no use, and has been replaced."""
        self._records: list[Record] = []

    @property
    def lag(self) -> int | None:
        """DynamoDB does not tell how much is left."""
        return None

    @property
    def iterator_age(self) -> float | None:
        """Nor how old it is."""
        return None

    def _take(self, limit: int) -> Sequence[Record]:
        taken, self._records = self._records[:limit], self._records[limit:]
        return taken

    async def _poll(self) -> None:
        try:
            if self._iterator is None:
                self._iterator = await self._stream.iterator(self._shard, self._start.iterator)
            answer = await self._stream.records(self._iterator)
        except ServiceError as error:
            await self._failed(error)
        except OSError as error:
            self._pace.failed(error)
        else:
            self._take_in(answer)

    def _take_in(self, answer: Mapping[str, Any]) -> None:
        changes, rest = answer["Records"], self._poll_interval
        self._renewed = False
        self._iterator = answer.get("NextShardIterator")
        self._ended = self._iterator is None
        if changes:
            self._records = self._fresh(changes)
            last = changes[-1]["dynamodb"]["SequenceNumber"]
            self._start = self._start.behind(last, fresh=bool(self._records))
            is_full = len(changes) >= MOST or not self._records
            rest = 0.0 if is_full else min(_BETWEEN, self._poll_interval)
        self._pace.answered(rest)

    def _fresh(self, changes: Sequence[Mapping[str, Any]]) -> list[Record]:
        records = map(ChangeRecord, changes)
        return list(records) if self._is_exact else self._start.fresh(records)

    # -------------------------------------------------------------------------------------------- failures

    async def _failed(self, error: ServiceError) -> None:
        match error.code:
            case "ExpiredIteratorException":
                self._begin_again(error)
            case "TrimmedDataAccessException":
                await self._trimmed(error)
            case "ResourceNotFoundException" if await self._is_gone():
                self._gone()
            case "ResourceNotFoundException":
                # It is there, and the iterator is of no use: DynamoDB Local says so after a restart.
                self._begin_again(error)
            case _ if error.transient:
                self._pace.failed(error)
            case _:
                raise source_error(self._place, error) from error

    def _begin_again(self, error: ServiceError) -> None:
        """With a new iterator where the last answer ended, at once the first time."""
        self._iterator, self._is_exact = None, False
        if self._renewed:
            self._pace.failed(error)
        else:
            self._pace.answered(0.0)
        self._renewed = True

    async def _trimmed(self, error: ServiceError) -> None:
        if self._start.is_oldest:
            # The oldest record is another one now.
            self._begin_again(error)
            return
        self._lost("records were removed before they were read")
        self._iterator, self._is_exact, self._start = None, False, Start()
        if self._on_position_lost == "latest":
            try:
                self._iterator, now = await self._stream.latest(self._shard, self._clock())
            except (ServiceError, OSError) as error:
                raise source_error(self._place, error) from error
            self._is_exact, self._start = True, Start(since=int(now))
        self._pace.answered(0.0)

    def _gone(self) -> None:
        if self._start.is_oldest:
            _log.warning("shard_gone", shard=self._place)
        else:
            self._lost("the shard is gone, and with it what was not read")
        self._ended = True

    def _lost(self, why: str) -> None:
        """Raises PositionLost, or says so in the log: `on_position_lost`."""
        if self._on_position_lost == "fail":
            raise PositionLost(
                f"{self._place}: {why}. "
                "Fix: set on_position_lost to trim_horizon or latest, or begin with a new group"
            )
        _log.error("position_lost", shard=self._place, after=self._start.after, reason=why)

    async def _is_gone(self) -> bool:
        """Whether the stream is there, and the shard is not."""
        try:
            return all(shard.id != self._shard for shard in await self._stream.shards())
        except (ServiceError, OSError) as error:
            raise source_error(self._place, error) from error
