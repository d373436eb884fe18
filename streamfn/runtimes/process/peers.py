"""Whose connection is it: the other end of a connection on this machine, asked of the kernel."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, pid
_REQUEST: Final = struct.Struct("=BBBBI")  # inet_diag_req_v2: family, protocol, extensions, padding, states
_SOCKET: Final = struct.Struct("!HH4s12s4s12s")  # inet_diag_sockid: ports and addresses
_COOKIE: Final = struct.Struct("=III")  # interface, and a cookie of two words: none
_OWNER: Final = struct.Struct("=II")  # idiag_uid, idiag_inode
_OWNER_AT: Final = _HEADER.size + 4 + _SOCKET.size + _COOKIE.size + 4 * 3  # behind expires, rqueue, wqueue


class End(NamedTuple):
    """One end of a connection."""

    user: int
    inode: int


class Peers:
    """Tells the connections of one environment, which come to one listener, from those of others."""

    def __init__(
        self, address: tuple[str, int], init: int, user: int, diagnostics: socket.socket | None
    ) -> None:
        self._address = address
        self._init = init
        self._user = user
        self._diagnostics = diagnostics

    def owns(self, peer: tuple[str, int]) -> bool:
        end = self._end(peer)
        if end is None:
            return False
        if self._user >= 0:
            return end.user == self._user
        return _holds(self._init, end.inode)

    def _end(self, peer: tuple[str, int]) -> End | None:
        if self._diagnostics is not None:
            with suppress(OSError):
                return ask(self._diagnostics, peer, self._address)
        return read(Path(f"/proc/{self._init}/net/tcp"), peer, self._address)


def diagnostics() -> socket.socket:
    """Asks the kernel about connections of this network. Raises OSError where it cannot be asked."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def ask(diagnostics: socket.socket, source: tuple[str, int], target: tuple[str, int]) -> End | None:
    """The socket whose own address is `source` and whose other end is `target`, by sock_diag; None if there
    is none. Raises OSError where the kernel does not answer.
    """
    ports = _SOCKET.pack(
        source[1], target[1], socket.inet_aton(source[0]), bytes(12), socket.inet_aton(target[0]), bytes(12)
    )
    asked = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ports
    asked += _COOKIE.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
    size = _HEADER.size + len(asked)
    diagnostics.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + asked)
    answer = diagnostics.recv(4096, socket.MSG_DONTWAIT)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        (number,) = struct.unpack_from("=i", answer, _HEADER.size)
        if -number == errno.ENOENT:
            return None
        raise OSError(-number, os.strerror(-number))
    return End(*_OWNER.unpack_from(answer, _OWNER_AT))


def read(table: Path, source: tuple[str, int], target: tuple[str, int]) -> End | None:
    """As `ask`, out of a table like /proc/net/tcp; None also where there is no table."""
    wanted = [_written(source), _written(target)]
    with suppress(OSError):
        for line in table.read_text("ascii").splitlines()[1:]:
            words = line.split()
            if words[1:3] == wanted:
                return End(int(words[7]), int(words[9]))
    return None


def _written(address: tuple[str, int]) -> str:
    # The kernel prints the four bytes as one number of the machine's own byte order.
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def _holds(init: int, inode: int) -> bool:
    """Whether a process of the tree below `init` has the socket open."""
    name = f"socket:[{inode}]"
    for pid in _descendants(init)[1:]:
        with suppress(OSError):
            folder = f"/proc/{pid}/fd"
            if any(_link(f"{folder}/{number}") == name for number in os.listdir(folder)):
                return True
    return False


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _descendants(pid: int) -> list[int]:
    """A process and all that came from it, as far as /proc shows it at this moment."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                children = Path(f"/proc/{parent}/task/{task}/children").read_bytes()
                found += map(int, children.split())
    return found
