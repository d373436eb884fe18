"""What destinations are sent: the documents of the core as messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from streamfn.core import envelopes, invocations
from streamfn.core.envelopes import FailureFormat, Invocation
from streamfn.core.letters import given_up_again, letter
from streamfn.core.lineage import TRACE_HEADER
from streamfn.core.outcomes import Succeeded
from streamfn.ports import Message

if TYPE_CHECKING:
    from streamfn.core.delivery import Discard
    from streamfn.core.outcomes import Outcome
    from streamfn.core.records import Batch, Headers, Record
    from streamfn.engine.plan import MappingPlan
    from streamfn.functions import Context


class Messages:
    """Makes the messages about one mapping's records. `at` is when they were given up, or done with."""

    def __init__(self, plan: MappingPlan) -> None:
        self._plan = plan
        self._asynchronous = plan.delivery.asynchronous

    def of_failure(
        self, style: FailureFormat, shard: str, discard: Discard, context: Context, at: float
    ) -> list[Message]:
        """For an on-failure destination."""
        if self._plan.sequences is not None and self._asynchronous:
            return self._of_redriven(style, shard, discard, at)
        call = self._invocation(context, at)
        if self._asynchronous:
            return [
                self._record(record, invocations.failure_record(call, discard, payload), context, at)
                for record, payload in _payloads(discard.batch)
            ]
        keys: list[str | None] = [None]
        if style is FailureFormat.RECORD:
            keys = [record.key for record in discard.batch.records]
        documents = envelopes.failure_documents(discard, style, call, _text)
        # Named once: a document that is sent again takes its own place again.
        return [
            Message(_dumps(document), key, name=envelopes.s3_key(self._plan.id, shard, at, str(uuid4())))
            for key, document in zip(keys, documents, strict=True)
        ]

    def _of_redriven(self, style: FailureFormat, shard: str, discard: Discard, at: float) -> list[Message]:
        """Of a sequence that was opened again: what is told of a stream's records, out of their letters."""
        messages = []
        for record in discard.batch.records:
            document = given_up_again(orjson.loads(record.value or b"{}"), discard, at)
            dead = document.pop("deadLetter")
            if style is not FailureFormat.RECORD:
                document["requestContext"] |= {
                    "functionArn": self._plan.function.arn,
                    "condition": dead["condition"],
                }
                payload = document.pop("payload")
                if style is FailureFormat.PAYLOAD:
                    document["payload"] = _text(payload)
                else:
                    document.pop("responsePayload", None)
            key = record.key if style is FailureFormat.RECORD else None
            name = envelopes.s3_key(self._plan.id, shard, at, str(uuid4()))
            messages.append(Message(_dumps(document), key, name=name))
        return messages

    def of_success(self, batch: Batch, outcome: Outcome, context: Context, at: float) -> list[Message]:
        """For an on-success destination."""
        call = self._invocation(context, at)
        answer = outcome.payload if isinstance(outcome, Succeeded) else None
        return [
            self._record(
                record,
                invocations.success_record(call, batch.attempt + 1, payload, answer),
                context,
                at,
            )
            for record, payload in _payloads(batch)
        ]

    def for_dead_letter_queue(self, discard: Discard, context: Context, at: float) -> list[Message]:
        """For a dead-letter queue: the event alone, and why it is there beside it."""
        told = invocations.dead_letter_headers(self._invocation(context, at), discard)
        return [
            Message(record.value or b"null", record.key, (*told, *self._trace(context, at)))
            for record in discard.batch.records
        ]

    def letters(self, shard: str, discard: Discard, context: Context, at: float) -> list[Message]:
        """For a store of dead letters: all that is known of each record."""
        plan, call = self._plan, self._invocation(context, at)
        assert plan.origin is not None  # noqa: S101 - a plan with a store has an origin
        letters = []
        for record in discard.batch.records:
            if self._asynchronous:
                payload = orjson.Fragment(record.value or b"null")
                about = invocations.failure_record(call, discard, payload)
            else:
                about = envelopes.record_document(discard, record, call)
            unique = str(uuid4())
            document = letter(about, discard, record, plan.origin, shard=shard, unique=unique)
            letters.append(Message(_dumps(document), record.key, name=self._key(shard, at, unique)))
        return letters

    def _record(self, record: Record, document: dict[str, Any], context: Context, at: float) -> Message:
        name = invocations.s3_key(self._plan.function.name, at, str(uuid4()))
        return Message(_dumps(document), record.key, self._trace(context, at), name)

    def _trace(self, context: Context, at: float) -> Headers:
        return ((TRACE_HEADER, str(context.onward(at)).encode()),)

    def _key(self, shard: str, at: float, unique: str) -> str:
        if self._asynchronous:
            return invocations.s3_key(self._plan.function.name, at, unique)
        return envelopes.s3_key(self._plan.id, shard, at, unique)

    def _invocation(self, context: Context, at: float) -> Invocation:
        return Invocation(self._plan.function.arn, context.aws_request_id, at, context.function_version)


def _payloads(batch: Batch) -> list[tuple[Record, Any]]:
    """Records with their payloads, which go into documents byte for byte."""
    return [(record, orjson.Fragment(record.value or b"null")) for record in batch.records]


def _dumps(document: object) -> bytes:
    try:
        return orjson.dumps(document, default=str)
    except TypeError:
        # A key that is no text stands in the event. The envelope of a letter has it whole.
        text = json.dumps(document, default=_as_text, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def _as_text(value: object) -> str:
    if isinstance(value, orjson.Fragment):
        raise TypeError("JSON that is written already cannot be mended")
    return str(value)


def _text(value: object) -> str:
    return _dumps(value).decode()
