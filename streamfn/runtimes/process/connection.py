"""One HTTP/1.1 connection of a runtime to its Runtime API."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import orjson

from streamfn.errors import MissingExtra

try:
    import httptools
except ModuleNotFoundError as error:
    raise MissingExtra(
        "functions that run in processes need httptools", fix="pip install 'streamfn[process]'"
    ) from error

if TYPE_CHECKING:
    from streamfn.runtimes.process.api import Invocation, RuntimeApi

MAX_RESPONSE: Final = 6_291_556
"""Bytes that a function may answer: 6 MiB and 100."""
MAX_STREAM: Final = 209_715_200
"""Bytes that it may stream: 200 MB (Developer Guide: gettingstarted-limits)."""

MAX_HEAD: Final = 1_310_720
"""Bytes of a request line and its headers: 1 MB (Developer Guide: quotas), and room for awslambdaric, which
sends up to 1 MB in one header.
"""
_MAX_PIPELINED: Final = 16

_REASONS: Final = {
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    431: "Request Header Fields Too Large",
}
_ROOT: Final = b"/2018-06-01/runtime/"
_NEXT: Final = _ROOT + b"invocation/next"
_INVOCATION: Final = _ROOT + b"invocation/"
_RESPONSE: Final = b"/response"
_INIT_ERROR: Final = _ROOT + b"init/error"
_RESTORE_NEXT: Final = _ROOT + b"restore/next"
_RESTORE_ERROR: Final = _ROOT + b"restore/error"
_GETS: Final = frozenset({_NEXT, _RESTORE_NEXT})
_POSTS: Final = frozenset({_INIT_ERROR, _RESTORE_ERROR})
INIT: Final = b"init"
"""Stands for the initialisation, where invocations have their ids."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def _render(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


_ACCEPTED: Final = _render(202, b'{"status":"OK"}\n')
_RESTORED: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"


class Posted(NamedTuple):
    """What a runtime posted as the end of an invocation, or of its initialisation."""

    body: bytes
    failed: bool = False
    error_type: str = ""
    """The header `Lambda-Runtime-Function-Error-Type`, of an error."""
    too_large: bool = False
    """It was above the limit; its body is gone."""
    streamed: bool = False
    """Its body went to the caller piece by piece, and is not here."""

    @property
    def limit(self) -> int:
        """Bytes that it might have."""
        return MAX_STREAM if self.streamed else MAX_RESPONSE


class _Received:
    """A request, as far as it has come."""

    __slots__ = (
        "body",
        "content_type",
        "error_body",
        "error_type",
        "expects",
        "invocation",
        "keep_alive",
        "method",
        "size",
        "streams",
        "too_large",
        "url",
        "wanted",
    )

    def __init__(self) -> None:
        self.method = b""
        self.url = b""
        self.wanted = False
        """Whether its body is. If not, it is read and dropped."""
        self.body: list[bytes] = []
        self.size = 0
        self.too_large = False
        self.keep_alive = True
        self.expects = False
        self.content_type = b"application/octet-stream"
        self.streams = False
        """Whether it says so; its caller may want it whole."""
        self.invocation: Invocation | None = None
        """Whose caller takes its body piece by piece."""
        self.error_type = ""
        self.error_body: bytes | None = None

    def posted(self, *, failed: bool) -> Posted:
        """What it says, as the end of something. An error in its trailers is what counts."""
        streamed = self.invocation is not None
        if self.error_body is not None:
            return Posted(_unpacked(self.error_body), True, self.error_type, streamed=streamed)
        failed = failed or bool(self.error_type)
        return Posted(b"".join(self.body), failed, self.error_type, self.too_large, streamed)


class Connection(asyncio.Protocol):
    """Reads requests and answers them in turn. A malformed one ends it."""

    def __init__(self, api: RuntimeApi) -> None:
        self.waiting = False
        """Whether it has asked for work and not got any yet."""
        self._api = api
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._request = _Received()
        self._later: deque[_Received] = deque()
        self._loose = 0
        """Bytes since the last that belonged to a body: those of a head."""
        self._keep_alive = True

    # asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._api.connected(self, transport):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._api.disconnected(self)
        self.waiting = False
        self._later.clear()

    def data_received(self, data: bytes) -> None:
        self._loose += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._cut(400, f"no HTTP/1.1: {error}")
            return
        if self._loose > MAX_HEAD:
            self._cut(431, "The headers are too large")

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # There is nothing to change to; the request counts, and the connection stays what it is.
                self._parser = httptools.HttpRequestParser(self)
                data = data[upgrade.args[0] :]
            else:
                return

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self._request = _Received()

    def on_url(self, url: bytes) -> None:
        self._request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here too: what a stream that broke off says of its error.
        length = len(name)
        if length == 6 and name.lower() == b"expect":
            self._request.expects = b"100-continue" in value.lower()
        elif length == 34 and name.lower() == b"lambda-runtime-function-error-type":
            self._request.error_type = value.decode("utf-8", "replace")
        elif length == 34 and name.lower() == b"lambda-runtime-function-error-body":
            self._request.error_body = value
        elif length == 37 and name.lower() == b"lambda-runtime-function-response-mode":
            self._request.streams = value.lower() == b"streaming"
        elif length == 12 and name.lower() == b"content-type":
            self._request.content_type = value

    def on_headers_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method()
        if request.method == b"POST":
            # Who waits for work has nothing to post, and gets no room for it.
            request.wanted = not self.waiting and self._api.expects(self, _subject(request.url))
            if request.streams and request.wanted:
                self._begin(request)
            if request.expects:
                self._transport.write(_CONTINUE)

    def on_body(self, chunk: bytes) -> None:
        self._loose = 0
        request = self._request
        if request.wanted and not request.too_large:
            request.size += len(chunk)
            if request.size > (MAX_RESPONSE if request.invocation is None else MAX_STREAM):
                request.too_large = True
                request.body.clear()
            elif request.invocation is None:
                request.body.append(chunk)
            elif not request.invocation.write(chunk):
                # What the runtime sends from now on waits in its socket, and then the function waits.
                self._transport.pause_reading()
                request.invocation.when_read(self._transport.resume_reading)

    def on_message_complete(self) -> None:
        self._loose = 0
        request = self._request
        request.keep_alive = self._parser.should_keep_alive()
        if not self.waiting:
            self._serve(request)
        elif len(self._later) < _MAX_PIPELINED:
            self._later.append(request)
        else:
            self.abort()

    # What the API says to it

    def reply(self, data: bytes) -> None:
        """Answers the request in hand, and then those that came behind it."""
        waited, self.waiting = self.waiting, False
        self._transport.write(data)
        if not self._keep_alive:
            self._transport.close()
        elif waited:
            while self._later and not self.waiting:
                self._serve(self._later.popleft())

    def refuse(self, status: int, error_type: str, message: str) -> None:
        """Answers with an error document."""
        self.reply(_render(status, orjson.dumps({"errorMessage": message, "errorType": error_type})))

    def abort(self) -> None:
        """Ends it at once."""
        self._transport.abort()

    def _begin(self, request: _Received) -> None:
        if request.url.endswith(_RESPONSE):
            content_type = request.content_type.decode("latin-1")
            request.invocation = self._api.begin(_subject(request.url), content_type)

    def _serve(self, request: _Received) -> None:
        self._keep_alive = request.keep_alive
        url = request.url
        expected = b"GET" if url in _GETS else b"POST"
        if not (url in _GETS or url in _POSTS or _subject(url)):
            self.refuse(404, "NotFound", "There is no such resource")
        elif request.method != expected:
            self.refuse(405, "MethodNotAllowed", f"It takes {expected.decode()}")
        elif url == _NEXT:
            self._api.next(self)
        elif url == _RESTORE_NEXT:
            self.reply(_RESTORED)
        elif url == _INIT_ERROR:
            self._fail_init(request)
        elif url == _RESTORE_ERROR:
            self.reply(_ACCEPTED)
        else:
            self._end(request)

    def _fail_init(self, request: _Received) -> None:
        if self._api.fail_init(request.posted(failed=True)):
            self.reply(_ACCEPTED)
        else:
            self.refuse(403, "InvalidStateTransition", "The initialisation is over")

    def _end(self, request: _Received) -> None:
        posted = request.posted(failed=request.url.endswith(b"/error"))
        if not request.wanted or not self._api.end(_subject(request.url), posted):
            self.refuse(400, "InvalidRequestID", "Invalid request ID")
        elif posted.too_large:
            text = f"Exceeded maximum allowed payload size ({posted.limit} bytes)."
            self.refuse(413, "RequestEntityTooLarge", text)
        else:
            self.reply(_ACCEPTED)

    def _cut(self, status: int, message: str) -> None:
        if not self._transport.is_closing():
            self._keep_alive = False
            self.refuse(status, "InvalidRequest", message)


def _subject(url: bytes) -> bytes:
    """The id of the invocation that a URL posts the result of, `init` for the initialisation; else empty."""
    if url == _INIT_ERROR:
        return INIT
    if url.startswith(_INVOCATION):
        subject, _, what = url.removeprefix(_INVOCATION).partition(b"/")
        if what in (b"response", b"error"):
            return subject
    return b""


def _unpacked(body: bytes) -> bytes:
    # The error of a stream stands in its trailers in base64, since a header has one line.
    try:
        return b64decode(body, validate=True)
    except ValueError:
        return body
