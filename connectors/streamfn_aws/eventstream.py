"""Answers that come as events, one after the other, on one connection (`vnd.amazon.eventstream`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from botocore.eventstream import EventStreamBuffer

from streamfn_aws.errors import ServiceError

if TYPE_CHECKING:
    from aiohttp import StreamReader


class EventStream:
    """The events of one answer, in order. What is waited for may be cancelled: nothing is lost by it."""

    def __init__(self, operation: str, content: StreamReader) -> None:
        self._operation = operation
        self._content = content
        self._buffer = EventStreamBuffer()

    async def next(self) -> tuple[str, Any] | None:
        """The type and the content of the next event; None when the service has ended the stream.

        Raises ServiceError for an event that says one, OSError where the connection breaks.
        """
        while True:
            message = next(self._buffer, None)
            if message is not None:
                return self._read(message)
            try:
                chunk = await self._content.readany()
            except aiohttp.ClientError as error:
                raise OSError(f"{self._operation}: {type(error).__name__}: {error}") from error
            if not chunk:
                return None
            self._buffer.add_data(chunk)

    def _read(self, message: Any) -> tuple[str, Any]:
        headers, payload = message.headers, message.payload
        content = orjson.loads(payload) if payload else {}
        if headers.get(":message-type") in ("exception", "error"):
            code = headers.get(":exception-type") or headers.get(":error-code") or "InternalFailure"
            said = content.get("message") or content.get("Message") or headers.get(":error-message") or ""
            raise ServiceError(self._operation, code, said, 500 if code == "InternalFailure" else 400)
        return str(headers.get(":event-type", "")), content
