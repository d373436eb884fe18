"""The order in which the messages of a memory queue wait: all in one line, or a line for each key."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamfn.core.records import Headers


class Sent:
    """A message from being sent to being done, whatever number of deliveries lies between."""

    __slots__ = (
        "attributes",
        "body",
        "delivery",
        "first_received_at",
        "headers",
        "id",
        "key",
        "receive_count",
        "sent_at",
        "serial",
        "visible_at",
    )

    def __init__(
        self,
        message_id: str,
        serial: int,
        body: bytes,
        key: str | None,
        headers: Headers,
        sent_at: float,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self.id = message_id
        self.serial = serial
        self.body = body
        self.key = key
        self.headers = headers
        self.sent_at = sent_at
        self.attributes = attributes
        self.first_received_at = 0.0
        self.receive_count = 0
        self.delivery = 0
        """Counts deliveries and never goes back: a receipt is good for the last one only."""
        self.visible_at = 0.0
        """Hidden until then: in flight, or held back."""

    def over(self) -> None:
        """Its delivery is over; what is settled for it now comes too late."""
        self.visible_at = 0.0

    def moved(self, serial: int, attributes: Mapping[str, str]) -> Sent:
        """The same message, new to another queue."""
        return Sent(self.id, serial, self.body, self.key, self.headers, self.sent_at, attributes)


class Line:
    """First come, first served, but what comes back stands at the end."""

    def __init__(self) -> None:
        self._ready: deque[Sent] = deque()

    def add(self, messages: Iterable[Sent]) -> None:
        """Messages that nobody has received yet."""
        self._ready.extend(messages)

    def take(self, limit: int) -> Sequence[Sent]:
        """The next ones, which are in flight now."""
        pop = self._ready.popleft
        return [pop() for _ in range(min(limit, len(self._ready)))]

    def back(self, messages: Iterable[Sent]) -> None:
        """Messages that were in flight and wait again."""
        self._ready.extend(messages)

    def remove(self, message: Sent) -> None:
        """A message that was in flight and is done."""


class _Group:
    """The messages of one key."""

    __slots__ = ("in_flight", "is_ready", "key", "returned", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        self.waiting: deque[Sent] = deque()
        self.returned: list[Sent] = []
        self.in_flight = 0
        self.is_ready = False


class FifoLine:
    """Keys take turns. Of one key, none is given while another is in flight, so nothing is overtaken.

    A message without a key waits for nobody.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._ready: deque[_Group] = deque()

    def add(self, messages: Iterable[Sent]) -> None:
        for message in messages:
            name = _name(message)
            group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = _Group(name)
            group.waiting.append(message)
            self._open(group)

    def take(self, limit: int) -> Sequence[Sent]:
        taken: list[Sent] = []
        while self._ready and len(taken) < limit:
            group = self._ready.popleft()
            group.is_ready = False
            group.in_flight = min(limit - len(taken), len(group.waiting))
            taken += [group.waiting.popleft() for _ in range(group.in_flight)]
        return taken

    def back(self, messages: Iterable[Sent]) -> None:
        for message in messages:
            group = self._groups[_name(message)]
            group.returned.append(message)
            self._landed(group)

    def remove(self, message: Sent) -> None:
        self._landed(self._groups[_name(message)])

    def _landed(self, group: _Group) -> None:
        group.in_flight -= 1
        if group.in_flight:
            return
        group.returned.sort(key=lambda message: -message.serial)
        group.waiting.extendleft(group.returned)
        group.returned.clear()
        self._open(group)
        if not group.waiting:
            del self._groups[group.key]

    def _open(self, group: _Group) -> None:
        if group.waiting and not group.in_flight and not group.is_ready:
            group.is_ready = True
            self._ready.append(group)


def _name(message: Sent) -> str:
    # Ids and keys are told apart by a character that neither begins with.
    return f"k{message.key}" if message.key is not None else f"i{message.id}"
