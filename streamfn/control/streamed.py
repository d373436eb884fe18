"""What InvokeWithResponseStream answers: the parts of an answer, and how its invocation ended."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.control.rendering import REQUEST_ID
from streamfn.response_streams import PieceStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from streamfn.request_response import Response

_CHUNK: Final = 64 * 1024
_BROKEN_OFF: Final = {"Runtime.ExitError": "Runtime.TruncatedResponse"}
"""What Lambda calls the end of a runtime while its answer was on the way."""


class StreamedAnswer:
    """An invocation whose caller may get the answer while it runs."""

    def __init__(self) -> None:
        self.stream = PieceStream()
        self._response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    async def run(self, invoke: Callable[[], Awaitable[Response]]) -> None:
        """Invokes. What it raises is for those who wait, here or in `events`."""
        try:
            response = await invoke()
        except Exception as error:  # noqa: BLE001 - `whole` or `events` raises it
            self._response.set_exception(error)
        else:
            self._response.set_result(response)
        finally:
            if not self._response.done():
                self._response.cancel()
            self.stream.end()

    async def whole(self) -> Response | None:
        """The answer where it is not streamed; None as soon as it is. Raises what the invocation does."""
        if await self.stream.settled():
            return None
        return await self._response

    def head(self) -> Mapping[str, Any]:
        """What is known when a stream begins."""
        return {
            "StatusCode": 200,
            "ExecutedVersion": self.stream.version,
            REQUEST_ID: self.stream.request_id,
        }

    async def events(self, *, logged: bool) -> AsyncGenerator[Mapping[str, Any], None]:
        """The pieces as they come, and how it ended. Closing it lets the function go on unheard."""
        try:
            async for piece in self.stream.pieces():
                yield {"PayloadChunk": {"Payload": piece}}
            response = await self._response
            code = _code(response.payload) if response.function_error else None
            yield _complete(response, code, logged=logged)
        finally:
            self.stream.abandon()


async def parts(response: Response, *, logged: bool) -> AsyncGenerator[Mapping[str, Any], None]:
    """The same of an answer that is there whole."""
    for start in range(0, len(response.payload), _CHUNK):
        yield {"PayloadChunk": {"Payload": response.payload[start : start + _CHUNK]}}
    yield _complete(response, response.function_error or None, logged=logged)


def log_result(response: Response) -> str | None:
    """The end of the invocation's log, where the runtime has it."""
    return b64encode(response.log_result).decode() if response.log_result else None


def _complete(response: Response, code: str | None, *, logged: bool) -> Mapping[str, Any]:
    details = None if code is None else response.payload.decode(errors="replace")
    log = log_result(response) if logged else None
    return {"InvokeComplete": {"ErrorCode": code, "ErrorDetails": details, "LogResult": log}}


def _code(document: bytes) -> str:
    """Of an error that came when the answer had begun: its type."""
    kind = str(orjson.loads(document).get("errorType") or "Unhandled")
    return _BROKEN_OFF.get(kind, kind)
