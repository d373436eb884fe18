"""What the tests of dead letters in stores are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from streamfn.core.delivery import Discard
from streamfn.core.envelopes import Invocation, record_document
from streamfn.core.events import EventRecord, EventShape, InvocationShape, KinesisShape, SqsShape
from streamfn.core.invocations import failure_record
from streamfn.core.letters import Letter, Origin, Stored, letter, read_letter
from streamfn.core.outcomes import Condition, Failed
from streamfn.core.records import Batch, Headers, QueueRecord, StreamRecord
from streamfn.local import LocalDestination
from streamfn.ports import Message

AT = 1_700_000_000.0
CALL = Invocation("arn:aws:lambda:local:000000000000:function:ship", "7f2c", AT)
ORDERS = KinesisShape("arn:aws:kinesis:local:000000000000:stream/orders", "shardId-000000000000", "local")
PARCELS = SqsShape("arn:aws:sqs:local:000000000000:parcels", "local")
BROKEN = Failed("ValueError", "no such city", ("  File app.py, line 3\n    raise ValueError\n",))


def of_stream(
    value: Any = None,
    number: int = 0,
    *,
    key: str | None = "k",
    headers: Headers = (),
    at: float = AT,
    error: Failed = BROKEN,
    mapping: str = "ship-orders",
) -> bytes:
    """The letter of a record of `local:orders`."""
    record = StreamRecord(number, orjson.dumps({"n": number} if value is None else value), key, AT, headers)
    discard = Discard(Batch([record], ORDERS), Condition.RETRY_ATTEMPTS_EXHAUSTED, 3, error)
    document = record_document(discard, record, Invocation(CALL.function_arn, CALL.request_id, at))
    origin = Origin("shop", mapping, "ship", "local:orders")
    return _dumped(letter(document, discard, record, origin, shard=ORDERS.shard_id, unique=f"u{number}"))


def of_queue(body: str = "{}", *, key: str | None = None, headers: Headers = ()) -> bytes:
    """The letter of a message of `local:queue/parcels`."""
    record = QueueRecord(f"m-{body}", body.encode(), key, headers, AT, AT)
    discard = Discard(Batch([record], PARCELS), Condition.RETRY_ATTEMPTS_EXHAUSTED, 2, BROKEN)
    document = record_document(discard, record, CALL)
    origin = Origin("shop", "pack-parcels", "pack", "local:queue/parcels")
    return _dumped(letter(document, discard, record, origin, shard="", unique="q"))


def of_invocation(payload: Any, *, headers: Headers = (), condition: Condition | None = None) -> bytes:
    """The letter of an asynchronous invocation of `resize`."""
    shape: EventShape = InvocationShape()
    record = EventRecord("7f2c", orjson.dumps(payload), AT, headers)
    discard = Discard(Batch([record], shape), condition or Condition.RETRIES_EXHAUSTED, 3, BROKEN)
    document = failure_record(CALL, discard, payload)
    origin = Origin("shop", "resize", "resize", "resize")
    return _dumped(letter(document, discard, record, origin, shard="", unique="i"))


def metadata(first: int, last: int, *, stream: str = "orders", shard: int = 0) -> bytes:
    """Lambda's own record about a batch of a stream, which does not hold it."""
    return orjson.dumps(
        {
            "requestContext": {
                "requestId": "r",
                "functionArn": "arn:aws:lambda:eu-west-1:123456789012:function:ship",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 4,
            },
            "version": "1.0",
            "timestamp": "2019-11-14T00:38:06.021Z",
            "KinesisBatchInfo": {
                "shardId": f"shardId-{shard:012d}",
                "startSequenceNumber": str(first),
                "endSequenceNumber": str(last),
                "batchSize": last - first + 1,
                "streamArn": f"arn:aws:kinesis:local:000000000000:stream/{stream}",
            },
        }
    )


def _dumped(document: Any) -> bytes:
    """As it is written where a key is no text, too."""
    return json.dumps(document, separators=(",", ":")).encode()


def read(body: bytes, letter_id: str = "1", **fields: Any) -> Letter:
    """What is read where the body was stored."""
    return read_letter(Stored(letter_id, body, **fields))


async def put(state_dir: Path, uri: str, bodies: Sequence[bytes | Message], **options: Any) -> None:
    """Sends messages to a local stream or queue."""
    destination = LocalDestination(uri, state_dir=state_dir, **options)
    messages = [body if isinstance(body, Message) else Message(body) for body in bodies]
    assert not await destination.send(messages)
    await destination.close()
