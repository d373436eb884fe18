"""The server: requests that are in order, streams, and its ending."""

from __future__ import annotations

import asyncio
import os

import anyio
import pytest

from streamfn.control.messages import HttpRequest, HttpResponse
from streamfn.control.server import Limits, serving
from tests.control.clients import ANY, PATIENCE, Chunks, Doors, Wire, echo, post, said, wire
from tests.waiting import until

# ------------------------------------------------------------------------------------------- what is in order


async def test_a_request_is_read_whole_and_answered() -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(post(b"body", "/a%2Fb:c?x=%20&y", "X-Twice: 1", "x-twice: 2", "X-Empty:"))
        seen = await client.answer()
        assert seen.status == 200
        assert seen.headers["content-type"] == "application/json"
        assert seen.headers["date"].endswith(" GMT")
        assert "connection" not in seen.headers
        assert said(seen.body) == {
            "method": "POST",
            "path": "/a%2Fb:c",
            "query": "x=%20&y",
            "headers": {"host": "localhost", "content-length": "4", "x-twice": "1,2", "x-empty": ""},
            "body": "body",
        }


async def test_a_connection_is_kept_and_closed_as_its_client_says() -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        for number in range(3):
            await client.send(post(b"%d" % number))
            assert said((await client.answer()).body)["body"] == str(number)
        await client.send(post(b"", "/", "Connection: close"))
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.ended() == b""


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 4\r\n\r\nbody",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n",
        b"\r\n",
    ],
    ids=["sized", "chunked", "none"],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_wish_for_another_protocol_is_passed_over(body: bytes, whole: bool) -> None:
    # As HTTP clients that speak HTTP/2 ask each server first.
    request = (
        b"POST /a?b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" + body
    )
    pieces = [request * 2] if whole else [request[at : at + 1] for at in range(len(request))] * 2
    async with serving(echo, ANY) as url, wire(url) as client:
        for piece in pieces:
            await client.send(piece)
        for _ in range(2):
            seen = said((await client.answer()).body)
            assert (seen["path"], seen["query"], seen["body"]) == ("/a", "b", "body" if body[2:] else "")
        await client.send(post(b"", "/last", "Connection: close"))
        assert said((await client.answer()).body)["path"] == "/last"
        assert await client.ended() == b""


async def test_a_client_that_wishes_for_another_protocol_is_told_once_to_go_on() -> None:
    wish = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Expect: 100-continue")
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(post(b"body", "/", *wish)[:-4])
        assert (await client.answer()).status == 100
        await client.send(b"body")
        assert said((await client.answer()).body)["body"] == "body"


async def test_requests_that_come_together_are_answered_in_turn() -> None:
    together = b"".join(post(b"%d" % number) for number in range(100))
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(together)
        bodies = [said((await client.answer()).body)["body"] for _ in range(100)]
        assert bodies == [str(number) for number in range(100)]


async def test_a_body_comes_in_chunks_and_by_the_byte() -> None:
    request = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n"
    )
    async with serving(echo, ANY) as url, wire(url) as client:
        for place in range(len(request)):
            await client.send(request[place : place + 1])
        document = said((await client.answer()).body)
        assert document["body"] == "abcde"
        assert document["headers"] == {"host": "localhost", "transfer-encoding": "chunked"}


async def test_who_asks_first_is_told_to_send() -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        head = post(b"body", "/", "Expect: 100-continue")[: -len(b"body")]
        await client.send(head)
        assert (await client.answer()).status == 100
        await client.send(b"body" + head)
        assert said((await client.answer()).body)["body"] == "body"
        assert (await client.answer()).status == 100
        await client.send(b"more")
        assert said((await client.answer()).body)["body"] == "more"


async def test_head_has_the_length_and_no_body() -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n" + post())
        seen = await client.answer(method="HEAD")
        assert int(seen.headers["content-length"]) > 0
        assert said((await client.answer()).body)["method"] == "POST"


async def test_no_content_has_neither_length_nor_body() -> None:
    async def nothing(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(204, (), b"not sent")

    async with serving(nothing, ANY) as url, wire(url) as client:
        await client.send(post() + post(b"", "/", "Connection: close"))
        assert (await client.answer())[0::2] == (204, b"")
        last = await client.ended()
        assert b"content-length" not in last.lower()
        assert last.endswith(b"\r\n\r\n")


async def test_http_1_0_closes_unless_it_asks_to_be_kept() -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "keep-alive"
        await client.send(b"GET /x HTTP/1.0\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.ended() == b""


async def test_who_has_said_all_is_still_answered() -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(post(b"last"))
        client.writer.write_eof()
        seen = await client.answer()
        assert said(seen.body)["body"] == "last"
        assert await client.ended() == b""


async def test_a_proxys_form_of_the_url_and_an_upgrade_change_nothing() -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(post(b"1", "http://localhost:1/a?b"))
        document = said((await client.answer()).body)
        assert (document["path"], document["query"]) == ("/a", "b")
        await client.send(post(b"", "/", "Connection: Upgrade", "Upgrade: h2c") + post(b"after"))
        assert (await client.answer()).status == 200
        assert said((await client.answer()).body)["body"] == "after"


async def test_a_header_cannot_end_the_head() -> None:
    async def split(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("X-Said", "a\r\nX-Injected: 1\r\n\r\nbody ü")], b"")

    async with serving(split, ANY) as url, wire(url) as client:
        await client.send(post())
        assert (await client.answer()).headers["x-said"] == "a  X-Injected: 1    body ü"


async def test_a_large_body_comes_and_goes() -> None:
    body = os.urandom(1_000_000).hex().encode()
    async with serving(echo, ANY) as url, wire(url) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.send, post(body))
        assert said((await client.answer()).body)["body"] == body.decode()


# ---------------------------------------------------------------------------------------------------- streams


async def test_a_stream_comes_in_chunks_and_the_connection_goes_on() -> None:
    chunks = Chunks(b"one ", b"", b"two")
    async with serving(chunks, ANY) as url, wire(url) as client:
        for _ in range(2):
            await client.send(post())
            seen = await client.answer()
            assert seen.headers["transfer-encoding"] == "chunked"
            assert seen.body == b"one two"
        await client.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.answer(method="HEAD")).status == 200


async def test_a_stream_to_http_1_0_ends_with_the_connection() -> None:
    async with serving(Chunks(b"one ", b"two"), ANY) as url, wire(url) as client:
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        seen = await client.ended()
        assert seen.endswith(b"\r\n\r\none two")
        assert b"transfer-encoding" not in seen.lower()


async def test_a_stream_waits_for_a_slow_reader_and_ends_when_it_has_gone() -> None:
    chunks = Chunks(b"x" * 65_536, forever=True)
    async with serving(chunks, ANY) as url:
        async with wire(url) as client:
            await client.send(post())
            await client.reader.readexactly(1000)
            before = -1
            while before != chunks.sent:  # goes on until nothing more fits in between
                before = chunks.sent
                await anyio.sleep(0.05)
            assert chunks.sent < 100_000_000
            assert not chunks.ended.is_set()
        with anyio.fail_after(PATIENCE):
            await chunks.ended.wait()


async def test_a_stream_that_breaks_is_not_ended_in_order(caplog: pytest.LogCaptureFixture) -> None:
    chunks = Chunks(b"one")
    chunks.error = RuntimeError("broken")
    async with serving(chunks, ANY) as url, wire(url) as client:
        await client.send(post())
        assert not (await client.ended()).endswith(b"0\r\n\r\n")
    assert "api_stream_failed" in caplog.text
    assert "broken" in caplog.text


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    chunks = Chunks(b"x" * 65_536, forever=True)
    async with serving(chunks, ANY, limits=Limits(write_timeout=0.2)) as url, wire(url) as client:
        await client.send(post())
        with anyio.fail_after(PATIENCE):
            await chunks.ended.wait()


@pytest.mark.parametrize("more", [(), ("Connection: close",)])
async def test_a_large_answer_that_nobody_reads_keeps_no_place(more: tuple[str, ...]) -> None:
    async def large(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (), b"x" * 20_000_000)

    narrow = Limits(write_timeout=0.2, connections=1)
    async with serving(large, ANY, limits=narrow) as url, wire(url) as client:
        await client.send(post(b"", "/", *more))
        await client.reader.readexactly(1)
        # Reads no more. One place was all there was, and it is free again when that has been noticed.
        client.writer.transport.pause_reading()

        async def is_free() -> bool:
            async with wire(url) as other:
                await other.send(post(b"", "/", "Connection: close"))
                return (await other.answer()).status == 200

        await until(is_free, PATIENCE)


# ------------------------------------------------------------------------------------------------- its ending


async def test_leaving_ends_what_is_worked_on_and_closes_what_is_idle() -> None:
    doors = Doors()
    async with anyio.create_task_group() as tasks:
        leaving = anyio.Event()
        urls: list[str] = []
        served = anyio.Event()

        async def serve() -> None:
            async with serving(doors, ANY) as url:
                urls.append(url)
                served.set()
                await leaving.wait()

        tasks.start_soon(serve)
        await served.wait()
        async with wire(urls[0]) as working, wire(urls[0]) as idle:
            await working.send(post())
            await doors.begun.wait()
            leaving.set()
            assert await idle.ended() == b""
            with pytest.raises(ConnectionRefusedError):
                async with wire(urls[0]):
                    pass
            doors.open.set()
            seen = await working.answer()
            assert (seen.body, seen.headers["connection"]) == (b"done", "close")
            assert await working.ended() == b""


async def test_leaving_does_not_wait_for_ever() -> None:
    doors = Doors()
    with anyio.fail_after(PATIENCE):
        async with serving(doors, ANY, limits=Limits(grace=0.1)) as url:
            reader = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            client = Wire(*reader)
            await client.send(post())
            await doors.begun.wait()
    assert await client.ended() == b""
    client.writer.close()
    assert not doors.done.is_set()
