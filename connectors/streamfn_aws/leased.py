"""Shards by lease, for sources on AWS: where the leases are kept, and how long they last."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

import anyio

from streamfn.errors import ConfigurationError
from streamfn.leasing import LeasedShards, is_dead_here
from streamfn.options import one_of, text, within
from streamfn.stores import MemoryLeaseStore, SqliteLeaseStore
from streamfn_aws.api import Api
from streamfn_aws.lease_table import LeaseTable, table_name
from streamfn_aws.options import ConnectionOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from streamfn.leasing import Shardable
    from streamfn.ports import Assigned, LeaseStore, Revoked, Subscription
    from streamfn_aws.options import Connection

STORES = ("dynamodb", "sqlite", "memory")
LEASE_TYPES: Mapping[str, type] = {
    "leases": str,
    "lease_table": str,
    "lease_time": float,
    "checkpoint_interval": float,
}
"""What can be said of leases in a URI; `state_dir` comes from the app."""

_NOTE = 65_536


class LeasedOptions(ConnectionOptions, total=False):
    """Keyword options of every source whose shards are leased: the connection's, and those of its leases."""

    leases: str
    """Where they are kept: `dynamodb`, `sqlite` or `memory`."""
    lease_table: str
    lease_time: float
    checkpoint_interval: float
    state_dir: str | Path


def of_the_app(options: Mapping[str, object]) -> dict[str, Any]:
    """What the app knows and a URI need not say."""
    return {name: options[name] for name in ("state_dir", "on_position_lost") if name in options}


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """Where leases are kept: `dynamodb`, a table for each group with the columns of the Kinesis Client
    Library; `sqlite`, one file in `state_dir`, for the processes of one machine; `memory`, for one process
    that need not remember.
    """

    leases: str = "dynamodb"
    lease_table: str | None = None
    """With `dynamodb`: the table's name. Else it is the group's, made legal."""
    lease_time: float = 30.0
    """Seconds after which the shards of a worker that died go to others."""
    checkpoint_interval: float = 1.0
    """Seconds between two commits of one shard, at least, while it is not given back."""
    state_dir: Path = Path(".streamfn")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The options named here, of those that a source was given; None counts as not given.

        Raises ConfigurationError.
        """
        known = (*LEASE_TYPES, "state_dir")
        given = {name: options[name] for name in known if options.get(name) is not None}
        if "state_dir" in given:
            given["state_dir"] = Path(given["state_dir"])
        chosen = cls(**given)
        one_of("leases", chosen.leases, STORES)
        within("lease_time", chosen.lease_time, 1, 86_400)
        within("checkpoint_interval", chosen.checkpoint_interval, 0, 3600)
        if chosen.lease_table is not None:
            table_name(text("lease_table", chosen.lease_table))
            if chosen.leases != "dynamodb":
                raise ConfigurationError(
                    f"there is none with leases={chosen.leases}",
                    field="lease_table",
                    fix="remove one of them",
                )
        return chosen


@asynccontextmanager
async def leased_shards(
    options: LeaseOptions,
    connection: Connection,
    source: Shardable,
    subscription: Subscription,
    *,
    stream: str,
) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
    """As `StreamSource.shards`. `stream` tells the shards of this source from those of any other."""
    async with _store(options, connection, stream, subscription.starting_at) as store:
        leased = LeasedShards(
            store,
            source,
            subscription,
            # A table belongs to one group and one stream; the other stores are shared by all.
            group=subscription.group if options.leases == "dynamodb" else f"{subscription.group} {stream}",
            note_limit=_NOTE,
            commit_interval=options.checkpoint_interval,
            lease_time=options.lease_time,
            is_dead=is_dead_here if options.leases == "sqlite" else _unknown,
        )
        async with leased.shards() as changes:
            yield changes


def _unknown(_worker: str) -> bool:
    """Workers of other machines: whether one is dead shows when its lease runs out."""
    return False


@asynccontextmanager
async def _store(
    options: LeaseOptions, connection: Connection, stream: str, starting_at: float | None
) -> AsyncIterator[LeaseStore]:
    if options.leases == "memory":
        yield _in_memory.setdefault(asyncio.get_running_loop(), MemoryLeaseStore())
    elif options.leases == "sqlite":
        async with _shared_file(options.state_dir / "leases.db") as file:
            yield file
    else:
        async with Api.shared(connection, "dynamodb") as api:
            yield LeaseTable(api, stream, table=options.lease_table, starting_at=starting_at)


@asynccontextmanager
async def _shared_file(path: Path) -> AsyncIterator[SqliteLeaseStore]:
    """The store of this file in this event loop: opened by the first, closed by the last to leave."""
    files = _files.setdefault(asyncio.get_running_loop(), {})
    key = Path(os.path.abspath(path))  # noqa: ASYNC240 - asks nothing of the disk
    file = files.setdefault(key, _File())
    file.users += 1
    try:
        async with file.lock:
            if file.store is None:
                file.store = await file.resources.enter_async_context(SqliteLeaseStore.at(path))
        yield file.store
    finally:
        file.users -= 1
        if file.users == 0:
            # Whoever asks from now on opens it anew.
            del files[key]
            with anyio.CancelScope(shield=True):
                await file.resources.aclose()


class _File:
    """A file of leases, and how many use it."""

    def __init__(self) -> None:
        self.users = 0
        self.store: SqliteLeaseStore | None = None
        self.lock = asyncio.Lock()
        self.resources = AsyncExitStack()


_in_memory: WeakKeyDictionary[asyncio.AbstractEventLoop, MemoryLeaseStore] = WeakKeyDictionary()
_files: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Path, _File]] = WeakKeyDictionary()
