"""Whether somebody is there, and whom a destination trusts."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import anyio
import pytest

from streamfn.errors import SourceError
from streamfn.testing.conformance.reading import messages
from streamfn_http import HttpDestination
from tests.http.receiver import listening, nobody, receiving
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_check_connects_and_sends_nothing() -> None:
    async with receiving() as receiver:
        destination = HttpDestination(receiver.url)
        await destination.check()
        await until(lambda: receiver.connections == 1)
        assert receiver.got == []
        await destination.close()


async def test_check_says_that_nobody_is_there() -> None:
    address = nobody()
    destination = HttpDestination(address, query="token=hunter2")
    with pytest.raises(SourceError, match="Connect call failed") as error:
        await destination.check()
    assert str(error.value).startswith(f"{address}: ")
    assert "hunter2" not in str(error.value)
    assert error.value.retryable


async def test_check_says_that_a_host_has_no_address() -> None:
    with pytest.raises(SourceError, match="no-such-host.invalid"):
        await HttpDestination("https://no-such-host.invalid/").check()


async def test_a_certificate_that_is_given_is_trusted(certificate: tuple[Path, ssl.SSLContext]) -> None:
    path, context = certificate
    async with receiving(tls=context) as receiver:
        destination = HttpDestination(receiver.url, ca_bundle=str(path))
        await destination.check()
        assert await destination.send(messages(20)) == []
        assert len(receiver.got) == 20
        await destination.close()


async def test_a_certificate_that_nobody_knows_is_not_trusted(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    _, context = certificate
    async with receiving(tls=context) as receiver:
        destination = HttpDestination(receiver.url)
        with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED.* Fix: .*ca_bundle"):
            await destination.check()
        with anyio.fail_after(10):
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED.* Fix: .*ca_bundle"):
                await destination.send(messages(1))
        assert receiver.got == []
        await destination.close()


async def test_a_certificate_of_another_host_is_not_trusted(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    path, context = certificate
    async with receiving(tls=context) as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        destination = HttpDestination(url, ca_bundle=str(path))
        with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
            await destination.check()
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await destination.send(messages(1))
        assert receiver.got == []
        await destination.close()


async def test_https_where_http_is_spoken_is_out_of_reach() -> None:
    async with receiving() as receiver:
        destination = HttpDestination(receiver.url.replace("http:", "https:"), timeout=2)
        with pytest.raises(SourceError):
            await destination.check()
        with pytest.raises(OSError, match=r".*"):
            await destination.send(messages(1))
        await destination.close()
    assert receiver.got == []


async def test_whoever_never_shakes_hands_is_given_up_in_time(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    connected: list[object] = []

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    async with listening(waits) as port:
        destination = HttpDestination(f"https://127.0.0.1:{port}/", timeout=1, ca_bundle=str(certificate[0]))
        with anyio.fail_after(5):
            with pytest.raises(SourceError, match=r"nobody answers within 0.5 s"):
                await destination.check()
            with pytest.raises(OSError, match=r"nobody answers within 0.5 s"):
                await destination.send(messages(1))
        assert len(connected) == 2
        await destination.close()
