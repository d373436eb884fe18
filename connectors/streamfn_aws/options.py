"""What can be said of a connection to AWS, in Python and in a URI, and what is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import parse_qsl, unquote, urlsplit

from streamfn.errors import ConfigurationError
from streamfn.options import one_of, parsed, secret, text, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")
_SESSION = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
TRANSPORTS = ("lean", "botocore")


class ConnectionOptions(TypedDict, total=False):
    """Keyword options that all sources and destinations on AWS share.

    What is not given is looked up as the AWS SDK does: environment, profile, container or machine role.
    """

    endpoint_url: str
    """Another address than AWS's: an emulator, a VPC endpoint. `http://127.0.0.1:4566`"""
    region: str
    profile: str
    """Of the shared configuration files."""
    role_arn: str
    """A role to take on, with whatever credentials there are."""
    role_session_name: str
    external_id: str
    """That the role asks for."""
    sts_endpoint_url: str
    """Where the role is asked for, if elsewhere."""
    access_key_id: str
    """These three may be written `env:NAME`."""
    secret_access_key: str
    session_token: str
    ca_bundle: str
    """A file of certificates to trust; else the system's."""
    transport: str
    """`lean`, our own HTTP for the calls that records pass through, or `botocore` for every call."""


CONNECTION_TYPES: Mapping[str, type] = dict.fromkeys(ConnectionOptions.__annotations__, str)


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach AWS. Equal connections share their clients. Its repr holds no secret."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    role_session_name: str = "streamfn"
    external_id: str | None = None
    sts_endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    ca_bundle: str | None = None
    transport: str = "lean"

    def __repr__(self) -> str:
        return f"<Connection {self.endpoint_url or 'aws'} {self.region or 'default region'}>"

    @classmethod
    def of(cls, options: Mapping[str, Any], region: str | None = None) -> Connection:
        """A connection from what was said of it; `region` is what an ARN says.

        Raises ConfigurationError naming the option and the fix.
        """
        unknown(options, CONNECTION_TYPES)
        given = {name: _resolved(name, text(name, value)) for name, value in options.items()}
        if region is not None and given.setdefault("region", region) != region:
            raise ConfigurationError(
                f"{given['region']} is not the region of the ARN, {region}",
                field="region",
                fix="remove it",
            )
        connection = cls(**given)
        connection._check()
        return connection

    def _check(self) -> None:
        for name, url in (("endpoint_url", self.endpoint_url), ("sts_endpoint_url", self.sts_endpoint_url)):
            if url is not None:
                _address(name, url)
        if self.region is not None and not _REGION.fullmatch(self.region):
            raise ConfigurationError(
                f"{self.region!r} is no region", field="region", fix="write one such as us-east-1"
            )
        if self.ca_bundle is not None and not Path(self.ca_bundle).is_file():
            raise ConfigurationError(
                f"there is no file {self.ca_bundle}", field="ca_bundle", fix="name a PEM file"
            )
        one_of("transport", self.transport, TRANSPORTS)
        self._check_role()
        self._check_key()

    def _check_role(self) -> None:
        if self.role_arn is not None and not _ROLE.fullmatch(self.role_arn):
            raise ConfigurationError(
                f"{self.role_arn!r} is no ARN of a role",
                field="role_arn",
                fix="write arn:aws:iam::ACCOUNT:role/NAME",
            )
        if not _SESSION.fullmatch(self.role_session_name):
            raise ConfigurationError(
                f"{self.role_session_name!r} is no name of a session",
                field="role_session_name",
                fix="take 2 to 64 letters, digits and +=,.@_-",
            )
        for name in ("external_id", "sts_endpoint_url"):
            if getattr(self, name) is not None and self.role_arn is None:
                raise ConfigurationError("goes with role_arn only", field=name, fix="give role_arn too")

    def _check_key(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = "access_key_id" if self.access_key_id is None else "secret_access_key"
            raise ConfigurationError(
                "is needed: a key has two parts", field=missing, fix=f"give it, as {missing}=env:VARIABLE"
            )
        if self.session_token is not None and self.access_key_id is None:
            raise ConfigurationError(
                "goes with a key only",
                field="session_token",
                fix="give access_key_id and secret_access_key too",
            )


@dataclass(frozen=True, slots=True)
class Resource:
    """What a URI or an ARN names."""

    service: str
    name: str
    """`queue`, `stream/x`, `table/t/stream/ts`: an ARN's last part, or what stands in the URI's place."""
    region: str | None = None
    account: str | None = None
    arn: str | None = None


def parsed_uri(uri: str, role: str, types: Mapping[str, type]) -> tuple[Resource, dict[str, Any]]:
    """The resource and the options of `sqs://name?option=value`, `sqs://account/name` or an ARN, which may
    have options behind a question mark too.

    Raises ConfigurationError naming what is wrong and the fix. Never repeats options: they may hold secrets.
    """
    place, _, query = uri.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = {**CONNECTION_TYPES, **types}
    unknown(options, known)
    given = {name: parsed(name, value, known[name]) for name, value in options.items()}
    if place.startswith("arn:"):
        return arn_of(place, role), given
    scheme, _, rest = place.partition(":")
    if "@" in rest:
        raise ConfigurationError(
            "takes no user or password before the name",
            field=role,
            fix=f"write {scheme}://NAME?access_key_id=env:VARIABLE&secret_access_key=env:VARIABLE",
        )
    name = unquote(rest.strip("/"))
    first, slash, last = name.partition("/")
    account = first if slash and re.fullmatch(r"\d{12}", first) else None
    if account:
        name = last
    if not name:
        raise ConfigurationError(f"{place} names nothing", field=role, fix=f"write {scheme}://NAME")
    return Resource(scheme, name, account=account), given


def arn_of(arn: str, role: str) -> Resource:
    """What an ARN names. Raises ConfigurationError."""
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn" or not parts[2] or not parts[5]:
        raise ConfigurationError(
            f"{arn} is no ARN", field=role, fix="write arn:aws:SERVICE:REGION:ACCOUNT:NAME"
        )
    return Resource(parts[2], parts[5], parts[3] or None, parts[4] or None, arn)


def connection_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of some options those that say how to reach AWS."""
    return {name: value for name, value in given.items() if name in CONNECTION_TYPES}


def other_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of some options all others."""
    return {name: value for name, value in given.items() if name not in CONNECTION_TYPES}


def _address(name: str, url: str) -> None:
    if "@" in url:
        raise ConfigurationError(
            "takes no user or password", field=name, fix="write http://host:port or https://host"
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{url!r} is no address", field=name, fix="write http://host:port or https://host"
        )


_REFERENCES = ("access_key_id", "secret_access_key", "session_token")


def _resolved(name: str, value: str) -> str:
    return secret(name, value) if name in _REFERENCES else value
