"""What receivers get and what becomes of what they answer, over real connections."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamfn.ports import Destination, Message, SendFailure
from streamfn.testing.conformance.reading import messages
from streamfn_http import HttpDestination
from tests.http.receiver import Got, Receiver, Says, answer, listening, nobody, receiving, verified
from tests.waiting import until

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_" + "QUJD" * 16
NOW = 1_700_000_000.5
OK = answer(200, b'{"ok":true}')


@asynccontextmanager
async def hook(*says: Says, **options: Any) -> AsyncIterator[tuple[Receiver, HttpDestination]]:
    async with receiving(*says) as receiver:
        destination = HttpDestination(receiver.url, clock=lambda: NOW, **options)
        try:
            yield receiver, destination
        finally:
            await destination.close()


async def fails(destination: Destination, *sent: Message) -> list[SendFailure]:
    return list(await destination.send(sent or messages(1)))


# ---------------------------------------------------------------------------------------- requests


async def test_a_request_is_what_a_webhook_is() -> None:
    async with hook(query="a=1&b=%2F", authorization="Bearer hunter2") as (receiver, destination):
        message = Message(
            b'{"a":1}', "Zürich, CH", (("Authorization", b"forged"), ("webhook-id", b"x\r\ny: z"))
        )
        assert await fails(destination, message) == []
        (got,) = receiver.got
        assert got.line == "POST /hook?a=1&b=%2F HTTP/1.1"
        assert got.message == message
        assert got.one("host") == receiver.url.split("/")[2]
        assert got.one("authorization") == "Bearer hunter2"
        assert got.one("content-type") == "application/json"
        assert got.one("user-agent") == "streamfn"
        assert got.one("webhook-timestamp") == "1700000000"
        assert got.one("webhook-id").startswith("msg_")
        assert got.all("webhook-signature") == got.all("cookie") == got.all("y") == []


async def test_requests_are_signed_with_every_secret() -> None:
    async with hook(secret=[SECRET, OLD], content_type="text/plain") as (receiver, destination):
        assert await fails(destination, Message(b""), Message(bytes(range(256)))) == []
        for got in receiver.got:
            assert got.one("content-type") == "text/plain"
            assert verified(got, SECRET, NOW)
            assert verified(got, OLD, NOW)
            assert not verified(got, OLD.replace("D", "E"), NOW)


async def test_what_is_sent_again_has_its_id_again_and_a_new_time() -> None:
    async with receiving(answer(500)) as receiver:
        destination = HttpDestination(receiver.url, secret=SECRET, clock=lambda: NOW + 7 * len(receiver.got))
        assert await fails(destination, Message(b"1", "k", (), "name")) == []
        await destination.close()
        first, second = receiver.got
        assert first.one("webhook-id") == second.one("webhook-id")
        assert [verified(got, SECRET, NOW) for got in receiver.got] == [True, True]
        assert int(second.one("webhook-timestamp")) - int(first.one("webhook-timestamp")) == 7
        assert first.one("webhook-signature") != second.one("webhook-signature")


async def test_messages_of_one_key_keep_their_order_and_others_do_not_wait() -> None:
    async with hook(*[OK, answer(503)] * 20) as (receiver, destination):
        receiver.usual = OK
        sent = [Message(b"%d" % number, f"key-{number % 7}") for number in range(100)]
        assert await fails(destination, *sent) == []
        of_key = defaultdict(list)
        for got in receiver.got:
            of_key[got.message.key].append(int(got.body))
        for index, (key, numbers) in enumerate(sorted(of_key.items(), key=lambda one: one[0] or "")):
            assert sorted(set(numbers)) == list(range(index, 100, 7)), key
            assert numbers == sorted(numbers)


async def test_there_are_no_more_requests_at_a_time_than_said() -> None:
    everybody = anyio.Event()

    async def waits(got: Got, writer: asyncio.StreamWriter) -> None:
        await everybody.wait()
        writer.write(OK)

    async with hook(concurrency=3) as (receiver, destination):
        receiver.usual = waits
        async with anyio.create_task_group() as tasks:
            for first in (0, 20):  # calls that overlap share the width
                tasks.start_soon(destination.send, messages(20, first))
            await until(lambda: receiver.at_once == 3)
            everybody.set()
        assert (receiver.most_at_once, len(receiver.got)) == (3, 40)
        assert receiver.connections == 3


async def test_one_connection_serves_many_requests() -> None:
    chunked = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    continues = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
    async with hook(OK, chunked, answer(204), continues, answer(400, b"no"), concurrency=1) as (
        receiver,
        destination,
    ):
        assert await fails(destination, *messages(6)) == [
            SendFailure(4, "HTTP 400 Said: no", retryable=False)
        ]
        assert receiver.connections == 1


async def test_what_can_be_no_request_fails_alone() -> None:
    async with hook() as (receiver, destination):
        (failure,) = await fails(destination, Message(b"0"), Message(b"1", "\ud800"), Message(b"2"))
        assert (failure.index, failure.retryable) == (1, False)
        assert sorted(receiver.bodies) == [b"0", b"2"]


# ----------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_what_is_taken(status: int) -> None:
    async with hook(answer(status)) as (receiver, destination):
        assert await fails(destination) == []
        assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 502, 503, 504, 599])
async def test_what_goes_again(status: int) -> None:
    async with hook(answer(status, b"later"), answer(status)) as (receiver, destination):
        assert await fails(destination) == []
        assert receiver.bodies == [b"0"] * 3


@pytest.mark.parametrize("status", [101, 304, 400, 401, 403, 410, 413, 422])
async def test_what_is_refused(status: int) -> None:
    async with hook(answer(status, b"<b>\nno\x00")) as (receiver, destination):
        (failure,) = await fails(destination)
        text = "redirects are not followed" if status == 304 else "" if status == 101 else "<b> no"
        assert failure.reason.removesuffix(": ").startswith(f"HTTP {status} Said")
        assert text in failure.reason
        assert not failure.retryable
        assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with (
        receiving() as elsewhere,
        hook(answer(status, b"", f"Location: {elsewhere.url}")) as (
            receiver,
            destination,
        ),
    ):
        assert await fails(destination) == [
            SendFailure(0, f"HTTP {status} Said: redirects are not followed", retryable=False)
        ]
        assert (len(receiver.got), len(elsewhere.got)) == (1, 0)


async def test_a_pause_that_is_asked_for_is_kept() -> None:
    async with hook(answer(503, b"", "Retry-After: 1")) as (receiver, destination):
        began = anyio.current_time()
        assert await fails(destination) == []
        assert 1.0 <= anyio.current_time() - began < 5
        assert len(receiver.got) == 2


async def test_a_pause_beyond_the_time_is_not_waited_for() -> None:
    async with hook(answer(429, b"", "Retry-After: Tue, 14 Nov 2023 22:14:20 GMT")) as (
        receiver,
        destination,
    ):
        with anyio.fail_after(5):
            assert await fails(destination) == [SendFailure(0, "HTTP 429 Said")]
        assert len(receiver.got) == 1


async def test_what_is_not_taken_in_time_may_come_again() -> None:
    async with hook(timeout=1) as (receiver, destination):
        receiver.usual = answer(500, b"x" * 5000)
        assert await fails(destination) == [SendFailure(0, "HTTP 500 Said: " + "x" * 197 + "...")]
        assert 1 < len(receiver.got) < 20


async def test_answers_that_repeat_secrets_are_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def echoes(got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(400, f"{got.line} {got.headers} and hunter2-hunter2".encode()[:900]))

    async with hook(echoes, query="t=hunter2-hunter2", authorization="Bearer hunter2-hunter2") as (
        _,
        destination,
    ):
        (failure,) = await fails(destination)
        assert "POST /hook?***" in failure.reason
        assert "hunter2" not in failure.reason + repr(destination) + caplog.text


# --------------------------------------------------------------------------------- bad behaviour


def endless(head: bytes) -> Says:
    async def write(got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(b"5\r\nabcde\r\n")
            await writer.drain()
            await anyio.lowlevel.checkpoint()

    return write


def silent(head: bytes) -> Says:
    async def write(got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        assert got.reader is not None
        await got.reader.read()  # until the other side hangs up

    return write


async def drops(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resets(got: Got, writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


CHUNKED = b"HTTP/1.1 %d Said\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 %d Said\r\nContent-Length: 1000\r\n\r\nbegun"


@pytest.mark.parametrize("body", [endless(CHUNKED % 200), silent(CHUNKED % 200), silent(LONG % 200)])
async def test_an_answer_that_never_ends_has_taken_the_message_and_goes(body: Says) -> None:
    async with hook(body) as (receiver, destination):
        with anyio.fail_after(5):
            assert await fails(destination) == []
            assert await fails(destination, *messages(1, 1)) == []
        assert receiver.bodies == [b"0", b"1"]
        assert receiver.connections == 2


@pytest.mark.parametrize("body", [endless(CHUNKED % 400), silent(CHUNKED % 400), silent(LONG % 400)])
async def test_a_refusal_that_never_ends_is_one(body: Says) -> None:
    async with hook(body) as (_, destination):
        with anyio.fail_after(5):
            (failure,) = await fails(destination)
        assert failure.reason.startswith("HTTP 400 Said")
        assert not failure.retryable


async def test_an_answer_that_is_cut_off_in_its_body_has_come() -> None:
    async def cut(got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(LONG % 200)
        await writer.drain()
        writer.close()

    async with hook(cut) as (receiver, destination):
        assert await fails(destination) == []
        assert len(receiver.got) == 1


async def test_an_answer_whose_body_is_none_does_no_harm() -> None:
    async with hook(CHUNKED % 200 + b"garbage\r\n\r\n", concurrency=1) as (receiver, destination):
        assert await fails(destination, *messages(2)) == []
        assert sorted(set(receiver.bodies)) == [b"0", b"1"]


async def test_a_body_that_can_not_be_unpacked_does_not_matter() -> None:
    broken = answer(200, b"no gzip", "Content-Encoding: gzip")
    async with hook(broken, answer(400, b"no gzip", "Content-Encoding: gzip")) as (receiver, destination):
        assert await fails(destination) == []
        assert await fails(destination) == [SendFailure(0, "HTTP 400 Said: no gzip", retryable=False)]
        assert receiver.connections == 1


@pytest.mark.parametrize("bad", [drops, resets, b"no HTTP at all\r\n\r\n", b"HTTP/1.1 2", b"\0" * 100])
async def test_what_is_not_answered_goes_again(bad: Says) -> None:
    async def ends(got: Got, writer: asyncio.StreamWriter) -> None:
        assert isinstance(bad, bytes)
        writer.write(bad)
        await writer.drain()
        writer.close()

    async with hook(ends if isinstance(bad, bytes) else bad) as (receiver, destination):
        assert await fails(destination) == []
        first, second = receiver.got
        assert first.one("webhook-id") == second.one("webhook-id")
        assert first.connection != second.connection


@pytest.mark.parametrize("bad", [drops, resets])
async def test_connections_that_are_lost_while_they_wait_do_not_matter(bad: Says) -> None:
    async with hook() as (receiver, destination):
        for first in range(0, 50, 10):
            assert await fails(destination, *messages(10, first)) == []
            receiver.hang_up()  # before or after the client has noticed
        receiver.says = [bad] * 10
        assert await fails(destination, *messages(10, 50)) == []
        assert {int(body) for body in receiver.bodies} == set(range(60))


async def test_whoever_never_answers_was_there_and_what_was_sent_may_come_again() -> None:
    async with hook(timeout=0.5) as (receiver, destination):
        receiver.usual = silent(b"")
        with anyio.fail_after(5):
            failures = await fails(destination, *messages(2))
        assert failures == [SendFailure(index, f"{destination.name}: no answer in time") for index in (0, 1)]
        await until(lambda: receiver.at_once == 0)  # the connections were given up


async def test_whoever_only_hangs_up_was_there() -> None:
    async with hook(timeout=1) as (receiver, destination):
        receiver.usual = drops
        (failure,) = await fails(destination)
        assert failure.retryable
        assert failure.reason.startswith(f"{destination.name}: ")
        assert len(receiver.got) > 1


async def test_a_refusal_before_all_is_sent_leaves_the_next_message_alone() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, b"too much"))
        await writer.drain()

    async with listening(refuses) as port:
        destination = HttpDestination(f"http://127.0.0.1:{port}/", concurrency=1)
        with anyio.fail_after(10):
            failures = await fails(destination, Message(b"x" * 2**25), Message(b"y" * 2**25))
        assert failures == [
            SendFailure(index, "HTTP 413 Said: too much", retryable=False) for index in (0, 1)
        ]
        await destination.close()


async def test_a_send_that_is_cancelled_lets_its_connection_go() -> None:
    async with hook() as (receiver, destination):
        receiver.says = [silent(b"")]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(destination.send, messages(1))
            await until(lambda: receiver.at_once == 1)
            tasks.cancel_scope.cancel()
        await until(lambda: receiver.at_once == 0)
        assert await fails(destination) == []


# ------------------------------------------------------------------------------------- no receiver


async def test_a_receiver_that_comes_back_is_found_again() -> None:
    async with receiving() as receiver:
        destination = HttpDestination(receiver.url)
        assert await fails(destination) == []
    with pytest.raises(OSError, match="Connect call failed"):
        await destination.send(messages(1))
    await destination.close()


async def test_nobody_is_told_of_by_name_without_the_query() -> None:
    address = nobody()
    destination = HttpDestination(address, query="token=hunter2")
    with pytest.raises(OSError, match=r".*") as error:
        await destination.send(messages(3))
    assert str(error.value).startswith(f"{address}: ")
    assert "hunter2" not in str(error.value)
    await destination.close()


async def test_a_host_without_an_address_is_out_of_reach() -> None:
    destination = HttpDestination("http://no-such-host.invalid/")
    with pytest.raises(OSError, match="no-such-host.invalid"):
        await destination.send(messages(1))
    await destination.close()
