"""Requests that a web page makes are refused: it may be anybody's, and reaches what listens on loopback.

A page may post to any server without asking it first; a browser says so, a program sends no `Origin`. And its
own name may be made to lead here, so a server on loopback is not called by names that anybody could own.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from streamfn.control.addresses import Address
from streamfn.control.answers import refusal

if TYPE_CHECKING:
    from streamfn.control.messages import Handler, HttpRequest, HttpResponse

_BY_A_PAGE: Final = "Web pages may not use this API."
_OTHER_HOST: Final = "The API listens on loopback, and is not called by that name: use its address."
_BY_A_PERSON: Final = "none"
"""What browsers say of an address that was typed (Fetch Metadata)."""
_RESERVED: Final = (".localhost", ".internal", ".local", ".test", ".home.arpa")
"""RFC 6761, 6762 and 8375, and ICANN for the second."""
_NAMES: Final = 64
"""Names that are remembered. Who sends more pays for it."""


def asked_by_programs(handler: Handler, address: Address) -> Handler:
    """The handler, behind a check that it is no web page that asks."""
    good: set[str] = {""}
    checks_host = address.path is None and address.loopback

    async def handle(request: HttpRequest) -> HttpResponse:
        headers = request.headers
        if "origin" in headers or headers.get("sec-fetch-site", _BY_A_PERSON) != _BY_A_PERSON:
            return _denied(_BY_A_PAGE)
        host = headers.get("host", "")
        if checks_host and host not in good:
            if not _private(host):
                return _denied(_OTHER_HOST)
            if len(good) < _NAMES:
                good.add(host)
        return await handler(request)

    return handle


def _denied(message: str) -> HttpResponse:
    return refusal(403, "AccessDeniedException", message)


def _private(host: str) -> bool:
    """Whether a host, as clients send it, is an address or a name that nobody can register."""
    name = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.lower().endswith(_RESERVED)
    return True
