"""IP addresses as event-ruler reads them, and the networks of `cidr`.

IPv4 in four decimal numbers, leading zeros allowed; IPv6 in hexadecimal only. An IPv6 address that maps one
of IPv4 is that one, as in Java. A string of a pattern that is an address matches it in any writing.
(event-ruler: CIDR.)
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from streamfn.errors import InvalidPattern

if TYPE_CHECKING:
    from collections.abc import Callable

_IPV4 = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)")
_IPV6 = re.compile(r"[0-9a-fA-F:]+")
_MASK = re.compile(r"[+-]?[0-9]+")
_LONGEST = 45


class Address(NamedTuple):
    bits: int
    """32 or 128."""
    number: int


def parsed(text: str) -> Address | None:
    """None for what is no address."""
    return _parsed(text) if len(text) <= _LONGEST else None


@lru_cache(4096)
def _parsed(text: str) -> Address | None:
    if found := _IPV4.fullmatch(text):
        octets = [int(part) for part in found.groups()]
        return Address(32, int.from_bytes(octets)) if max(octets) < 256 else None
    if ":" not in text or not _IPV6.fullmatch(text):
        return None
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return None
    mapped = address.ipv4_mapped
    return Address(128, int(address)) if mapped is None else Address(32, int(mapped))


def equals(address: Address) -> Callable[[str], bool]:
    """Whether a string is this address."""
    return lambda value: parsed(value) == address


def is_in(network: str, place: str) -> Callable[[str], bool]:
    """Whether a string is an address of this network. Raises InvalidPattern if that is none."""
    bits, number, mask = _network(network, place)
    hosts = bits - mask
    wanted = number >> hosts

    def test(value: str) -> bool:
        address = parsed(value)
        return address is not None and address.bits == bits and address.number >> hosts == wanted

    return test


def _network(text: str, place: str) -> tuple[int, int, int]:
    parts = text.rstrip("/").split("/")  # Java's split drops what is empty at the end
    if len(parts) != 2:
        raise InvalidPattern("Malformed CIDR, one '/' required", place)
    # Java's int has 32 bits: more digits than ten are none, or zeros.
    if not _MASK.fullmatch(parts[1]) or len(parts[1]) > 11 or not -(2**31) <= int(parts[1]) < 2**31:
        raise InvalidPattern("Malformed CIDR, mask bits must be an integer", place)
    mask = int(parts[1])
    if mask < 0:
        raise InvalidPattern("Malformed CIDR, mask bits must not be negative", place)
    address = parsed(parts[0])
    if address is None:
        looks = _IPV4.fullmatch(parts[0]) or (":" in parts[0] and _IPV6.fullmatch(parts[0]))
        raise InvalidPattern(f"{'Invalid' if looks else 'Nonstandard'} IP address: {parts[0]}", place)
    if mask >= address.bits:
        version = "IPv4" if address.bits == 32 else "IPv6"
        raise InvalidPattern(f"{version} mask bits must be < {address.bits}", place)
    return address.bits, address.number, mask
