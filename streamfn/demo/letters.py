"""The dead letters of a demo, out of its broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.errors import ConfigurationError
from streamfn.local import Broker
from streamfn.local.admin import list_streams, peek_stream
from streamfn.local.schema import FILE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

STREAM: Final = "flights-dead"
_AT_ONCE = 500


async def letters(state_dir: Path) -> AsyncGenerator[dict[str, Any]]:
    """Every dead letter, shard by shard; nothing changes. Raises ConfigurationError where there are none."""
    path = state_dir / FILE
    if not path.is_file():
        raise ConfigurationError(
            "no demo was kept here",
            where=str(state_dir),
            fix="streamfn demo --keep says where it keeps its state",
        )
    async with Broker.shared(path) as broker:
        for stream in await list_streams(broker):
            for shard in range(stream.shards) if stream.name == STREAM else ():
                after = -1
                while found := await peek_stream(broker, STREAM, shard=shard, after=after, limit=_AT_ONCE):
                    for record in found:
                        yield orjson.loads(record.value or b"null")
                    after = found[-1].position
