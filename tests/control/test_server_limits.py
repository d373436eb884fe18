"""The server: all that may be wrong with a request, and who may not ask."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.control.messages import Handler, HttpRequest, HttpResponse
from streamfn.control.server import Limits, serving
from tests.control.clients import ANY, PATIENCE, Doors, echo, post, said, wire

# ---------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/3.7\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    ],
    ids=range(10),
)
async def test_what_is_malformed_is_refused_and_the_connection_ends(request_: bytes) -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(request_)
        seen = await client.answer()
        assert seen.status == 400
        assert seen.headers["connection"] == "close"
        assert seen.headers["x-amzn-errortype"] == "MalformedRequestException"
        assert str(UUID(seen.headers["x-amzn-requestid"])) == seen.headers["x-amzn-requestid"]
        assert "HTTP/1.1" in str(said(seen.body)["message"])
        assert await client.ended() == b""


async def test_what_was_in_order_before_is_answered_before() -> None:
    doors = Doors()
    async with serving(doors, ANY) as url, wire(url) as client:
        await client.send(post() + b"no HTTP\r\n\r\n")
        await doors.begun.wait()
        doors.open.set()
        assert (await client.answer()).body == b"done"
        assert (await client.answer()).status == 400
        assert await client.ended() == b""


async def test_very_many_requests_at_once_are_refused() -> None:
    doors = Doors()
    async with serving(doors, ANY) as url, wire(url) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n" * 5000)
        await doors.begun.wait()
        doors.open.set()
        statuses = [(await client.answer()).status]
        while statuses[-1] == 200:
            statuses.append((await client.answer()).status)
        assert statuses[-1] == 503
        assert 100 < len(statuses) < 3000
        assert await client.ended() == b""


@pytest.mark.parametrize("endless", [b"X-A: " + b"a" * 70_000, b"X-A: 1\r\n" * 300, b"\r\n" * 40_000])
async def test_a_head_that_is_too_large_is_refused(endless: bytes) -> None:
    async with serving(echo, ANY, limits=Limits(head_bytes=65_536)) as url, wire(url) as client:
        await client.send((b"" if endless.startswith(b"\r") else b"GET / HTTP/1.1\r\n") + endless)
        assert (await client.answer()).status == 431


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused_in_awss_words(chunked: bool) -> None:
    head = b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" if chunked else b"Content-Length: 1048575\r\n\r\n"
    async with serving(echo, ANY, limits=Limits(body_bytes=100_000)) as url, wire(url) as client:
        # A client that sends all before it reads sees the answer, too.
        await client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head + b"x" * 1_048_575)
        seen = await client.answer()
        assert seen.status == 413
        assert seen.headers["x-amzn-errortype"] == "RequestEntityTooLargeException"
        assert said(seen.body)["message"] == "Request must be smaller than 100000 bytes"


async def test_all_bodies_together_have_a_limit_that_is_given_back() -> None:
    doors = Doors()
    async with serving(doors, ANY, limits=Limits(held_bytes=1000)) as url:
        async with wire(url) as first, wire(url) as second:
            await first.send(post(b"x" * 600))
            await doors.begun.wait()
            await second.send(post(b"x" * 600))
            assert (await second.answer()).status == 503
            doors.open.set()
            assert (await first.answer()).status == 200
        async with wire(url) as third:
            await third.send(post(b"x" * 900))
            assert (await third.answer()).status == 200


@pytest.mark.parametrize(
    ("begun", "limits", "answered"),
    [
        (b"POST / HT", Limits(head_timeout=0.2), True),
        (post(b"xx")[:-1], Limits(body_timeout=0.2), True),
        (b"", Limits(idle_timeout=0.2), False),
    ],
    ids=["head", "body", "idle"],
)
async def test_who_is_too_slow_is_cut_off(begun: bytes, limits: Limits, answered: bool) -> None:
    async with serving(echo, ANY, limits=limits) as url, wire(url) as client:
        await client.send(begun)
        if answered:
            assert (await client.answer()).status == 408
        assert await client.ended() == b""


async def test_a_slow_handler_is_not_cut_off() -> None:
    doors = Doors()
    limits = Limits(head_timeout=0.1, body_timeout=0.1, idle_timeout=0.1, write_timeout=0.1)
    async with serving(doors, ANY, limits=limits) as url, wire(url) as client, wire(url) as idle:
        await client.send(post())
        await doors.begun.wait()
        assert await idle.ended() == b""
        doors.open.set()
        assert (await client.answer()).status == 200


async def test_more_connections_than_there_is_room_for_are_told_so() -> None:
    async with serving(echo, ANY, limits=Limits(connections=1)) as url:
        async with wire(url) as first:
            await first.send(post())
            await first.answer()
            async with wire(url) as second:
                assert (await second.answer()).status == 503
                assert await second.ended() == b""
            await first.send(post(b"", "/", "Connection: close"))
            await first.answer()
            await first.ended()
        async with wire(url) as third:
            await third.send(post())
            assert (await third.answer()).status == 200


async def test_a_bug_in_a_handler_is_logged_and_the_connection_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(request: HttpRequest) -> HttpResponse:
        raise RuntimeError(f"no {request.path}")

    async with serving(broken, ANY) as url, wire(url) as client:
        for path in ("/one", "/two"):
            await client.send(post(b"", path))
            seen = await client.answer()
            assert (seen.status, seen.headers["x-amzn-errortype"]) == (500, "ServiceException")
            assert b"RuntimeError" not in seen.body
            assert f"no {path}" in caplog.text


async def test_an_answer_that_cannot_be_written_takes_nobody_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def wrong(request: HttpRequest) -> HttpResponse:
        # What no handler should give.
        return HttpResponse(200, [("X", "1")] if request.path == "/right" else None)  # type: ignore[arg-type]

    async with serving(wrong, ANY) as url, wire(url) as other:
        async with wire(url) as client:
            await client.send(post(b"", "/wrong"))
            assert await client.ended() == b""
        assert "api_connection_failed" in caplog.text
        await other.send(post(b"", "/right"))
        assert (await other.answer()).status == 200


async def test_a_handler_ends_its_work_when_its_client_has_gone() -> None:
    doors = Doors()
    async with serving(doors, ANY) as url:
        async with wire(url) as client:
            await client.send(post())
            await doors.begun.wait()
        doors.open.set()
        with anyio.fail_after(PATIENCE):
            await doors.done.wait()


# ------------------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Origin: http://evil.example"], 403),
        (["Origin: null"], 403),
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: none"], 200),
        ([], 200),
    ],
)
async def test_pages_may_not_ask(headers: list[str], status: int) -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        await client.send(post(b"", "/", *headers))
        assert (await client.answer()).status == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9000", 200),
        ("[::1]:9000", 200),
        ("localhost", 200),
        ("host.docker.internal:9000", 200),
        ("evil.example:9000", 403),
        ("127.0.0.1.evil.example", 403),
        ("[::1", 200),
    ],
)
async def test_loopback_is_not_called_by_a_name_that_anybody_owns(host: str, status: int) -> None:
    async with serving(echo, ANY) as url, wire(url) as client:
        for _ in range(2):
            await client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (await client.answer()).status == status


# ------------------------------------------------------------------------------------------------------- fuzz

_PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [
            *(
                b"GET ",
                b"POST ",
                b"CONNECT ",
                b"/a",
                b"?b",
                b" HTTP/1.1",
                b" HTTP/1.0",
                b"\r\n",
                b"\r\n\r\n",
                b"\n",
            ),
            *(b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"abc"),
            *(b"3\r\nabc\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
            *(
                b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
                b"Host: localhost\r\n",
                post(b"abc"),
                b"HEAD / HTTP/1.1",
            ),
        ]
    ),
)


async def _bombard(handler: Handler, pieces: list[bytes]) -> bytes:
    async with serving(handler, ANY, limits=Limits(linger=2)) as url, wire(url) as client:
        for piece in pieces:
            client.writer.write(piece)
            await asyncio.sleep(0)
        if client.writer.can_write_eof() and not client.writer.is_closing():
            with suppress(OSError):  # the server was faster
                client.writer.write_eof()
        return await client.ended()


@pytest.mark.timeout(120)
@given(pieces=st.lists(_PIECES, max_size=12))
def test_whatever_comes_is_answered_or_ended(pieces: list[bytes]) -> None:
    seen = asyncio.run(_bombard(echo, pieces))
    assert b"HTTP/1.1 5" not in seen
    if post(b"abc") == b"".join(pieces):
        assert seen.startswith(b"HTTP/1.1 200")
