"""Records of a shard from one sequence number to another, as far as they are still there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import structlog

from streamfn.errors import SourceError
from streamfn_aws.letters.asking import patiently

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_log = structlog.get_logger("streamfn.aws")

_BETWEEN: Final = 0.2
"""Seconds between two calls: a shard takes five a second."""

_EMPTY: Final = 25
"""Answers in a row without a record: then nothing more is to come. A part of a shard may have none."""


async def records_between(
    records: Callable[[str], Awaitable[Mapping[str, Any]]],
    iterator: str,
    first: int,
    last: int,
    number_of: Callable[[Mapping[str, Any]], str],
) -> list[Mapping[str, Any]]:
    """Those with a number from `first` to `last`, both included, from an iterator at the first or before it.

    `records` asks with an iterator. Raises ServiceError, OSError.
    """
    found: list[Mapping[str, Any]] = []
    following: str | None = iterator
    empty = 0
    while following is not None:
        answer = await patiently(partial(records, following))
        for record in answer["Records"]:
            number = int(number_of(record))
            if first <= number <= last:
                found.append(record)
            if number >= last:
                return found
        following = answer.get("NextShardIterator")
        empty = 0 if answer["Records"] else empty + 1
        behind = answer.get("MillisBehindLatest")
        if empty and (behind == 0 or (behind is None and empty >= _EMPTY)):
            break
        await anyio.sleep(_BETWEEN)
    return found


def said(info: Mapping[str, Any], name: str, where: str) -> str:
    """What an on-failure record says under a name. Raises SourceError where that is nothing."""
    value = info.get(name)
    if not isinstance(value, str) or not value:
        raise SourceError(f"{where}: the on-failure record does not say its {name}", retryable=False)
    return value


def range_of(info: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The first and the last sequence number. Raises SourceError."""
    first, last = said(info, "startSequenceNumber", where), said(info, "endSequenceNumber", where)
    if not (first.isdecimal() and last.isdecimal()):
        raise SourceError(f"{where}: {first} to {last} are no sequence numbers", retryable=False)
    return first, last


def tell_of_others(info: Mapping[str, Any], found: int, where: str) -> None:
    """Between the records of a batch may be some that were not in it: filtered, or of another lane. Which
    those are, no on-failure record says.
    """
    size = info.get("batchSize")
    if isinstance(size, int) and found > size:
        _log.warning("fetched_more_than_the_batch", place=where, batch=size, found=found)
