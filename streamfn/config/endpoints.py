"""`endpoints:`: which server stands behind which ARN, and how it is reached. The first that fits holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from streamfn.config.errors import ConfigurationErrors, Places, caller, translate, wrong
from streamfn.errors import ConfigurationError

LOCAL: Final = "local:"
"""As `url`: the embedded broker of the state directory."""

_EMBEDDED: Final = ("sqs", "kinesis")
"""Services whose part the embedded broker can play."""

_SERVER: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")


def _account(value: Any) -> Any:
    # YAML reads the digits as a number.
    return f"{value:012d}" if isinstance(value, int) and not isinstance(value, bool) else value


_Text = Annotated[str, Field(min_length=1)]
_Hidden = Annotated[str | None, Field(min_length=1, repr=False)]


class Endpoint(BaseModel):
    """One entry: what it is for, the server, and how to reach it. What is left out fits anything.

    An entry without `url` is AWS itself, or whatever `AWS_ENDPOINT_URL` says, as in the SDKs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Literal[
        "*", "sqs", "kinesis", "dynamodb", "kafka", "sns", "s3", "lambda", "events", "secretsmanager"
    ] = "*"
    """As in the ARN. `*` is every service but `kafka`; with `local:` those that the broker can stand for."""
    region: _Text | None = None
    """For ARNs that have none, as those of S3, also the region to sign for."""
    account: Annotated[_Text | None, BeforeValidator(_account)] = None
    name: _Text | None = None
    """Of the queue, stream, table, cluster, topic or bucket, or with what follows in the ARN, where `*` and
    `?` stand for anything. Of a `kafka://host:9092/topic` an address, such as `10.0.*`.
    """
    url: _Text | None = None
    """`http://127.0.0.1:4566`; `local:`, the embedded broker; of Kafka `host:9092,other:9092`."""

    # AWS. A secret may be written `env:NAME`.
    access_key_id: _Hidden = None
    secret_access_key: _Hidden = None
    session_token: _Hidden = None
    profile: _Text | None = None
    role_arn: _Text | None = None
    external_id: _Hidden = None
    sts_endpoint_url: _Text | None = None
    ca_bundle: _Text | None = None
    transport: _Text | None = None

    # Kafka.
    client_id: _Text | None = None
    security_protocol: _Text | None = None
    sasl_mechanism: _Text | None = None
    sasl_username: _Hidden = None
    sasl_password: _Hidden = None
    ssl_cafile: _Text | None = None
    ssl_certfile: _Text | None = None
    ssl_keyfile: _Text | None = None
    ssl_password: _Hidden = None
    ssl_check_hostname: bool | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        kafka = self.service == "kafka"
        for name in _AWS if kafka else _KAFKA:
            if getattr(self, name) is not None:
                other = "services of AWS" if kafka else "service: kafka"
                raise wrong(f"{name} goes with {other} only", "remove it, or change service")
        if kafka and not self.url and not self.options():
            raise wrong("url is required with service: kafka", "write url: host:9092")
        if problem := self._url_problem():
            raise wrong(*problem)
        return self

    def _url_problem(self) -> tuple[str, str] | None:
        url = self.url
        if url is None:
            return None
        if self.service == "kafka":
            if all(_SERVER.fullmatch(server.strip()) for server in url.split(",")):
                return None
            return "url is no list of brokers", "write host:9092, or host:9092,other:9092"
        if url == LOCAL:
            if self.service in ("*", *_EMBEDDED):
                return None
            return f"url: the embedded broker is no {self.service}", "write http://host:port"
        if re.fullmatch(r"https?://[^/@\s]+(/[^@\s]*)?", url):
            return None
        return "url is no address", "write http://host:port, https://host, or local:"

    def matches(self, service: str, region: str, account: str, name: str) -> bool:
        """Whether it is for a resource. Region and account are empty where its ARN has none."""
        if self.service == "*" and (service == "kafka" or (self.url == LOCAL and service not in _EMBEDDED)):
            return False
        return (
            self.service in ("*", service)
            and (not region or self.region in (None, region))
            and (not account or self.account in (None, account))
            and (self.name is None or fnmatchcase(name, self.name))
        )

    def options(self) -> dict[str, str]:
        """How to reach the server, as options of a URI. They may hold secrets."""
        names = _KAFKA if self.service == "kafka" else _AWS
        given = ((name, getattr(self, name)) for name in names)
        return {name: _text(value) for name, value in given if value is not None}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_AWS: Final = (
    "access_key_id",
    "secret_access_key",
    "session_token",
    "profile",
    "role_arn",
    "external_id",
    "sts_endpoint_url",
    "ca_bundle",
    "transport",
)
_KAFKA: Final = (
    "client_id",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_check_hostname",
)


def endpoints_of(
    given: Sequence[Any], places: Places | str = "", field: str = "endpoints"
) -> tuple[Endpoint, ...]:
    """The entries of a list, of which each is a set of names and values or an `Endpoint`.

    Raises ConfigurationErrors with all problems.
    """
    places = places if isinstance(places, Places) else Places(places or caller())
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        problem = ConfigurationError("must be a list of entries", field=field, where=places.of(()))
        raise ConfigurationErrors([problem])
    loaded: list[Endpoint] = []
    found: list[ConfigurationError] = []
    for index, entry in enumerate(given):
        inside = places.under((index,))
        try:
            loaded.append(entry if isinstance(entry, Endpoint) else Endpoint.model_validate(entry))
        except ValidationError as error:
            found += (
                _told(problem, f"{field}[{index}]")
                for problem in translate(error, Endpoint, inside, spell=False)
            )
    if found:
        raise ConfigurationErrors(found)
    return tuple(loaded)


def _told(error: ConfigurationError, entry: str) -> ConfigurationError:
    name = ".".join(filter(None, (entry, error.field)))
    info = Endpoint.model_fields.get(error.field)
    if info is not None and not info.repr and error.problem.startswith("must be"):
        # It would repeat what was given.
        fix = "write it in quotes, or as env:NAME"
        return ConfigurationError("must be text", field=name, where=error.where, fix=fix)
    return ConfigurationError(error.problem, field=name, where=error.where, fix=error.fix)


def read_endpoints(path: Path, environment: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The entries of a YAML file: a list, alone or under `endpoints:`. Raises ConfigurationErrors."""
    from streamfn.config.document import read

    document = read(path, environment, str)
    data, places = document.data, document.places
    if isinstance(data, dict) and set(data) == {"endpoints"}:
        data, places = data["endpoints"], places.under(("endpoints",))
    return endpoints_of(() if data is None else data, places)
