"""SourceAccessConfigurations: with what a mapping gets into its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamfn.errors import ConfigurationError

_NAME: Final = "SourceAccessConfigurations"

_SASL: Final[Mapping[str, str]] = {
    "BASIC_AUTH": "PLAIN",
    "SASL_SCRAM_256_AUTH": "SCRAM-SHA-256",
    "SASL_SCRAM_512_AUTH": "SCRAM-SHA-512",
}
"""Types whose secret has `username` and `password`, and Kafka's name of the mechanism."""
_CERTIFICATE: Final = "CLIENT_CERTIFICATE_TLS_AUTH"
_ROOT: Final = "SERVER_ROOT_CA_CERTIFICATE"
_NETWORK: Final = frozenset({"VPC_SUBNET", "VPC_SECURITY_GROUP"})
"""Taken, and of no effect: the network is that of this machine. Any number of them."""
_LACKING: Final = frozenset(
    {
        "OAUTHBEARER_AUTH",
        "OAUTHBEARER_SCOPE",
        "OAUTHBEARER_AUDIENCE",
        "OAUTHBEARER_LOGICAL_CLUSTER",
        "OAUTHBEARER_IDENTITY_POOL",
        "IAM_AUTH",
        "IAM_OAUTHBEARER_AUTH",
    }
)
_WAYS_IN: Final = frozenset({*_SASL, _CERTIFICATE})
_OF_MSK: Final = frozenset({"SASL_SCRAM_512_AUTH", _CERTIFICATE})
_OF_BROKERS: Final = frozenset({*_WAYS_IN, _ROOT, *_NETWORK, *_LACKING})


class SourceAccessConfiguration(BaseModel):
    """One item: what is given, and the secret, or the value itself, by its ARN or name."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, loc_by_alias=False)

    type: Literal[
        "BASIC_AUTH",
        "VPC_SUBNET",
        "VPC_SECURITY_GROUP",
        "SASL_SCRAM_512_AUTH",
        "SASL_SCRAM_256_AUTH",
        "VIRTUAL_HOST",
        "CLIENT_CERTIFICATE_TLS_AUTH",
        "SERVER_ROOT_CA_CERTIFICATE",
        "OAUTHBEARER_AUTH",
        "OAUTHBEARER_SCOPE",
        "OAUTHBEARER_AUDIENCE",
        "OAUTHBEARER_LOGICAL_CLUSTER",
        "OAUTHBEARER_IDENTITY_POOL",
        "IAM_AUTH",
        "IAM_OAUTHBEARER_AUTH",
    ] = Field(alias="Type")
    uri: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(None, alias="URI")


SourceAccess = Annotated[tuple[SourceAccessConfiguration, ...], Field(max_length=23)]


def refused_access(access: SourceAccess, source: str, where: str) -> Iterator[ConfigurationError]:
    """What does not go with a Kafka source, by its URI (API reference: SourceAccessConfiguration)."""
    of_msk = source.startswith("arn:")
    kind, takes = ("an MSK cluster", _OF_MSK) if of_msk else ("self-managed Kafka", _OF_BROKERS)
    for one in access:
        if one.type not in takes:
            problem, fix = f"{one.type} does not go with {kind}", f"take one of {', '.join(_shown(takes))}"
        elif one.type in _LACKING:
            problem, fix = f"{one.type}: not supported yet", "remove it, or use SASL/SCRAM or certificates"
        elif one.uri is None:
            problem, fix = f"{one.type} needs a URI", "give the ARN of a secret"
        else:
            continue
        yield ConfigurationError(problem, field=_NAME, where=where, fix=fix)
    counts = Counter(one.type for one in access if one.type not in _NETWORK)
    twice = [name for name, count in counts.items() if count > 1]
    ways = sorted(_WAYS_IN.intersection(counts))
    if twice or len(ways) > 1:
        problem = f"{twice[0]} is given twice" if twice else f"{' and '.join(ways)} exclude each other"
        yield ConfigurationError(problem, field=_NAME, where=where, fix="keep one of them")


def _shown(types: frozenset[str]) -> list[str]:
    return sorted(types - _LACKING)


def secrets_of(access: SourceAccess) -> dict[str, str]:
    """The types that are secrets, with the ARN or name of each."""
    return {one.type: one.uri for one in access if one.uri is not None and one.type in (*_WAYS_IN, _ROOT)}


def kafka_options(secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Options of a `kafka:` URI out of secrets by their type. SASL goes through TLS, as on AWS.

    Raises ConfigurationError for a field that a secret lacks, and never repeats a value.
    """
    options: dict[str, str] = {}
    for kind, secret in secrets.items():
        if kind in _SASL:
            options |= {"security_protocol": "SASL_SSL", "sasl_mechanism": _SASL[kind]}
            options["sasl_username"] = _field(kind, secret, "username")
            options["sasl_password"] = _field(kind, secret, "password")
        elif kind == _ROOT:
            options["ssl_cadata"] = _field(kind, secret, "certificate")
        else:
            options["ssl_certdata"] = _field(kind, secret, "certificate")
            options["ssl_keydata"] = _field(kind, secret, "privateKey")
            if secret.get("privateKeyPassword"):
                options["ssl_password"] = secret["privateKeyPassword"]
    return options


def _field(kind: str, secret: Mapping[str, str], name: str) -> str:
    value = secret.get(name)
    if not value:
        raise ConfigurationError(
            f"the secret of {kind} has no {name}", field=_NAME, fix=f"write it as JSON with {name}"
        )
    if value.startswith("env:"):
        # To connectors that is the name of a variable, which they would repeat.
        raise ConfigurationError(
            f"the {name} of {kind} begins with env:, which no secret may",
            field=_NAME,
            fix="change the secret",
        )
    return value
