"""The Runtime API over raw sockets: what a runtime may send, and what comes back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from streamfn.ports import Request
from streamfn.runtimes.process.api import Ending, Invocation, Mark, RuntimeApi
from streamfn.runtimes.process.connection import MAX_HEAD, MAX_RESPONSE, Posted
from streamfn.runtimes.process.running import Exit
from tests.waiting import until

pytestmark = pytest.mark.anyio

NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: a\r\n\r\n"


class Client:
    """A runtime that says what a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:-2])
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["Content-Length"]))

    async def status(self) -> int:
        return (await self.answer())[0]

    async def error(self) -> tuple[int, str]:
        status, _, body = await self.answer()
        return status, orjson.loads(body)["errorType"]

    async def ended(self) -> bool:
        """Whether nothing more comes."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True


class Server:
    """An API with its listener, and clients of it."""

    def __init__(self, api: RuntimeApi, port: int) -> None:
        self.api, self.port = api, port
        self.clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 23))
        self.clients.append(client)
        return client

    def give(self, request_id: str = "id-1", payload: bytes = b"{}") -> Invocation:
        done: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        invocation = Invocation(Request(request_id, payload, "arn:f"), 1_700_000_000_000, done)
        self.api.give(invocation)
        return invocation

    async def running(self, client: Client, request_id: str = "id-1") -> Invocation:
        """An invocation that a client has."""
        client.send(NEXT)
        invocation = self.give(request_id)
        assert await client.status() == 200
        return invocation


@asynccontextmanager
async def serving(capacity: int = 1, *, owned: bool = True) -> AsyncIterator[Server]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    api = RuntimeApi(capacity, lambda peer: owned)
    await api.open(listener)
    server = Server(api, listener.getsockname()[1])
    try:
        yield server
    finally:
        api.close()
        for client in server.clients:
            client.writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


def post(path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"POST /2018-06-01/runtime/{path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_next_waits_for_an_invocation_and_says_what_it_is(server: Server) -> None:
    client = await server.client()
    client.send(NEXT)
    assert await server.api.initialised is Mark.READY
    server.give(payload=b'{"a":1}')
    status, headers, body = await client.answer()
    assert (status, body) == (200, b'{"a":1}')
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": "7",
        "Lambda-Runtime-Aws-Request-Id": "id-1",
        "Lambda-Runtime-Deadline-Ms": "1700000000000",
        "Lambda-Runtime-Invoked-Function-Arn": "arn:f",
    }


async def test_no_caller_can_add_headers(server: Server) -> None:
    request = Request("id-1", b"{}", "arn:f", trace="Root=1\r\nX: y", client_context='{\r\n"a": 1}')
    invocation = Invocation(request, 1, asyncio.get_running_loop().create_future())
    client = await server.client()
    client.send(NEXT)
    server.api.give(invocation)
    _, headers, _ = await client.answer()
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1  X: y"
    assert orjson.loads(headers["Lambda-Runtime-Client-Context"]) == {"a": 1}


async def test_a_response_ends_an_invocation_and_the_connection_goes_on(server: Server) -> None:
    client = await server.client()
    for number in range(3):
        invocation = await server.running(client, f"id-{number}")
        client.send(post(f"invocation/id-{number}/response", b'"done"'))
        assert await invocation.done == Posted(b'"done"')
        assert await client.answer() == (
            202,
            {"Content-Type": "application/json", "Content-Length": "16"},
            b'{"status":"OK"}\n',
        )


async def test_an_error_ends_it_with_its_type(server: Server) -> None:
    client = await server.client()
    invocation = await server.running(client)
    client.send(post("invocation/id-1/error", b"{}", "lambda-runtime-function-error-type: Mine"))
    assert await invocation.done == Posted(b"{}", failed=True, error_type="Mine")
    assert await client.status() == 202


async def test_what_is_pipelined_is_answered_in_turn(server: Server) -> None:
    client = await server.client()
    first = await server.running(client, "id-1")
    client.send(post("invocation/id-1/response", b"1") + NEXT + b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await first.done == Posted(b"1")
    assert await client.status() == 202
    server.give("id-2")
    assert await client.status() == 200
    assert await client.error() == (404, "NotFound")


async def test_bytes_may_come_one_by_one(server: Server) -> None:
    client = await server.client()
    invocation = await server.running(client)
    for byte in post("invocation/id-1/response", b'"slow"'):
        client.send(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert await invocation.done == Posted(b'"slow"')


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("invocation/id-9/response", (400, "InvalidRequestID")),
        ("invocation/id-9/error", (400, "InvalidRequestID")),
        ("invocation/id-1/other", (404, "NotFound")),
        ("invocation//response", (404, "NotFound")),
        ("nowhere", (404, "NotFound")),
        ("invocation/next", (405, "MethodNotAllowed")),
    ],
)
async def test_what_does_not_exist_is_refused(server: Server, path: str, error: tuple[int, str]) -> None:
    client = await server.client()
    await server.running(client)
    client.send(post(path, b"x" * 100_000))
    assert await client.error() == error
    client.send(post("invocation/id-1/response"))
    assert await client.status() == 202


async def test_a_get_of_what_is_to_be_posted_is_refused(server: Server) -> None:
    client = await server.client()
    client.send(b"GET /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await client.error() == (405, "MethodNotAllowed")


async def test_a_result_counts_once(server: Server) -> None:
    client = await server.client()
    await server.running(client)
    client.send(post("invocation/id-1/response", b"1"), post("invocation/id-1/response", b"2"))
    assert await client.status() == 202
    assert await client.error() == (400, "InvalidRequestID")


async def test_work_is_refused_while_there_is_some(server: Server) -> None:
    client = await server.client()
    await server.running(client)
    client.send(NEXT)
    assert await client.error() == (403, "InvalidStateTransition")


async def test_as_many_run_at_a_time_as_may() -> None:
    async with serving(2) as server:
        clients = [await server.client() for _ in range(3)]
        for number, client in enumerate(clients[:2]):
            await server.running(client, f"id-{number}")
        clients[2].send(NEXT)
        assert await clients[2].error() == (403, "InvalidStateTransition")
        assert {one.request.request_id for one in server.api.running} == {"id-0", "id-1"}


async def test_an_event_that_runs_already_waits_for_its_turn() -> None:
    async with serving(2) as server:
        one, other = await server.client(), await server.client()
        first = await server.running(one, "id-1")
        again, different = server.give("id-1"), server.give("id-2")
        other.send(NEXT)
        _, headers, _ = await other.answer()
        assert headers["Lambda-Runtime-Aws-Request-Id"] == "id-2"
        assert (again.given, different.given is None) == (None, False)
        one.send(post("invocation/id-1/response", b"1") + NEXT)
        assert await first.done == Posted(b"1")
        assert [await one.status(), await one.status()] == [202, 200]
        assert again.given is not None


async def test_who_asks_again_on_a_new_connection_counts(server: Server) -> None:
    old, new = await server.client(), await server.client()
    old.send(NEXT)
    await server.api.initialised
    new.send(NEXT)
    assert await old.error() == (403, "InvalidStateTransition")
    server.give()
    assert await new.status() == 200


async def test_work_is_not_given_to_who_has_gone(server: Server) -> None:
    gone, here = await server.client(), await server.client()
    gone.send(NEXT)
    await server.api.initialised
    gone.writer.close()
    await until(lambda: len(server.api._connections) == 1)
    server.give()
    here.send(NEXT)
    assert await here.status() == 200


async def test_an_error_of_the_init_ends_the_init(server: Server) -> None:
    client = await server.client()
    client.send(post("init/error", b'{"errorType":"E"}', "Lambda-Runtime-Function-Error-Type: E"))
    assert await server.api.initialised == Posted(b'{"errorType":"E"}', failed=True, error_type="E")
    assert await client.status() == 202
    client.send(post("init/error", b"{}"))
    assert await client.error() == (403, "InvalidStateTransition")


async def test_restore_is_answered(server: Server) -> None:
    client = await server.client()
    client.send(b"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await client.status() == 200
    client.send(post("restore/error", b"{}"))
    assert await client.status() == 202


@pytest.mark.parametrize(("size", "status"), [(MAX_RESPONSE, 202), (MAX_RESPONSE + 1, 413)])
async def test_the_limit_of_a_response(server: Server, size: int, status: int) -> None:
    client = await server.client()
    invocation = await server.running(client)
    client.send(post("invocation/id-1/response", b"x" * size))
    posted = await invocation.done
    assert isinstance(posted, Posted)
    assert (posted.too_large, len(posted.body)) == (status == 413, size if status == 202 else 0)
    assert await client.status() == status


def stream(*headers: str, trailers: str = "") -> bytes:
    lines = [
        "POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1",
        "Host: a",
        "Transfer-Encoding: chunked",
    ]
    head = "\r\n".join([*lines, "Lambda-Runtime-Function-Response-Mode: streaming", *headers, "", ""])
    return f"{head}3\r\nabc\r\n4\r\ndefg\r\n0\r\n{trailers}\r\n".encode()


async def test_a_stream_is_put_together(server: Server) -> None:
    client = await server.client()
    invocation = await server.running(client)
    client.send(stream())
    assert await invocation.done == Posted(b"abcdefg")


@pytest.mark.parametrize("body", ["eyJhIjoxfQ==", '{"a":1}'])
async def test_an_error_in_the_trailers_of_a_stream_is_what_counts(server: Server, body: str) -> None:
    client = await server.client()
    invocation = await server.running(client)
    names = ("Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body")
    trailers = f"{names[0]}: Broken\r\n{names[1]}: {body}\r\n"
    client.send(stream(f"Trailer: {', '.join(names)}", trailers=trailers))
    assert await invocation.done == Posted(b'{"a":1}', failed=True, error_type="Broken")


async def test_a_client_that_asks_first_whether_to_send_is_told_so(server: Server) -> None:
    client = await server.client()
    await server.running(client)
    head, _, body = post("invocation/id-1/response", b"12", "Expect: 100-continue").partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    assert await client.status() == 202


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ],
)
async def test_what_is_no_http_ends_the_connection(server: Server, sent: bytes) -> None:
    client = await server.client()
    client.send(sent)
    assert await client.error() == (400, "InvalidRequest")
    assert await client.ended()
    assert not server.api.initialised.done()


async def test_there_is_nothing_to_upgrade_to(server: Server) -> None:
    client = await server.client()
    upgrade = NEXT.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    client.send(upgrade + post("nowhere"))
    await server.api.initialised
    server.give()
    assert await client.status() == 200
    assert await client.error() == (404, "NotFound")


@pytest.mark.parametrize("filler", [b"x" * 1000, b"X: y\r\n" * 200])
async def test_headers_have_a_limit(server: Server, filler: bytes) -> None:
    client = await server.client()
    client.send(b"GET / HTTP/1.1\r\nX: ")
    client.send(*([filler] * (MAX_HEAD // len(filler) + 2)))
    status = await client.status()
    assert status == 431
    assert await client.ended()


async def test_a_connection_ends_where_its_client_says_so(server: Server) -> None:
    client = await server.client()
    client.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.0\r\n\r\n")
    await server.api.initialised
    server.give()
    assert await client.status() == 200
    assert await client.ended()
    assert len(server.api.running) == 1


async def test_strangers_are_not_answered() -> None:
    async with serving(owned=False) as server:
        client = await server.client()
        client.send(NEXT)
        assert await client.ended()
        assert not server.api.initialised.done()


async def test_there_are_only_so_many_connections(server: Server) -> None:
    clients = [await server.client() for _ in range(67)]
    clients[-1].send(NEXT)
    assert await clients[-1].ended()
    clients[0].send(NEXT)
    server.give()
    assert await clients[0].status() == 200


async def test_only_one_connection_at_a_time_posts_a_result(server: Server) -> None:
    one, other = await server.client(), await server.client()
    invocation = await server.running(one)
    head, _, body = post("invocation/id-1/response", b'"one"').partition(b"\r\n\r\n")
    one.send(head + b"\r\n\r\n")
    await until(lambda: invocation.receiver is not None)
    other.send(post("invocation/id-1/response", b'"other"'))
    assert await other.error() == (400, "InvalidRequestID")
    one.send(body)
    assert await invocation.done == Posted(b'"one"')


async def test_a_result_that_breaks_off_can_be_sent_again(server: Server) -> None:
    one, other = await server.client(), await server.client()
    invocation = await server.running(one)
    one.send(post("invocation/id-1/response", b'"one"')[:-2])
    await until(lambda: invocation.receiver is not None)
    one.writer.close()
    await until(lambda: invocation.receiver is None)
    other.send(post("invocation/id-1/response", b'"other"'))
    assert await invocation.done == Posted(b'"other"')


async def test_who_waits_for_work_cannot_fill_memory(server: Server) -> None:
    client = await server.client()
    client.send(NEXT)
    await server.api.initialised
    client.send(*([post("invocation/id-1/response", b"x")] * 17))
    assert await client.ended()


async def test_an_invocation_that_was_withdrawn_is_over(server: Server) -> None:
    client = await server.client()
    waiting = server.give("id-0")
    assert server.api.withdraw(waiting)
    running = await server.running(client)
    assert not server.api.withdraw(running)
    client.send(post("invocation/id-1/response"))
    assert await client.error() == (400, "InvalidRequestID")
    assert not running.done.done()


async def test_the_end_of_a_runtime_ends_all_it_had_and_was_to_have(server: Server) -> None:
    client = await server.client()
    running = await server.running(client)
    waiting = server.give("id-2")
    server.api.fail(Exit(1))
    assert await waiting.done == Exit(1)
    client.writer.close()
    assert await running.done == Exit(1)
    assert (running.given is None, waiting.given is None) == (False, True)
    assert server.api.running == []


async def test_what_a_runtime_wrote_before_its_end_counts(server: Server) -> None:
    client = await server.client()
    running = await server.running(client)
    server.give("id-2")
    client.send(post("invocation/id-1/response", b"[1]"), NEXT)
    client.writer.close()
    # As where the end of the process is seen before what it wrote.
    server.api.fail(Exit(1))
    ending = await running.done
    assert isinstance(ending, Posted)
    assert (ending.body, ending.failed) == (b"[1]", False)
    await until(lambda: not server.api._connections)
    assert server.api.running == []


async def test_the_error_of_an_init_counts_when_the_end_is_seen_first() -> None:
    async with serving() as server:
        client = await server.client()
        await until(lambda: server.api._connections)
        client.send(post("init/error", b'{"errorType":"No"}'))
        client.writer.close()
        server.api.fail(Exit(1))
        ending = await server.api.initialised
        assert isinstance(ending, Posted)
        assert ending.body == b'{"errorType":"No"}'


async def test_an_end_without_words_is_the_end_of_the_init() -> None:
    async with serving() as server:
        server.api.fail(Exit(1))
        assert await server.api.initialised == Exit(1)


async def test_what_nobody_waits_for_any_more_is_not_read_out(server: Server) -> None:
    client = await server.client()
    running = await server.running(client)
    server.api.fail(Exit(1))
    running.done.set_result(Mark.TIMED_OUT)
    server.api.withdraw(running)
    assert await client.ended()
    await until(lambda: not server.api._connections)


async def test_a_lost_connection_is_told_of_where_it_is_a_worker(server: Server) -> None:
    lost: list[Invocation] = []
    server.api.when_lost(lost.append)
    client = await server.client()
    invocation = await server.running(client)
    client.writer.close()
    await until(lambda: lost == [invocation])
