"""Dead letters as they are found: whoever wrote them, told of in the same words."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

from streamfn.core.letters.contents import Content, contents_of, place_of, place_of_arn
from streamfn.core.letters.envelope import redrives_of
from streamfn.core.rendering import Loads, decoded, loads

if TYPE_CHECKING:
    from streamfn.core.records import Headers

_BATCH_INFOS: Final = ("KinesisBatchInfo", "DDBStreamBatchInfo", "KafkaBatchInfo", "QueueBatchInfo")


class Form(Enum):
    """Who wrote a dead letter."""

    LETTER = "letter"
    """streamfn: everything is in it."""
    INVOCATION = "invocation"
    """Lambda or streamfn, of an asynchronous invocation."""
    BATCH = "batch"
    """Lambda or streamfn, of records of a mapping: with the event, or with no more than where it was."""
    DEAD_LETTER_QUEUE = "dead-letter queue"
    """Lambda, for the dead-letter queue of a function: the event alone."""
    MESSAGE = "message"
    """A producer: it stands in a queue of dead letters as it was sent."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store of dead letters has."""

    id: str
    """Stable in its store."""
    body: bytes
    key: str | None = None
    headers: Headers = ()
    stored_at: float | None = None
    came_from: str | None = None
    """The ARN of the queue whose redrive policy brought it here."""
    receipt: Any = None
    """The store's own handle."""
    behind: int = 0
    """Records of the same key that wait until this one is redriven (sequenced mode)."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as people look at it. What is not known of one is None."""

    id: str
    form: Form
    at: float | None
    """When it was given up, or else stored."""
    function: str | None
    """Its name, with a qualifier that is not `$LATEST`."""
    mapping: str | None
    source: str | None
    condition: str | None
    attempts: int | None
    error_type: str | None
    error_message: str | None
    request_id: str | None
    event: Any
    """What the function was given; None where the letter does not hold it."""
    batch_info: tuple[str, dict[str, Any]] | None
    """Where the records were, under AWS's name for it: for letters without the event."""
    redrives: int
    content: Content | None
    """The one record that it is about, where its producer's own form is known."""
    document: Any
    """All that stands in it."""
    behind: int = 0

    @property
    def error(self) -> str | None:
        """What to count it under: the type of the error, or else why it was given up."""
        return self.error_type or self.condition

    @property
    def is_invocation(self) -> bool:
        """Whether it is about an asynchronous invocation."""
        if self.form is Form.LETTER:
            return "requestPayload" in self.document
        return self.form in (Form.INVOCATION, Form.DEAD_LETTER_QUEUE)

    @property
    def holds_event(self) -> bool:
        """Whether `event` is what the function was given, which for an invocation may be null."""
        if self.event is not None or self.form is Form.DEAD_LETTER_QUEUE:
            return True
        return isinstance(self.document, dict) and "requestPayload" in self.document

    def contents(self) -> list[Content] | None:
        """The records, to be sent to where they came from; None where they cannot be told. An asynchronous
        invocation has none: it was sent to its function, whatever its event looks like.
        """
        if self.content is not None:
            return [self.content]
        return None if self.is_invocation else contents_of(self.event)

    def view(self, read: Loads = loads) -> Any:
        """What patterns are matched against: the document, with `event` as the function was given it and
        `data` as the value of its first record.
        """
        found = self.contents()
        data = decoded(found[0].value, read) if found else self.event
        return {
            **(self.document if isinstance(self.document, dict) else {}),
            "event": self.event,
            "data": data.decode("utf-8", "replace") if isinstance(data, bytes) else data,
        }


def read_letter(stored: Stored, read: Loads = loads) -> Letter:
    """What a stored message says. Total: what is no dead letter of any known form is a message."""
    try:
        document = read(stored.body)
    except (ValueError, RecursionError):
        return _of_message(stored, None)
    if isinstance(document, dict) and isinstance(document.get("requestContext"), dict):
        context = cast("dict[str, Any]", document["requestContext"])
        if isinstance(context.get("condition"), str):
            return _of_record(stored, document, context, read)
    names = dict(stored.headers)
    if {"RequestID", "ErrorCode"} <= names.keys():
        return _of_dead_letter_queue(stored, document, names)
    return _of_message(stored, document)


def _of_record(stored: Stored, document: dict[str, Any], context: dict[str, Any], read: Loads) -> Letter:
    dead = document.get("deadLetter")
    dead = dead if isinstance(dead, dict) else {}
    info = next(
        ((name, document[name]) for name in _BATCH_INFOS if isinstance(document.get(name), dict)), None
    )
    # Of an invocation that was too large for a topic, Lambda leaves out the payload.
    if "requestPayload" in document or (info is None and "payload" not in document):
        form, event, source = Form.INVOCATION, document.get("requestPayload"), None
    else:
        form, event = Form.BATCH, _payload(document.get("payload"), read)
        source = place_of(event) or _place(info)
    answer = document.get("responsePayload")
    error = answer if isinstance(answer, dict) else {}
    at = _instant(document.get("timestamp"))
    return Letter(
        id=stored.id,
        form=Form.LETTER if dead else form,
        at=stored.stored_at if at is None else at,
        function=_word(dead.get("function")) or _function(context.get("functionArn")),
        mapping=_word(dead.get("mapping")),
        source=_word(dead.get("source")) or source,
        condition=_word(dead.get("condition")) or context["condition"],
        attempts=_number(context.get("approximateInvokeCount")),
        error_type=_word(error.get("errorType")),
        error_message=_word(error.get("errorMessage")),
        request_id=_word(context.get("requestId")),
        event=event,
        batch_info=info,
        redrives=max(_number(dead.get("redrives")) or 0, redrives_of(stored.headers)),
        content=_content(dead, event) if form is Form.BATCH else None,
        document=document,
        behind=stored.behind,
    )


def _of_dead_letter_queue(stored: Stored, document: Any, names: dict[str, bytes]) -> Letter:
    message = names.get("ErrorMessage", b"").decode("utf-8", "replace")
    return Letter(
        id=stored.id,
        form=Form.DEAD_LETTER_QUEUE,
        at=stored.stored_at,
        function=None,
        mapping=None,
        source=None,
        condition=f"ErrorCode {names['ErrorCode'].decode('utf-8', 'replace')}",
        attempts=None,
        error_type=None,
        error_message=message or None,
        request_id=names["RequestID"].decode("utf-8", "replace"),
        event=document,
        batch_info=None,
        redrives=redrives_of(stored.headers),
        content=None,
        document=document,
        behind=stored.behind,
    )


def _of_message(stored: Stored, document: Any) -> Letter:
    return Letter(
        id=stored.id,
        form=Form.MESSAGE,
        at=stored.stored_at,
        function=None,
        mapping=None,
        source=place_of_arn(stored.came_from),
        condition=None,
        attempts=None,
        error_type=None,
        error_message=None,
        request_id=None,
        event=document,
        batch_info=None,
        redrives=redrives_of(stored.headers),
        content=Content(stored.body, stored.key, stored.headers),
        document=document,
        behind=stored.behind,
    )


def _content(dead: dict[str, Any], event: Any) -> Content | None:
    """The record of a letter: its value from the event, the rest from the envelope, which shows more."""
    found = contents_of(event) if dead else None
    if not found or len(found) != 1:
        return None
    (shown,) = found
    try:
        headers = tuple((str(name), b64decode(value, validate=True)) for name, value in dead["headers"])
        key = _word(dead["key"])
        if key is None and "keyBase64" in dead:
            key = b64decode(dead["keyBase64"], validate=True).decode("utf-8", "surrogateescape")
    except (KeyError, TypeError, ValueError):
        return shown  # an envelope that somebody else has written or mended
    return Content(shown.value, key, headers)


def _payload(payload: Any, read: Loads) -> Any:
    """The event: an object, or as an escaped JSON string, as S3 gets it."""
    if not isinstance(payload, str):
        return payload
    try:
        return read(payload.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return payload


def _place(info: tuple[str, dict[str, Any]] | None) -> str | None:
    """Where a batch was, for records that hold no event."""
    if info is None:
        return None
    _, said = info
    records = said.get("recordsInfo")
    if said.get("bootstrapServers") and isinstance(records, dict) and records:
        # The partitions are all of one topic, and the ARN of a cluster would name none.
        topic = next(iter(records)).rpartition("-")[0]
        return f"kafka://{said['bootstrapServers']}/{topic}"
    arns = (said.get(name) for name in ("streamArn", "queueArn", "eventSourceArn"))
    return next(filter(None, map(place_of_arn, arns)), None)


def _function(arn: Any) -> str | None:
    if not isinstance(arn, str):
        return None
    _, _, name = arn.partition(":function:")
    return name.removesuffix(":$LATEST") or None


def _number(said: Any) -> int | None:
    return said if type(said) is int and said >= 0 else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _instant(text: Any) -> float | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
