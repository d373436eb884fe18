"""Commits of all partitions of one consumer, gathered: one is on its way, the next takes what came since."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamfn.errors import ShardLost, SourceError
from streamfn_kafka.client import Claim, ClaimLost, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.ports import Checkpoint
    from streamfn_kafka.client import GroupClient
    from streamfn_kafka.shard import KafkaShard

_PAUSE = 0.1
_CLOSED = "the connection to Kafka is closed"


@dataclass(slots=True, eq=False)
class _Wanted:
    shard: KafkaShard
    checkpoint: Checkpoint
    done: asyncio.Future[None]


class Commits:
    """Writes checkpoints as commits of the group, under the membership that each shard was assigned by."""

    def __init__(self, client: GroupClient, timeout: float, on_lost: Callable[[Claim], None]) -> None:
        self._client = client
        self._timeout = timeout
        self._on_lost = on_lost
        self._wanted: list[_Wanted] = []
        self._asked = asyncio.Event()
        self._closed = False

    async def commit(self, shard: KafkaShard, checkpoint: Checkpoint) -> None:
        """Durable when it returns. Raises ShardLost: nothing was stored; SourceError after the timeout."""
        if not checkpoint.note.isascii() or len(checkpoint.note) > shard.note_limit:
            raise ValueError(f"a note is ASCII, {shard.note_limit} characters at most")
        if self._closed:
            raise SourceError(_CLOSED)
        wanted = _Wanted(shard, checkpoint, asyncio.get_running_loop().create_future())
        self._wanted.append(wanted)
        self._asked.set()
        await wanted.done

    async def work(self) -> None:
        """Sends what is wanted until it is cancelled."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                wanted, self._wanted = self._wanted, []
                try:
                    await self._send(wanted)
                except BaseException:
                    self._wanted += wanted
                    raise
        finally:
            self._closed = True
            for left in self._wanted:
                _fail(left, SourceError(_CLOSED))

    async def _send(self, wanted: list[_Wanted]) -> None:
        deadline = asyncio.get_running_loop().time() + self._timeout
        for claim in {one.shard.claim for one in wanted}:
            await self._send_under(claim, [one for one in wanted if one.shard.claim == claim], deadline)

    async def _send_under(self, claim: Claim, wanted: list[_Wanted], deadline: float) -> None:
        loop = asyncio.get_running_loop()
        reason = "no answer"
        while True:
            for one in wanted:
                if one.shard.is_lost:
                    _fail(one, ShardLost(f"partition {one.shard.id} is no longer ours"))
            wanted = [one for one in wanted if not one.done.done()]
            if not wanted:
                return
            # The last word on each partition.
            offsets = {
                one.shard.partition: (one.checkpoint.position + 1, one.checkpoint.note) for one in wanted
            }
            try:
                async with asyncio.timeout_at(deadline):
                    await self._client.commit(claim, offsets)
            except ClaimLost as error:
                self._on_lost(claim)
                for one in wanted:
                    _fail(one, ShardLost(f"partition {one.shard.id} is no longer ours: {error}"))
                return
            except Refused as error:
                for one in wanted:
                    _fail(one, SourceError(f"Kafka refuses the commit: {error}", retryable=False))
                return
            except TimeoutError:
                for one in wanted:
                    _fail(one, SourceError(f"Kafka took no commit within {self._timeout:g} s: {reason}"))
                return
            except Unavailable as error:
                reason = str(error)
                await asyncio.sleep(max(0.0, min(_PAUSE, deadline - loop.time())))
            else:
                for one in wanted:
                    if not one.done.done():
                        one.done.set_result(None)
                return


def _fail(wanted: _Wanted, error: Exception) -> None:
    if not wanted.done.done():
        wanted.done.set_exception(error)
