"""Where a dead letter goes when it is redriven, and what is sent there. Pure."""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamfn.core.letters import REDRIVES, Content, Form, Letter
from streamfn.core.lineage import TRACE_HEADER
from streamfn.core.outcomes import Condition
from streamfn.ports import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamfn.core.records import Headers

SOURCE: Final = "source"
FUNCTION: Final = "function"
MAX_REDRIVES: Final = 3

_DEDUPLICATION: Final = "MessageDeduplicationId"
_WITH_ATTRIBUTES: Final = ("sqs:", "sns:", "arn:aws:sqs:", "arn:aws:sns:")
_MOST_ATTRIBUTES: Final = 10
"""Of a message of SQS (SendMessage)."""


@dataclass(frozen=True, slots=True)
class Order:
    """How letters are to be redriven."""

    to: str | None = None
    """`source`, `function`, or a URI for all; None: each to its source, and to the function what cannot go
    there."""
    max_redrives: int = MAX_REDRIVES
    """What was redriven that often already is refused."""
    force: bool = False
    """Refuse nothing."""
    writable: Callable[[str], bool] = lambda _: True
    """Whether a source, by its URI or ARN, is of a kind that can be sent to."""

    @property
    def goes_back(self) -> bool:
        """Whether letters go back to where they came from, where they can."""
        return self.to in (None, SOURCE)

    @property
    def uri(self) -> str | None:
        return None if self.to in (None, SOURCE, FUNCTION) else self.to


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What is sent for one letter."""

    target: str
    messages: tuple[Message, ...]

    @property
    def size(self) -> int:
        return sum(len(message.body) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Fetch:
    """The letter does not hold its records: they have to be fetched back."""

    place: str
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The loop guard does not let it go."""

    reason: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """It cannot go there."""

    reason: str


Plan: TypeAlias = Dispatch | Fetch | Refusal | Obstacle


def plan(letter: Letter, order: Order) -> Plan:
    """What to do about one letter. Total.

    To a function goes the event, as it was given it; elsewhere its records, each with value, key and headers,
    or the event where it is not of records. All carry the header `streamfn-redrives`.
    """
    refusal = guard(letter, order)
    if refusal is not None:
        return refusal
    if not letter.holds_event and letter.batch_info is not None:
        if letter.source is None:
            return Obstacle("holds no event, and does not say where its records are")
        return Fetch(letter.source, letter.batch_info[1])
    contents = letter.contents() or None
    target = _target(letter, order, contents)
    if isinstance(target, Obstacle):
        return target
    if contents is not None and not target.startswith(f"{FUNCTION}:"):
        return Dispatch(target, tuple(_of_record(letter, target, n, one) for n, one in enumerate(contents)))
    payload = _payload(letter)
    if payload is None:
        return Obstacle("holds no event that is JSON, which is what a function takes")
    return Dispatch(target, (Message(payload, headers=_headers(letter, _envelope_headers(letter))),))


def guard(letter: Letter, order: Order) -> Refusal | None:
    """Why a letter is not let go: it comes back again and again."""
    if letter.redrives < order.max_redrives or order.force:
        return None
    return Refusal(f"was redriven {_times(letter.redrives)} already")


def records_of(event: Any) -> int:
    """How many records stand in an event of a source."""
    if not isinstance(event, dict):
        return 0
    found = event.get("Records", event.get("records"))
    if isinstance(found, dict):
        return sum(len(part) for part in found.values())
    return len(found) if isinstance(found, list) else 0


def _target(letter: Letter, order: Order, contents: list[Content] | None) -> str | Obstacle:
    if order.uri is not None:
        return order.uri
    returns = contents is not None and letter.source is not None and order.writable(letter.source)
    wanted = order.to or (SOURCE if returns or letter.function is None else FUNCTION)
    if wanted == SOURCE and not letter.is_invocation:
        if letter.source is None:
            return Obstacle("does not say where it came from: say --to URI")
        return letter.source if returns else Obstacle(f"cannot go back to {letter.source}: say --to function")
    # An asynchronous invocation came from the event queue of its function.
    if letter.function is None:
        return Obstacle("does not say whose it is: say --to function:NAME")
    return f"{FUNCTION}:{letter.function}"


def _of_record(letter: Letter, target: str, number: int, content: Content) -> Message:
    headers = _headers(letter, content.headers)
    if len(headers) > _MOST_ATTRIBUTES and target.startswith(_WITH_ATTRIBUTES):
        # As it was sent: with one attribute more it could not go back at all.
        headers = tuple(header for header in headers if header[0] != REDRIVES)
    if target.partition("?")[0].endswith(".fifo"):
        # Of its own: such a queue drops what has the body of a message of the last five minutes.
        unique = f"{letter.id}-{letter.redrives}-{number}"[-128:]
        headers = (*headers, (_DEDUPLICATION, unique.encode()))
    return Message(content.value, content.key, headers)


def _headers(letter: Letter, headers: Headers) -> Headers:
    left_out = {REDRIVES, _DEDUPLICATION}
    if letter.condition == Condition.RECURSIVE_INVOCATION.value:
        # Its chain was stopped. That somebody redrives it begins another one.
        left_out.add(TRACE_HEADER)
    kept = tuple((name, value) for name, value in headers if name not in left_out)
    return (*kept, (REDRIVES, str(letter.redrives + 1).encode()))


def _envelope_headers(letter: Letter) -> Headers:
    """Those that an event came with; of an event of records its trace alone, for the others are in it."""
    dead = letter.document.get("deadLetter") if isinstance(letter.document, dict) else None
    if not isinstance(dead, dict):
        return ()
    if letter.is_invocation:
        try:
            return tuple((str(name), b64decode(value)) for name, value in dead.get("headers", ()))
        except (TypeError, ValueError, NotBase64):
            return ()
    trace = dead.get("trace")
    return ((TRACE_HEADER, trace.encode()),) if isinstance(trace, str) else ()


def _payload(letter: Letter) -> bytes | None:
    if letter.form is Form.MESSAGE and letter.content is not None and letter.event is not None:
        return letter.content.value
    if not letter.holds_event:
        return None
    try:
        return json.dumps(letter.event, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
