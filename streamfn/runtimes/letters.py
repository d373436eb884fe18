"""Functions behind sequences that were opened again: they get what they got at first, out of letters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.core.events import InvocationShape
from streamfn.core.letters import Stored, read_letter
from streamfn.core.outcomes import Outcome, Succeeded
from streamfn.core.records import StreamRecord
from streamfn.runtimes.inline import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.letters import Letter
    from streamfn.core.policies import Ordering
    from streamfn.core.records import Batch, Record
    from streamfn.functions import Call, Context, FunctionSpec


@dataclass(frozen=True, slots=True)
class _LetterShape(InvocationShape):
    """The event of a letter, whatever was made of its record."""

    event: Any = None

    def to_event(self, records: Sequence[Record]) -> Any:
        return self.event


def prepare_letter(spec: FunctionSpec, ordering: Ordering) -> Call:
    """As `prepare`, for batches of one letter. A record that the function reports as failed is a failure."""
    call = prepare(spec, ordering)
    takes_records = spec.batch or spec.each is not None

    async def answered(batch: Batch, context: Context) -> Outcome:
        outcome = await call(_unpacked(batch) if takes_records else batch, context)
        if isinstance(outcome, Succeeded) and outcome.failed:
            # It was named as a record of its own source.
            return replace(outcome, failed=frozenset({batch[0].id}))
        return outcome

    return answered


def _unpacked(batch: Batch) -> Batch:
    (record,) = batch
    letter = read_letter(Stored(record.id, record.value or b""), orjson.loads)
    dead = letter.document["deadLetter"]
    key, headers = (letter.content.key, letter.content.headers) if letter.content else (record.key, ())
    shown = StreamRecord(
        int(dead["recordId"]),
        _value(letter),
        key,
        datetime.fromisoformat(dead["arrivedAt"]).timestamp(),
        headers,
    )
    return replace(batch, records=(shown,), shape=_LetterShape(event=letter.event))


def _value(letter: Letter) -> bytes | None:
    event = letter.event
    if letter.content is None:  # of a table's stream, whose records are their values
        return orjson.dumps(event["Records"][0])
    if "Records" not in event:
        ((item,),) = event["records"].values()
        if item.get("value") is None:  # a tombstone, which others take for an empty value
            return None
    return letter.content.value
