"""A destination that is the log: one line a message."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlsplit

import orjson
import structlog

from streamfn.errors import ConfigurationError
from streamfn.ports import FailureFormat, Message, SendFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEVELS = ("debug", "info", "warning", "error", "critical")


class LogDestination:
    """Writes each message as one line of the log. As durable as the log is, and payloads are left out."""

    failure_format = FailureFormat.METADATA

    def __init__(self, level: str = "error") -> None:
        self._level = level

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`log:` or `log:?level=warning`."""
        parts = urlsplit(uri)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        level = query.pop("level", "error")
        if query or parts.path or parts.netloc:
            raise ConfigurationError(
                f"{uri!r} says more than a log takes",
                field="Destination",
                fix="write log: or log:?level=error",
            )
        if level not in _LEVELS:
            raise ConfigurationError(
                f"{uri!r} names no level: {level!r}",
                field="Destination",
                fix=f"take one of {', '.join(_LEVELS)}",
            )
        return cls(level)

    @property
    def name(self) -> str:
        return "log:"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        log = structlog.get_logger("streamfn.destinations.log")
        level = logging.getLevelNamesMapping()[self._level.upper()]
        for message in messages:
            log.log(level, "message", **_fields(message))
        return ()

    async def check(self) -> None:
        """There is always a log."""

    async def close(self) -> None:
        """Nothing is open."""


def _fields(message: Message) -> dict[str, object]:
    try:
        body: object = orjson.loads(message.body)
    except orjson.JSONDecodeError:
        body = message.body.decode("utf-8", "replace")
    return {"body": body} if message.key is None else {"body": body, "key": message.key}
