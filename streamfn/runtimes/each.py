"""Functions of one record: parse, call, and make the partial batch response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.core.outcomes import Failed, Succeeded
from streamfn.core.policies import Ordering
from streamfn.errors import TooManyRequests
from streamfn.runtimes.frames import Frames

if TYPE_CHECKING:
    from streamfn.core.records import Batch, Record
    from streamfn.functions import Context

Parse = Callable[[bytes], Any]


def parser(model: Any) -> Parse:
    """How a value becomes the model: pydantic or msgspec by what it is; `dict`, `str`, `bytes` as they
    say.
    """
    if model is bytes:
        return bytes
    if model is str:
        return bytes.decode
    if isinstance(model, type) and _is_a(model, "msgspec", "Struct"):
        import msgspec

        return msgspec.json.Decoder(model).decode
    if model in (dict, list, object):
        return orjson.loads
    from pydantic import TypeAdapter

    return TypeAdapter(model).validate_json


def _is_a(model: type, package: str, name: str) -> bool:
    return any(
        base.__module__.partition(".")[0] == package and base.__name__ == name for base in model.__mro__
    )


class EachRecord:
    """Calls a function record by record and says which of them failed.

    What follows a failure is not called where it would come again anyway: with Ordering.SHARD nothing more,
    with Ordering.KEY nothing more of that key. A tombstone is given as None.
    """

    def __init__(self, handler: Callable[..., Any], model: Any, ordering: Ordering) -> None:
        self._handler = handler
        self._parse = parser(model)
        self._ordering = ordering

    def run(self, batch: Batch, context: Context) -> Succeeded:
        """For plain functions; runs where it is called."""
        failures = _Failures(self._ordering)
        for record in failures.skim(batch.records):
            try:
                self._handler(self._value(record))
            except Exception as error:  # noqa: BLE001 - whatever a function raises fails its record
                failures.note(record, error)
        return failures.outcome()

    async def run_async(self, batch: Batch, context: Context) -> Succeeded:
        """For coroutine functions: one record after the other, so that order holds."""
        failures = _Failures(self._ordering)
        handler: Callable[[Any], Awaitable[object]] = self._handler
        for record in failures.skim(batch.records):
            try:
                await handler(self._value(record))
            except Exception as error:  # noqa: BLE001 - whatever a function raises fails its record
                failures.note(record, error)
        return failures.outcome()

    def _value(self, record: Record) -> Any:
        return None if record.value is None else self._parse(record.value)


class _Failures:
    """Which records failed so far, and which need not be tried."""

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering
        self._failed: set[str] = set()
        self._keys: set[str | None] = set()
        self._first: Failed | None = None

    def skim(self, records: Sequence[Record]) -> Iterator[Record]:
        for record in records:
            if self._failed and self._ordering is Ordering.SHARD:
                return
            if self._keys and record.key in self._keys:
                continue
            yield record

    def note(self, record: Record, error: Exception) -> None:
        if isinstance(error, TooManyRequests):
            raise error
        self._failed.add(record.id)
        if self._ordering is Ordering.KEY and record.key is not None:
            self._keys.add(record.key)
        if self._first is None:
            self._first = Failed(type(error).__name__, str(error), Frames(error.__traceback__))

    def outcome(self) -> Succeeded:
        return Succeeded(failed=frozenset(self._failed), error=self._first)
