"""Where the API listens: `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from streamfn.errors import ConfigurationError

_FIELD: Final = "--api"
_FORMS: Final = "write HOST:PORT, such as 127.0.0.1:9000 or [::1]:9000, or unix:PATH"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    """0: one that is free."""
    path: Path | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it. Of names that is known of `localhost` alone."""
        return self.path is not None or is_loopback(self.host)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether it is an address of this machine alone, or `localhost`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_address(text: str) -> Address:
    """What the text says. Raises ConfigurationError."""
    if text.startswith("unix:"):
        if text == "unix:":
            raise ConfigurationError("unix: names no path", field=_FIELD, fix="write unix:PATH")
        return Address(path=Path(text.removeprefix("unix:")).absolute())
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed) or (bracketed and not _is_ipv6(host[1:-1])):
        raise ConfigurationError(f"{text!r} is no address", field=_FIELD, fix=_FORMS)
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigurationError(
            f"{port!r} in {text!r} is no port", field=_FIELD, fix="write one of 0 to 65535"
        )
    return Address(host[1:-1] if bracketed else host, int(port))


def exposed(address: str) -> bool:
    """Whether others than this machine may reach it. Raises ConfigurationError."""
    return not parse_address(address).loopback


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False


async def bound(address: Address) -> list[socket.socket]:
    """Sockets bound to it, one for each address of its host.

    Raises ConfigurationError where that cannot be.
    """
    try:
        return [_bound_unix(address.path)] if address.path is not None else await _bound_tcp(address)
    except OSError as error:
        raise ConfigurationError(
            f"{address} cannot be listened on: {error.strerror or error}",
            field=_FIELD,
            fix=_fix(address, error),
        ) from error


def _fix(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "end what listens there, or give another address"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "give a port above 1023, or a path that this user may write to"
    if address.path is not None:
        return "give a short path in a folder that is there"
    if isinstance(error, socket.gaierror):
        return "give a host that has an address here"
    return "give an address of this machine"


async def _bound_tcp(address: Address) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, kind, protocol, _, place in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((place[0], port, *place[2:]))
            # All addresses of a host share a port, the one that the system chose for the first.
            port = one.getsockname()[1]
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


def _bound_unix(path: Path) -> socket.socket:
    _clear(path)
    one = socket.socket(socket.AF_UNIX)
    # Made so that nobody else can connect even for a moment.
    mask = os.umask(0o177)
    try:
        one.bind(str(path))
    except OSError:
        one.close()
        raise
    finally:
        os.umask(mask)
    return one


def _clear(path: Path) -> None:
    """Takes away the socket of a process that is gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"{path} is there, and is no socket", field=_FIELD, fix="give another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # somebody is there, and busy
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def unlink(path: Path, one: tuple[int, int]) -> None:
    """Removes the socket at a path, if it is still the one with that device and inode."""
    with suppress(FileNotFoundError):
        if identity(path) == one:
            path.unlink()


def identity(path: Path) -> tuple[int, int]:
    """Device and inode. Raises FileNotFoundError."""
    found = path.lstat()
    return found.st_dev, found.st_ino
