"""Going through a proxy, when asked to and only then."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import anyio
import pytest

from streamfn.errors import SourceError
from streamfn.testing.conformance.reading import messages
from streamfn_http import HttpDestination
from tests.http.receiver import answer, listening, nobody, receiving
from tests.waiting import until

pytestmark = pytest.mark.anyio

USER = "Basic bWU6aHVudGVyMg=="  # me:hunter2


class Proxy:
    """Opens tunnels to whoever is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.says = b"HTTP/1.1 200 Go On\r\n\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        writer.write(self.says)
        if b" 200 " not in self.says:
            await writer.drain()
            writer.close()
            return
        host, _, port = head.split(" ")[1].partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(copy, reader, back)
            tasks.start_soon(copy, there, writer)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # hung up
    finally:
        writer.close()


async def test_plain_requests_go_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        monkeypatch.setenv("HOOK_PROXY", proxy.url.replace("//", "//me:hunter2@").removesuffix("/hook"))
        destination = HttpDestination("http://receiver.invalid/hook", proxy="env:HOOK_PROXY")
        await destination.check()
        await until(lambda: proxy.connections == 1)
        assert await destination.send(messages(3)) == []
        assert {got.line for got in proxy.got} == {"POST http://receiver.invalid/hook HTTP/1.1"}
        assert {got.one("proxy-authorization") for got in proxy.got} == {USER}
        assert "hunter2" not in repr(destination) + destination.name
        await destination.close()


async def test_encrypted_requests_go_through_a_tunnel(certificate: tuple[Path, ssl.SSLContext]) -> None:
    path, context = certificate
    proxy = Proxy()
    async with receiving(tls=context) as receiver, listening(proxy.serve) as port:
        through = f"http://me:hunter2@127.0.0.1:{port}"
        destination = HttpDestination(receiver.url, ca_bundle=str(path), proxy=through, concurrency=1)
        assert await destination.send(messages(3)) == []
        assert len(receiver.got) == 3
        assert receiver.got[0].all("proxy-authorization") == []
        (asked,) = proxy.asked
        assert asked.startswith(f"CONNECT {receiver.url.split('/')[2]} HTTP/1.1")
        assert USER in asked
        await destination.close()


async def test_a_proxy_that_refuses_is_named() -> None:
    proxy = Proxy()
    proxy.says = answer(407)
    async with listening(proxy.serve) as port:
        destination = HttpDestination(
            "https://receiver.invalid/", proxy=f"http://127.0.0.1:{port}", query="t=hunter2"
        )
        with pytest.raises(OSError, match=r"^https://receiver.invalid/: the proxy answers 407 Said$"):
            await destination.send(messages(1))
        await destination.close()


async def test_a_proxy_that_is_not_there_is_out_of_reach() -> None:
    destination = HttpDestination("https://receiver.invalid/", proxy=nobody().removesuffix("/hook"))
    with pytest.raises(SourceError, match="Connect call failed"):
        await destination.check()
    with pytest.raises(OSError, match="Connect call failed"):
        await destination.send(messages(1))
    await destination.close()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody())
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with receiving() as receiver:
        destination = HttpDestination(receiver.url)
        assert await destination.send(messages(1)) == []
        await destination.close()
