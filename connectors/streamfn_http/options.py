"""What can be said of a webhook, in Python and in a URI, and what is refused."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from streamfn.errors import ConfigurationError
from streamfn.options import one_of, parsed, secret, text, unknown
from streamfn.ports import FailureFormat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

ROLE: Final = "Destination"
CODE: Final = "Code"

_OF: Final = {ROLE: "of webhooks", CODE: "of functions behind an address"}

OPTION_TYPES: Final[dict[str, type]] = {
    "authorization": str,
    "ca_bundle": str,
    "concurrency": int,
    "content_type": str,
    "failure_format": str,
    "proxy": str,
    "query": str,
    "secret": str,
    "timeout": float,
}

RUNTIME_TYPES: Final[dict[str, type]] = {
    "authorization": str,
    "ca_bundle": str,
    "capacity": int,
    "proxy": str,
    "query": str,
    "timeout": float,
}

_PORTS: Final = {"http": 80, "https": 443}
_FORMATS: Final = {style.value: style for style in FailureFormat}
_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]+")
_EXAMPLE: Final = "write https://host/path"
_OF_PATHS: Final = "/%:@!$&'()*+,;=~-._"
_OF_QUERIES: Final = _OF_PATHS + "?[]"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where requests go. Its repr and its name are without the query, which may hold secrets."""

    name: str
    """`https://host:port/path`"""
    host: str
    port: int
    is_tls: bool
    query: str = ""

    def __repr__(self) -> str:
        return f"<Address {self.name}>"

    @property
    def url(self) -> str:
        """With the query."""
        return f"{self.name}?{self.query}" if self.query else self.name


def parsed_uri(
    uri: str, types: Mapping[str, type] = OPTION_TYPES, role: str = ROLE
) -> tuple[str, dict[str, Any]]:
    """The address and the options of `https://host/path?option=value`.

    Raises ConfigurationError naming what is wrong and the fix. Never repeats options: they may hold secrets.
    """
    place, _, query = uri.partition("?")
    if "#" in uri:
        raise ConfigurationError("an address has no part behind # here", field=role, fix=_EXAMPLE)
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    unknown(names, types, f"{_OF[role]} (what the receiver is to get goes into the option query)")
    given: dict[str, Any] = {
        name: parsed(name, value, types[name]) for name, value in pairs if name != "secret"
    }
    for name in given:
        if names.count(name) > 1:
            raise ConfigurationError("is given more than once", field=name, fix="remove all but one")
    if "secret" in names:
        given["secret"] = [value for name, value in pairs if name == "secret"]
    return place, given


def address(url: str, query: str | None, role: str = ROLE) -> Address:
    """Where `url` is, and what its query is to be: as it is written in a URL, or `env:NAME`.

    Raises ConfigurationError, which repeats neither a user nor a query.
    """
    parts, port = _parts(url, role)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    if port != _PORTS[parts.scheme]:
        shown += f":{port}"
    return Address(
        name=f"{parts.scheme}://{shown}{quote(parts.path or '/', safe=_OF_PATHS)}",
        host=host,
        port=port,
        is_tls=parts.scheme == "https",
        query="" if query is None else _query(query),
    )


def _parts(url: str, role: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError("is no address", field=role, fix=_EXAMPLE) from None
    if parts.scheme not in _PORTS:
        raise ConfigurationError("is no address of http: or https:", field=role, fix=_EXAMPLE)
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"an {parts.scheme}: address takes no user or password before the host",
            field=role,
            fix=f"write {parts.scheme}://host/path?authorization=env:VARIABLE",
        )
    if "?" in url or "#" in url:
        raise ConfigurationError(
            "has a part behind ? or #", field=role, fix="give what the receiver is to get as query"
        )
    if port == 0 or not _HOST.fullmatch(parts.hostname or ""):
        raise ConfigurationError(
            f"{parts.netloc!r} is no address of a host",
            field=role,
            fix=f"{_EXAMPLE}; one with letters beyond ASCII in its xn-- form",
        )
    return parts, _PORTS[parts.scheme] if port is None else port


def _query(given: str) -> str:
    query = secret("query", text("query", given)).strip().removeprefix("?")
    if "#" in query:
        raise ConfigurationError("has a part behind #", field="query", fix="write a # as %23")
    return quote(query, safe=_OF_QUERIES)


def authorization(given: str | None) -> str | None:
    """What goes into the header Authorization, as it is or `env:NAME`. Raises ConfigurationError."""
    if given is None:
        return None
    # Variables that were filled from a file end with its last newline.
    value = secret("authorization", text("authorization", given)).strip()
    if not _HEADER_VALUE.fullmatch(value):
        raise ConfigurationError(
            "has characters that a header can't have",
            field="authorization",
            fix="write env:VARIABLE, and there a scheme and its credentials, such as Bearer TOKEN",
        )
    return value


def proxy_address(given: str | None) -> str | None:
    """What requests go through, as it is or `env:NAME`; it may have a user and a password.

    Raises ConfigurationError, which does not repeat it.
    """
    if given is None:
        return None
    value = secret("proxy", text("proxy", given)).strip()
    try:
        parts = urlsplit(value)
        is_address = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
        is_address = is_address and parts.path in ("", "/")
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigurationError(
            "is no address of a proxy", field="proxy", fix="write http://host:3128, or env:HTTPS_PROXY"
        )
    return value


def content_type(given: str) -> str:
    """What goes into the header Content-Type. Raises ConfigurationError."""
    if not _HEADER_VALUE.fullmatch(text("content_type", given)) or "/" not in given:
        raise ConfigurationError(
            f"{given!r} is no media type", field="content_type", fix="write one such as application/json"
        )
    return given


def format_of(given: str) -> FailureFormat:
    """Which on-failure record is to be sent. Raises ConfigurationError."""
    return _FORMATS[one_of("failure_format", text("failure_format", given), _FORMATS)]


def trust(path: str | None, is_tls: bool) -> ssl.SSLContext | None:
    """The certificates of a file, alone; None: those of the system. Raises ConfigurationError."""
    if path is None:
        return None
    if not is_tls:
        raise ConfigurationError("goes with https: only", field="ca_bundle", fix="remove it")
    try:
        return ssl.create_default_context(cafile=text("ca_bundle", path))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error}", field="ca_bundle", fix="name a file of PEM certificates"
        ) from error


def hidden(credentials: str, query: str) -> tuple[str, ...]:
    """What is not to be shown: the whole, and the parts that are secret where only those are repeated."""
    parts = [credentials.partition(" ")[2], *(value for _, value in parse_qsl(query))]
    return tuple(one for one in (credentials, query, *(part for part in parts if len(part) >= 8)) if one)
