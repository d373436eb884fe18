"""What can be said of a connection to Kafka, in Python and in a URI, and what is refused."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import parse_qsl, unquote, urlsplit

from streamfn.errors import ConfigurationError
from streamfn.options import one_of, parsed, secret, text, unknown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_PORT = 9092
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_WHERE = "for Kafka"
_LEGAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class ConnectionOptions(TypedDict, total=False):
    """Keyword options that sources and destinations share. Secrets may be written `env:NAME`."""

    client_id: str
    security_protocol: str
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL. Not given: what the other options ask for."""
    sasl_mechanism: str
    """PLAIN (the default), SCRAM-SHA-256 or SCRAM-SHA-512."""
    sasl_username: str
    sasl_password: str
    ssl_cafile: str
    """Certificates to trust; else the system's."""
    ssl_certfile: str
    """The client's own certificate, for mutual TLS."""
    ssl_keyfile: str
    ssl_password: str
    """Of the key file."""
    ssl_cadata: str
    """These three are PEM themselves, instead of files."""
    ssl_certdata: str
    ssl_keydata: str
    ssl_check_hostname: bool


CONNECTION_TYPES: Mapping[str, type] = {
    name: bool if name == "ssl_check_hostname" else str for name in ConnectionOptions.__annotations__
}


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach a cluster. Its repr holds no secret."""

    bootstrap_servers: tuple[str, ...]
    client_id: str
    security_protocol: str
    sasl_mechanism: str
    sasl_username: str | None
    sasl_password: str | None
    ssl_cafile: str | None
    ssl_certfile: str | None
    ssl_keyfile: str | None
    ssl_password: str | None
    ssl_check_hostname: bool
    ssl_cadata: str | None = None
    ssl_certdata: str | None = None
    ssl_keydata: str | None = None

    def __repr__(self) -> str:
        return f"<Connection {','.join(self.bootstrap_servers)} {self.security_protocol}>"

    @classmethod
    def of(cls, bootstrap_servers: str | Sequence[str], options: ConnectionOptions) -> Connection:
        """A connection from what was said of it. Raises ConfigurationError naming the option and the fix."""
        unknown(options, CONNECTION_TYPES, _WHERE)
        texts = {name: text(name, value) for name, value in options.items() if name != "ssl_check_hostname"}
        secrets = {name: _resolved(name, texts.get(name)) for name in _REFERENCES}
        connection = cls(
            bootstrap_servers=_servers(bootstrap_servers),
            client_id=texts.get("client_id") or "streamfn",
            security_protocol=_protocol(options, texts.get("security_protocol")),
            sasl_mechanism=one_of("sasl_mechanism", texts.get("sasl_mechanism") or "PLAIN", _MECHANISMS),
            ssl_cafile=_file("ssl_cafile", texts),
            ssl_certfile=_file("ssl_certfile", texts),
            ssl_keyfile=_file("ssl_keyfile", texts),
            ssl_check_hostname=_flag("ssl_check_hostname", options.get("ssl_check_hostname", True)),
            **secrets,
        )
        if "SASL" in connection.security_protocol and not (
            connection.sasl_username and connection.sasl_password
        ):
            missing = "sasl_password" if connection.sasl_username else "sasl_username"
            raise ConfigurationError(
                f"is required with {connection.security_protocol}",
                field=missing,
                fix=f"give it, for example as {missing}=env:KAFKA_{missing.rpartition('_')[2].upper()}",
            )
        connection._check_certificates()
        return connection

    def _check_certificates(self) -> None:
        for key, certificate in (("ssl_keyfile", "ssl_certfile"), ("ssl_keydata", "ssl_certdata")):
            if getattr(self, key) and not getattr(self, certificate):
                raise ConfigurationError(
                    f"goes with {certificate} only", field=key, fix=f"give {certificate} too, or remove it"
                )
        for file, data in (("ssl_cafile", "ssl_cadata"), ("ssl_certfile", "ssl_certdata")):
            if getattr(self, file) and getattr(self, data):
                raise ConfigurationError(f"is given as {file} too", field=data, fix="keep one of the two")

    def client_options(self) -> dict[str, Any]:
        """As aiokafka's clients take them. Reads certificate files: call it in a thread."""
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
        }
        if "SASL" in self.security_protocol:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password
        if "SSL" in self.security_protocol:
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile, cadata=self.ssl_cadata)
        except (ssl.SSLError, OSError, ValueError) as error:
            if self.ssl_cadata:
                # What it says may quote what it was given.
                raise ConfigurationError(
                    "is no PEM", field="ssl_cadata", fix="give certificates as PEM"
                ) from None
            raise ConfigurationError(
                f"{self.ssl_cafile}: {error}", field="ssl_cafile", fix="name a file of PEM certificates"
            ) from error
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_certdata:
            self._load_data(context)
        if self.ssl_certfile:
            try:
                # Without a password OpenSSL would ask for one on the terminal.
                context.load_cert_chain(
                    self.ssl_certfile, self.ssl_keyfile, self.ssl_password or (lambda: "")
                )
            except (ssl.SSLError, OSError) as error:
                raise ConfigurationError(
                    f"{self.ssl_certfile}: {error}",
                    field="ssl_certfile",
                    fix="name a PEM certificate with its key in the same file or in ssl_keyfile, "
                    "and the key's password in ssl_password",
                ) from error
        return context

    def _load_data(self, context: ssl.SSLContext) -> None:
        # OpenSSL reads certificates of clients from files only: one that nobody else can read, for a moment.
        with TemporaryDirectory(prefix="streamfn-") as folder:
            path = Path(folder) / "client.pem"
            path.touch(0o600)
            path.write_text(f"{self.ssl_certdata}\n{self.ssl_keydata or ''}\n")
            try:
                context.load_cert_chain(path, password=self.ssl_password or (lambda: ""))
            except (ssl.SSLError, OSError) as error:
                raise ConfigurationError(
                    f"cannot be used: {error}",
                    field="ssl_certdata",
                    fix="give a PEM certificate, its key as ssl_keydata, and the key's password as "
                    "ssl_password",
                ) from error


def parsed_uri(uri: str, role: str, types: Mapping[str, type]) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Topic, servers and options of `kafka://h1:9092,h2:9092/topic?option=value`.

    Raises ConfigurationError naming what is wrong and the fix. Never repeats the options, which may hold
    secrets.
    """
    example = "write kafka://host:9092/topic"
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise ConfigurationError(
            "a kafka: URI takes no user or password before the host",
            field=role,
            fix="write kafka://host:9092/topic?sasl_username=NAME&sasl_password=env:VARIABLE",
        )
    topic = unquote(parts.path.strip("/"))
    if not parts.netloc or not topic:
        lacks = "topic" if parts.netloc else "broker"
        raise ConfigurationError(
            f"kafka://{parts.netloc}{parts.path} names no {lacks}", field=role, fix=example
        )
    if parts.fragment:
        raise ConfigurationError("a kafka: URI has no part behind #", field=role, fix=example)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = {**CONNECTION_TYPES, **types}
    unknown(given, known, _WHERE)
    return topic, tuple(parts.netloc.split(",")), {k: parsed(k, v, known[k]) for k, v in given.items()}


def topic_name(topic: str, role: str) -> str:
    """The topic itself. Raises ConfigurationError where Kafka would not take the name."""
    if not topic or len(topic) > 249 or topic in (".", "..") or not _LEGAL.issuperset(topic):
        raise ConfigurationError(
            f"{topic!r} is no name of a topic",
            field=role,
            fix="write 1 to 249 letters, digits, dots, underscores or hyphens",
        )
    return topic


_REFERENCES = (
    "sasl_username",
    "sasl_password",
    "ssl_password",
    "ssl_cadata",
    "ssl_certdata",
    "ssl_keydata",
)


def _servers(given: str | Sequence[str]) -> tuple[str, ...]:
    servers = []
    for server in given.split(",") if isinstance(given, str) else given:
        host, colon, port = server.strip().rpartition(":")
        if not colon or (host.startswith("[") and not host.endswith("]")):
            host, port = server.strip(), str(_PORT)
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigurationError(
                f"{server!r} is no address of a broker", field="bootstrap_servers", fix="write host:9092"
            )
        servers.append(f"{host}:{port}")
    if not servers:
        raise ConfigurationError("names no broker", field="bootstrap_servers", fix="write host:9092")
    return tuple(servers)


def _protocol(names: Collection[str], given: str | None) -> str:
    """What was said, or what the other options are for."""
    sasl = any(name.startswith("sasl_") for name in names)
    tls = any(name.startswith("ssl_") for name in names)
    if given is None:
        return ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT")
    protocol = one_of("security_protocol", given.upper(), _PROTOCOLS)
    for wanted, word in ((sasl, "SASL"), (tls, "SSL")):
        if wanted and word not in protocol:
            prefix = word.lower()
            option = next(name for name in names if name.startswith(f"{prefix}_"))
            raise ConfigurationError(
                f"does not go with security_protocol {protocol}",
                field=option,
                fix=f"remove it, or set security_protocol to one with {word}",
            )
    return protocol


def _resolved(name: str, value: str | None) -> str | None:
    return None if value is None else secret(name, value)


def _file(name: str, texts: Mapping[str, str]) -> str | None:
    path = texts.get(name)
    if path is not None and not Path(path).is_file():
        raise ConfigurationError(f"there is no file {path}", field=name, fix="name a PEM file")
    return path


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"must be true or false, not {value!r}", field=name, fix="change it")
    return value
