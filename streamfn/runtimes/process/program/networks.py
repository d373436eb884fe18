"""Networks of environments, and the socket in them at which the Runtime API listens."""

from __future__ import annotations

import fcntl
import socket
import struct

from . import kernel

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NETLINK_SOCK_DIAG = 4


def enter(descriptor: int) -> None:
    """Moves the caller into a network namespace that streamfn opened; below 0, into a new one that has
    nothing but a loopback. Raises OSError.
    """
    if descriptor < 0:
        kernel.unshare(kernel.CLONE_NEWNET)
        _loopback()
    else:
        kernel.setns(descriptor, kernel.CLONE_NEWNET)


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        asked = struct.pack("16sH14s", b"lo", 0, bytes(14))
        (flags,) = struct.unpack_from("H", fcntl.ioctl(some, _SIOCGIFFLAGS, asked), 16)
        fcntl.ioctl(some, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, bytes(14)))


def listener() -> socket.socket:
    """On 127.0.0.1, at any port."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening


def diagnostics() -> socket.socket:
    """Answers whose a connection is, in the network that it was made in."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
