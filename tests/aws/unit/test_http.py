"""Our HTTP, against a server that answers in every way that one may, and in some that none should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn_aws.http import BadAnswer, Http, _Reading

pytestmark = pytest.mark.anyio

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Reply = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


class Server:
    """Answers each request with what the test says. Counts connections and requests."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.connections = self.requests = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readexactly(len(REQUEST)):
                self.requests += 1
                await self.reply(writer, self.requests)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(reply: Reply | bytes) -> AsyncIterator[tuple[Server, Http]]:
    async def same(writer: asyncio.StreamWriter, _: int) -> None:
        assert isinstance(reply, bytes)
        writer.write(reply)

    server = Server(same if isinstance(reply, bytes) else reply)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/"
    async with Http.opened(server.url, None) as http:
        yield server, http
    listening.close()


async def test_a_connection_is_used_again() -> None:
    async with serving(OK) as (server, http):
        for _ in range(5):
            answer = await http.ask(REQUEST, 5)
            assert (answer.status, answer.body) == (200, b"hello")
        assert (server.connections, server.requests) == (1, 5)


async def test_calls_at_a_time_have_a_connection_each() -> None:
    waiting = 0
    all_there = anyio.Event()

    async def together(writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 4:
            all_there.set()
        await all_there.wait()
        writer.write(OK)

    async with serving(together) as (server, http), anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(http.ask, REQUEST, 5)
    assert server.connections == 4


async def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    """The other side closes what it thinks idle; the call that finds out is made once more."""

    async def once(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with serving(once) as (server, http):
        for _ in range(3):
            assert (await http.ask(REQUEST, 5)).body == b"hello"
        assert server.requests == 3


async def test_a_server_that_says_close_is_taken_at_its_word() -> None:
    async with serving(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as (server, http):
        for _ in range(3):
            assert (await http.ask(REQUEST, 5)).body == b"hello"
        assert server.connections == 3


async def test_a_cancelled_call_leaves_no_answer_to_the_next() -> None:
    go_on = anyio.Event()

    async def late(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await go_on.wait()
            writer.write(OK.replace(b"hello", b"stale"))
        else:
            writer.write(OK)

    async with serving(late) as (_, http):
        with anyio.move_on_after(0.05):
            await http.ask(REQUEST, 5)
        go_on.set()
        assert (await http.ask(REQUEST, 5)).body == b"hello"


async def test_an_answer_that_does_not_come_in_time() -> None:
    async def never(writer: asyncio.StreamWriter, _: int) -> None:
        await anyio.sleep_forever()

    async with serving(never) as (_, http):
        with pytest.raises(TimeoutError, match="no answer within 0.1 s"):
            await http.ask(REQUEST, 0.1)


async def test_nobody_is_there() -> None:
    async with serving(OK) as (server, _):
        url = server.url
    async with Http.opened(url, None) as http:
        with pytest.raises(OSError, match="127.0.0.1"):
            await http.ask(REQUEST, 5)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 huh OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello0\r\n\r\n",
        b"x" * 70_000,
    ],
)
async def test_what_is_no_answer_is_said_to_be_none(answer: bytes) -> None:
    async with serving(answer) as (_, http):
        with pytest.raises(BadAnswer, match="no HTTP answer"):
            await http.ask(REQUEST, 5)


async def test_an_answer_that_breaks_off() -> None:
    async def half(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(OK[:-2])
        await writer.drain()
        writer.close()

    async with serving(half) as (server, http):
        with pytest.raises(ConnectionResetError):
            await http.ask(REQUEST, 5)
        assert server.requests == 1


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


@given(
    pieces=st.lists(st.binary(max_size=30), max_size=5),
    is_chunked=st.booleans(),
    interim=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(
    pieces: list[bytes], is_chunked: bool, interim: bool, cuts: list[int]
) -> None:
    body = b"".join(pieces)
    length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    wire = b"HTTP/1.1 100 Continue\r\n\r\n" if interim else b""
    wire += b"HTTP/1.1 400 Bad\r\nX-Amzn-RequestId: 1\r\n%s\r\n\r\n" % length
    wire += chunked(pieces) if is_chunked else body
    reading = _Reading()
    at, answer = 0, None
    for cut in [*sorted(cut for cut in cuts if cut < len(wire)), len(wire)]:
        assert answer is None
        if cut > at:
            answer = reading.feed(wire[at:cut])
            at = cut
    assert answer is not None
    assert (answer.status, answer.body) == (400, body)
    assert answer.headers()["x-amzn-requestid"] == "1"


@given(st.binary(max_size=300) | st.text("-0123456789abcdef\r\n;", max_size=40).map(str.encode))
def test_hostile_input_ends_and_raises_value_errors_only(data: bytes) -> None:
    for begin in (b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        with suppress(ValueError):
            answer = _Reading().feed(begin + data)
            assert answer is None or answer.status >= 200
