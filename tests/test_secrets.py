"""Secrets: where they are looked up, what they become, and that nothing repeats them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamfn import planning, plugins
from streamfn.config import ConfigurationErrors, EventSourceMapping, endpoints_of
from streamfn.config.access import kafka_options
from streamfn.errors import ConfigurationError, SourceError
from streamfn.functions import FunctionSpec
from streamfn.planning import Setting
from streamfn.ports import Subscription
from streamfn.secrets import Secrets
from streamfn.secured import SecuredDestination, SecuredStream

NAME = "kafka/reader"
ARN = f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{NAME}-AbC123"
BROKERS = {
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["127.0.0.1:1"]}},
    "Topics": ["t"],
}
MSK = {"EventSourceArn": "arn:aws:kafka:eu-west-1:1:cluster/c/1", "Topics": ["t"]}


def access(*types: str, **options: Any) -> dict[str, Any]:
    items = [{"Type": name, "URI": ARN} for name in types]
    return {"FunctionName": "f", "SourceAccessConfigurations": items, **(options or BROKERS)}


async def handler(event: object, context: object) -> None: ...


def setting(folder: Path, secrets: Secrets) -> Setting:
    functions = {"f": FunctionSpec("f", handler, 3.0)}
    return Setting("app", folder, lambda: 1e9, functions, secrets=secrets)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.yaml"
    path.touch(0o600)
    path.write_text(json.dumps({NAME: {"username": "me", "password": "hidden"}}))
    return path


@pytest.mark.parametrize("key", [ARN, NAME, f"{NAME}-AbC123"])
@pytest.mark.parametrize(
    "text", ["{username: me, password: 0123}", '\'{"username": "me", "password": "0123"}\'']
)
async def test_a_file_has_it_by_arn_or_name(file: Path, key: str, text: str) -> None:
    file.write_text(f'"{key}": {text}')
    with capture_logs() as lines:
        assert await Secrets(file).fields(ARN) == {"username": "me", "password": "0123"}
    assert not lines


async def test_it_is_looked_up_anew_each_time(file: Path) -> None:
    secrets = Secrets(file)
    assert (await secrets.fields(NAME))["password"] == "hidden"
    file.write_text(f"{NAME}: text")
    assert await secrets.fields(NAME) == {"certificate": "text"}


async def test_a_file_that_everybody_can_read_is_warned_of(file: Path) -> None:
    file.chmod(0o644)
    with capture_logs() as lines:
        await Secrets(file).fields(NAME)
    assert [line["event"] for line in lines] == ["secrets_readable_by_everybody"]
    assert "hidden" not in str(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other: {password: hidden}", f"SourceAccessConfigurations: there is no secret {ARN}"),
        (f"{NAME}: [hidden]", "SourceAccessConfigurations: a secret must be text or a set of fields"),
        (f"{NAME}: {{password: 'hidden", "is neither YAML nor JSON"),
        ("- hidden", "must be a set of names and secrets"),
    ],
)
async def test_what_is_wrong_is_said_without_a_secret(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        await Secrets(file).fields(ARN)
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        await Secrets(tmp_path / "none").fields(ARN)


# ---------------------------------------------------------------------------------------------- what they are


def test_what_goes_with_which_source() -> None:
    every = access("SASL_SCRAM_256_AUTH", "SERVER_ROOT_CA_CERTIFICATE")
    every["SourceAccessConfigurations"] += [
        {"type": "VPC_SUBNET", "uri": "subnet:subnet-1"},
        {"Type": "VPC_SUBNET", "URI": "subnet:subnet-2"},
        {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-1"},
    ]
    mapping = EventSourceMapping.load(every)
    assert [one.type for one in mapping.source_access_configurations[:2]] == [
        "SASL_SCRAM_256_AUTH",
        "SERVER_ROOT_CA_CERTIFICATE",
    ]
    assert mapping.updated({"SourceAccessConfigurations": []}).source_access_configurations == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (access("BASIC_AUTH", **MSK), "BASIC_AUTH does not go with an MSK cluster"),
        (access("VIRTUAL_HOST"), "VIRTUAL_HOST does not go with self-managed Kafka"),
        (access("OAUTHBEARER_AUTH"), "OAUTHBEARER_AUTH: not supported yet"),
        (access("BASIC_AUTH", "BASIC_AUTH"), "BASIC_AUTH is given twice"),
        (
            access("BASIC_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH"),
            "BASIC_AUTH and CLIENT_CERTIFICATE_TLS_AUTH exclude each other",
        ),
        (
            access("BASIC_AUTH", Source="local:s"),
            "Unsupported SourceAccessConfigurations parameter for given event source mapping type.",
        ),
    ],
)
def test_what_does_not_go_with_a_source_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    mapping = EventSourceMapping.load(options)
    entries = [{"service": "kafka", "url": "127.0.0.1:1"}]
    functions = {"f": FunctionSpec("f", handler, 3.0)}
    here = Setting("app", tmp_path, lambda: 1e9, functions, endpoints=endpoints_of(entries))
    with pytest.raises(ConfigurationErrors, match="SourceAccessConfigurations: ") as caught:
        planning.source_of(here, mapping)
    assert message in str(caught.value)


def test_a_type_without_its_secret_is_refused(tmp_path: Path) -> None:
    body = access("BASIC_AUTH") | {"SourceAccessConfigurations": [{"Type": "BASIC_AUTH"}]}
    with pytest.raises(ConfigurationErrors, match="BASIC_AUTH needs a URI"):
        planning.source_of(setting(tmp_path, Secrets()), EventSourceMapping.load(body))


@pytest.mark.parametrize(
    ("secrets", "options"),
    [
        (
            {"SASL_SCRAM_512_AUTH": {"username": "u", "password": "p"}},
            {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": "u",
                "sasl_password": "p",
            },
        ),
        (
            {
                "CLIENT_CERTIFICATE_TLS_AUTH": {
                    "certificate": "c",
                    "privateKey": "k",
                    "privateKeyPassword": "p",
                },
                "SERVER_ROOT_CA_CERTIFICATE": {"certificate": "r"},
            },
            {"ssl_certdata": "c", "ssl_keydata": "k", "ssl_password": "p", "ssl_cadata": "r"},
        ),
    ],
)
def test_what_secrets_become(secrets: Mapping[str, Mapping[str, str]], options: dict[str, str]) -> None:
    assert kafka_options(secrets) == options


def test_a_field_that_lacks_is_named() -> None:
    with pytest.raises(ConfigurationError, match="the secret of BASIC_AUTH has no password") as caught:
        kafka_options({"BASIC_AUTH": {"username": "hidden"}})
    assert "hidden" not in str(caught.value)


def test_a_value_that_would_be_taken_for_a_reference_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the password of BASIC_AUTH begins with env:") as caught:
        kafka_options({"BASIC_AUTH": {"username": "me", "password": "env:hidden"}})
    assert "hidden" not in str(caught.value)


# ------------------------------------------------------------------------------------------ when they are had


async def test_a_mapping_fetches_its_secrets_when_it_reads(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = access("BASIC_AUTH", OnFailure="kafka://dead", **BROKERS)
    plan = planning.mapping_plan(setting(tmp_path, Secrets(file)), EventSourceMapping.load(body))
    assert isinstance(plan.source, SecuredStream)
    assert isinstance(plan.on_failure, SecuredDestination)
    assert (plan.source.name, plan.on_failure.name) == ("kafka://127.0.0.1:1/t", "kafka://127.0.0.1:1/dead")
    assert "hidden" not in repr(plan)
    made: list[str] = []

    class Topic:
        def __init__(self, uri: str) -> None:
            made.append(uri)

        @asynccontextmanager
        async def shards(self, subscription: Subscription) -> AsyncIterator[None]:
            yield

    monkeypatch.setattr(plugins, "source", lambda uri, options: Topic(uri))
    for password in ("first", "se&ond"):
        file.write_text(json.dumps({NAME: {"username": "me", "password": password}}))
        async with plan.source.shards(Subscription("g")):
            pass
    how = "?security_protocol=SASL_SSL&sasl_mechanism=PLAIN&sasl_username=me&sasl_password="
    assert made == [f"kafka://127.0.0.1:1/t{how}first", f"kafka://127.0.0.1:1/t{how}se%26ond"]


async def test_secrets_that_cannot_be_had_now_are_tried_again(tmp_path: Path) -> None:
    class Away(Secrets):
        async def fields(self, name: str) -> Mapping[str, str]:
            raise OSError("no answer")

    body = access("BASIC_AUTH", OnFailure="kafka://dead", **BROKERS)
    plan = planning.mapping_plan(setting(tmp_path, Away()), EventSourceMapping.load(body))
    for end in (plan.source, plan.on_failure):
        assert end is not None
        with pytest.raises(SourceError, match="its secrets cannot be had: no answer") as caught:
            await end.check()
        assert caught.value.retryable


async def test_without_secrets_nothing_is_wrapped(tmp_path: Path, file: Path) -> None:
    body = access("VPC_SUBNET", OnFailure="kafka://127.0.0.1:2/dead", **BROKERS)
    plan = planning.mapping_plan(setting(tmp_path, Secrets(file)), EventSourceMapping.load(body))
    assert not isinstance(plan.source, SecuredStream)
    elsewhere = access("BASIC_AUTH", OnFailure="kafka://127.0.0.1:2/dead", **BROKERS)
    plan = planning.mapping_plan(setting(tmp_path, Secrets(file)), EventSourceMapping.load(elsewhere))
    assert not isinstance(plan.on_failure, SecuredDestination)
