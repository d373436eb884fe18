"""Is the cluster there? One line when a broker goes, one when it is back; the client's own are rationed."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_PATIENCE = 1.0
"""Seconds of failures before a broker counts as away: a leader that moves is no outage."""

_GROUP = "group"

_RATION = 60.0
"""Seconds in which the client may say the same thing once."""

_MOMENT = 1.0
"""Seconds that a start which is broken off may take to come to its end."""


async def started(start: Coroutine[Any, Any, None]) -> None:
    """Starts a client of aiokafka. Cancelled, it takes up to a second more.

    aiokafka closes the connection by which it first asks for the cluster when that fails, and not when it is
    cancelled meanwhile. So it is let go on for a moment, and its caller stops it after that.
    """
    ended = anyio.Event()
    shield = anyio.CancelScope(shield=True)
    failures: list[Exception] = []

    async def run() -> None:
        with shield:
            try:
                await start
            except Exception as error:  # noqa: BLE001 - raised again below, and not in a group
                failures.append(error)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            await ended.wait()
        finally:
            shield.deadline = anyio.current_time() + _MOMENT
    if failures:
        raise failures[0]


class Contact:
    """Which brokers answer, and for how long the group has surely taken us for a member.

    A broker that is away for a second is told of once, and once when it is back.
    """

    def __init__(self, source: str, session_timeout: float, clock: Callable[[], float]) -> None:
        self._log = structlog.get_logger("streamfn.kafka").bind(source=source)
        self._session_timeout = session_timeout
        self._clock = clock
        self._failing: dict[Any, float] = {}
        self._away: set[Any] = set()
        self._member_until = 0.0

    @property
    def is_member(self) -> bool:
        """Whether our session cannot have run out: nobody else can have our partitions yet."""
        return self._clock() < self._member_until

    @property
    def away(self) -> bool:
        """Whether a broker that is needed does not answer."""
        return bool(self._away)

    def answered(self, node: Any, asked_at: float, *, as_member: bool) -> None:
        """A broker answered a request that went out at `asked_at`."""
        if as_member:
            # The broker's clock for our session began when it saw the request: not before it went out.
            self._member_until = max(self._member_until, asked_at + self._session_timeout)
            self._back(_GROUP, "kafka_group_answers")
        self._back(node, "kafka_broker_back", broker=node)

    def watch(self, *, holding: bool) -> None:
        """Tells of it when the group does not answer for so long that it may have taken us for dead."""
        if holding and not self.is_member and _GROUP not in self._away:
            self._away.add(_GROUP)
            self._failing.setdefault(_GROUP, self._clock())
            self._log.warning("kafka_group_silent", then="nothing more is read until it answers")

    def failed(self, node: Any, error: BaseException) -> None:
        """A broker did not answer."""
        since = self._failing.setdefault(node, self._clock())
        if node not in self._away and self._clock() - since >= _PATIENCE:
            self._away.add(node)
            reason = f"{type(error).__name__}: {error}"
            self._log.warning(
                "kafka_broker_away", broker=node, reason=reason, action="trying again until it is back"
            )

    def _back(self, who: Any, event: str, **fields: Any) -> None:
        since = self._failing.pop(who, None)
        if who in self._away and since is not None:
            self._away.discard(who)
            self._log.warning(event, seconds=round(self._clock() - since, 1), **fields)


class _Ration(logging.Filter):
    """Lets a warning through that was not given lately, and says how many were kept back since."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[object, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now = self._clock()
        at, held_back = self._said.get(record.msg, (-_RATION, 0))
        if now - at < _RATION:
            self._said[record.msg] = at, held_back + 1
            return False
        self._said[record.msg] = now, 0
        if held_back:
            record.msg = f"{record.msg} (and {held_back} times more)"
        return True


_ration = _Ration()


def ration_client_logs() -> None:
    """Rations the warnings of aiokafka: seventy a second while a broker is away. May be called again."""
    for name in list(logging.root.manager.loggerDict):
        if name == "aiokafka" or name.startswith("aiokafka."):
            # A filter holds for the logger it is put on, not for those below it.
            logging.getLogger(name).addFilter(_ration)
