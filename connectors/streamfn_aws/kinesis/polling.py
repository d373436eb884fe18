"""A shard by polling: GetRecords, one answer at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamfn_aws.errors import ServiceError, reading, source_error
from streamfn_aws.kinesis.pace import BETWEEN, pace_of
from streamfn_aws.polling import PolledReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.events import EventShape
    from streamfn.core.records import Record
    from streamfn_aws.kinesis.intake import Intake
    from streamfn_aws.kinesis.stream import Stream

_DEAD: Final = frozenset({"ExpiredIteratorException", "InvalidArgumentException"})
"""An iterator lives for five minutes; one of a stream that was made anew is invalid."""


class PollingReader(PolledReader):
    """Reads a shard's records as they are asked for. Holds one answer at most: 10 MB.

    An iterator that died, a throttled call and a service that is away for a while are no errors here.
    """

    def __init__(
        self,
        stream: Stream,
        shape: EventShape,
        intake: Intake,
        *,
        iterator: str | None = None,
        poll_interval: float = 1.0,
    ) -> None:
        super().__init__(intake.place, pace_of(intake.place))
        self.shape = shape
        self.iterator_age: float | None = None
        """Seconds that the last answer was behind the shard's end; None before the first."""
        self._stream = stream
        self._intake = intake
        self._iterator = iterator
        self._poll_interval = poll_interval
        self._renewed = False
        """The last call's iterator was dead, and has been replaced."""

    @property
    def lag(self) -> int | None:
        # Of what is still there Kinesis tells how old it is, and not how much.
        return 0 if self.iterator_age == 0 and self._intake.is_empty else None

    def _take(self, limit: int) -> Sequence[Record]:
        return self._intake.take(limit)

    async def _poll(self) -> None:
        try:
            if self._iterator is None:
                intake = self._intake
                self._iterator = await self._stream.iterator(intake.shard.id, intake.start)
            answer = await self._stream.records(self._iterator)
        except ServiceError as error:
            await self._failed(error)
        except OSError as error:
            self._pace.failed(error)
        else:
            self._take_in(answer)

    def _take_in(self, answer: Mapping[str, Any]) -> None:
        records, behind = answer["Records"], answer.get("MillisBehindLatest")
        self._iterator = answer.get("NextShardIterator")
        self._ended = self._iterator is None
        self._renewed = False
        self._intake.add(records)
        self.iterator_age = None if behind is None else behind / 1000
        self._pace.answered(BETWEEN if records or behind else max(BETWEEN, self._poll_interval))

    async def _failed(self, error: ServiceError) -> None:
        intake, had_iterator = self._intake, self._iterator is not None
        if error.code in _DEAD and had_iterator:
            # Another is taken where the last answer ended: at once, if it is not the same again and again.
            self._iterator = None
            if self._renewed:
                self._pace.failed(error)
            self._renewed = True
        elif error.transient:
            self._pace.failed(error)
        elif error.code == "InvalidArgumentException":
            intake.refused(error)
            self._pace.failed(error)
        elif error.missing and not await self._is_there():
            intake.lost("the shard is gone, and with it what was not read")
            self._ended = True
        else:
            raise source_error(intake.place, error) from error

    async def _is_there(self) -> bool:
        with reading(self._intake.place):
            return await self._stream.has(self._intake.shard.id)
