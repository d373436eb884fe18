"""Leases in DynamoDB: a table for each group, with the columns of the Kinesis Client Library."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import anyio

from streamfn.core.leasing import requested
from streamfn.errors import ConfigurationError, SourceError
from streamfn_aws import lease_rows as rows
from streamfn_aws.errors import ServiceError, source_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.ports import Clock, Lease
    from streamfn_aws.api import Api

# Within the class, `list` is the port's.
_Items = list[rows.Item]
_Leases = list["Lease"]

_PATIENCE: Final = 5.0
"""Seconds for an answer. Whoever renews a lease gives up sooner if it must."""
_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between tries of what was throttled: a lease must not be lost for it."""
_CREATING: Final = 120.0
_LOOK: Final = 0.2
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException"})
_LEGAL: Final = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
_LONGEST_STEM: Final = 240


class LeaseTable:
    """A LeaseStore in DynamoDB. Every write is one conditional call; reads are consistent.

    The table is made with the first lease. Raises SourceError where the table cannot be used just now or
    ever, and ConfigurationError where it is another group's, another stream's or no table of leases.
    """

    def __init__(
        self,
        api: Api,
        stream: str,
        *,
        table: str | None = None,
        starting_at: float | None = None,
        clock: Clock = time.time,  # noqa: TID251 - instants in the table are by the wall clock
    ) -> None:
        """Without `table` the group's name is the table's, made legal."""
        self._api = api
        self._stream = stream
        self._table = table
        self._starting_at = starting_at
        self._clock = clock

    async def list(self, group: str) -> Sequence[Lease]:
        table = self._name(group)
        belonging = rows.Belonging(group, self._stream)
        starting = rows.Starting(self._clock(), self._starting_at)
        leases: _Leases = []
        for item in await self._scan(table):
            if not rows.is_lease(item):
                continue
            belonging.check(item, table)
            leases.append(rows.lease_of(item, starting))
            asked = rows.request_of(item)
            if asked is not None:
                leases.append(asked)
        return leases

    async def create(self, group: str, lease: Lease) -> bool:
        table = self._name(group)
        if requested(lease) is not None:
            return await self._update(table, lease, rows.ask(lease))
        put = {
            "TableName": table,
            "Item": rows.item_of(lease, rows.Belonging(group, self._stream)),
            "ConditionExpression": f"attribute_not_exists({rows.KEY})",
        }
        made = await self._write("PutItem", put)
        if made is None:
            await self._create_table(table)
            made = await self._write("PutItem", put)
        return bool(made)

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        if requested(lease) is not None:
            change = rows.ask_on(lease, new)
        else:
            change = rows.change(lease, new, rows.Belonging(group, self._stream))
        return await self._update(self._name(group), lease, change)

    async def delete(self, group: str, lease: Lease) -> bool:
        table = self._name(group)
        if requested(lease) is not None:
            return await self._update(table, lease, rows.ask_no_more(lease))
        place = {"TableName": table, "Key": {rows.KEY: {"S": lease.key}}}
        return bool(await self._write("DeleteItem", {**place, **rows.stands(lease)}))

    # --------------------------------------------------------------------------------------------- calls

    def _name(self, group: str) -> str:
        return table_of(group) if self._table is None else self._table

    async def _scan(self, table: str) -> _Items:
        """All items; none where there is no table."""
        items: _Items = []
        page: dict[str, Any] = {"TableName": table, "ConsistentRead": True}
        while True:
            try:
                answer = await self._call("Scan", page)
            except ServiceError as error:
                if error.missing:
                    return []
                raise _explained(table, error) from error
            items += answer["Items"]
            if not answer.get("LastEvaluatedKey"):
                return items
            page["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _update(self, table: str, lease: Lease, change: rows.Change) -> bool:
        place = {"TableName": table, "Key": {rows.KEY: {"S": rows.item_key(lease)}}}
        return bool(await self._write("UpdateItem", {**place, **change.parameters()}))

    async def _write(self, operation: str, parameters: Mapping[str, Any]) -> bool | None:
        """Whether its condition held; None where there is no table."""
        try:
            await self._call(operation, parameters)
        except ServiceError as error:
            if error.code == "ConditionalCheckFailedException":
                return False
            if error.missing:
                return None
            raise _explained(parameters["TableName"], error) from error
        return True

    async def _call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        for pause in _PAUSES:
            try:
                return await self._api.call(operation, parameters, patience=_PATIENCE)
            except ServiceError as error:
                if not error.throttled:
                    raise
            await anyio.sleep(pause * random.uniform(0.5, 1.0))
        return await self._api.call(operation, parameters, patience=_PATIENCE)

    # --------------------------------------------------------------------------------------------- the table

    async def _create_table(self, table: str) -> None:
        """Makes the table, or waits for another who does."""
        key = {"AttributeName": rows.KEY, "KeyType": "HASH"}
        try:
            await self._call(
                "CreateTable",
                {
                    "TableName": table,
                    "KeySchema": [key],
                    "AttributeDefinitions": [{"AttributeName": rows.KEY, "AttributeType": "S"}],
                    "BillingMode": "PAY_PER_REQUEST",
                },
            )
        except ServiceError as error:
            if error.code != "ResourceInUseException":
                raise _explained(table, error) from error
        until = anyio.current_time() + _CREATING
        while anyio.current_time() < until:
            if await self._is_active(table):
                return
            await anyio.sleep(_LOOK)
        raise SourceError(f"lease table {table}: not active within {_CREATING:g} s of being made")

    async def _is_active(self, table: str) -> bool:
        try:
            answer = await self._call("DescribeTable", {"TableName": table})
        except ServiceError as error:
            if error.missing:  # it was made a moment ago, and not all of DynamoDB knows it
                return False
            raise _explained(table, error) from error
        return bool(answer["Table"]["TableStatus"] in ("ACTIVE", "UPDATING"))


def _explained(table: str, error: ServiceError) -> Exception:
    if error.code == "ValidationException":
        return ConfigurationError(
            f"{table} cannot hold leases: {error.message}",
            field="lease_table",
            fix=f"name a table whose only key is {rows.KEY}, a string, or one that is not there yet",
        )
    if error.operation == "CreateTable" and error.code in _DENIED:
        return ConfigurationError(
            f"the table of leases {table} is not there, and may not be made: {error.message}",
            field="lease_table",
            fix=f"allow dynamodb:CreateTable, or make it with the hash key {rows.KEY}, a string",
        )
    return source_error(f"lease table {table}", error)


def table_name(name: str) -> str:
    """The name of a table. Raises ConfigurationError."""
    if not _LEGAL.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be a table's name",
            field="lease_table",
            fix="take 3 to 255 letters, digits, dots, dashes and underscores",
        )
    return name


def table_of(group: str) -> str:
    """The name of a group's table: its own where a table may have that, or one like it."""
    if _LEGAL.fullmatch(group):
        return group
    like = re.sub(r"[^a-zA-Z0-9_.-]", "-", group)[:_LONGEST_STEM]
    return f"{like}-{crc32(group.encode()):08x}"
