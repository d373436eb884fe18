"""SourceAccessConfigurations against a broker: what a mapping's secrets open."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamfn import planning
from streamfn.config import EventSourceMapping, endpoints_of
from streamfn.engine.plan import MappingPlan
from streamfn.errors import ConfigurationError, SourceError
from streamfn.functions import FunctionSpec
from streamfn.planning import Setting
from streamfn.ports import Subscription
from streamfn.secrets import Secrets
from streamfn.testing.conformance.reading import messages, take
from streamfn_kafka import KafkaSource
from tests.kafka.cluster import PATIENCE, Cluster


async def handler(event: object, context: object) -> None: ...


def certificate(password: bytes | None = None) -> tuple[str, str]:
    """A certificate that signs itself, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=36_500))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return made.decode(), key.private_bytes(serialization.Encoding.PEM, form, hidden).decode()


def made(
    folder: Path, servers: str, topics: Sequence[str], secrets: Mapping[str, Any], **entry: Any
) -> MappingPlan:
    """A mapping that reads the first topic, and sends failures to the second if there is one."""
    file = folder / "secrets.json"
    file.touch(0o600)
    file.write_text(json.dumps(secrets))
    mapping = EventSourceMapping.load(
        {
            "FunctionName": "f",
            "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": [servers]}},
            "Topics": topics[:1],
            "OnFailure": f"kafka://{topics[1]}" if topics[1:] else None,
            "SourceAccessConfigurations": [{"Type": name, "URI": name} for name in secrets],
        }
    )
    endpoints = endpoints_of([{"service": "kafka", "name": servers, **entry}])
    functions = {"f": FunctionSpec("f", handler, 3.0)}
    setting = Setting("app", folder, lambda: 1e9, functions, endpoints=endpoints, secrets=Secrets(file))
    return planning.mapping_plan(setting, mapping)


# --------------------------------------------------------------------------------------------- certificates


def context_of(**options: Any) -> ssl.SSLContext:
    return KafkaSource("t", "h", **options)._connection.client_options()["ssl_context"]


@pytest.mark.parametrize("password", [None, "hidden"])
def test_a_certificate_may_be_text(password: str | None) -> None:
    text, key = certificate(password and password.encode())
    options = {"ssl_certdata": text, "ssl_keydata": key} | ({"ssl_password": password} if password else {})
    assert context_of(**options).verify_mode is ssl.CERT_REQUIRED
    # It alone: not the system's.
    assert context_of(ssl_cadata=text).cert_store_stats()["x509"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ssl_cadata": "hidden"}, "ssl_cadata: is no PEM"),
        ({"ssl_certdata": "hidden"}, "ssl_certdata: cannot be used"),
        ({"ssl_keydata": "hidden"}, "ssl_keydata: goes with ssl_certdata only"),
        ({"ssl_cadata": "hidden", "ssl_cafile": __file__}, "ssl_cadata: is given as ssl_cafile too"),
    ],
)
def test_text_that_is_no_certificate_is_not_repeated(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        context_of(**options)
    assert str(caught.value).startswith(message)
    assert "hidden" not in str(caught.value)


def test_a_key_with_a_wrong_password_is_refused() -> None:
    text, key = certificate(b"right")
    with pytest.raises(ConfigurationError, match="ssl_certdata: cannot be used"):
        context_of(ssl_certdata=text, ssl_keydata=key, ssl_password="wrong")


# ------------------------------------------------------------------------------------------------- a broker


@pytest.mark.integration
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["BASIC_AUTH", "SASL_SCRAM_256_AUTH", "SASL_SCRAM_512_AUTH"])
async def test_a_password_opens_it(cluster: Cluster, tmp_path: Path, kind: str) -> None:
    features = cluster.server.features
    if features.sasl_bootstrap is None:
        pytest.skip("this broker has no SASL listener")
    topics = [await cluster.topic(), await cluster.topic()]
    secret = {"username": features.sasl_username, "password": features.sasl_password}
    how = {"security_protocol": "SASL_PLAINTEXT"}
    plan = made(tmp_path, features.sasl_bootstrap, topics, {kind: secret}, **how)
    await plan.source.check()
    assert plan.on_failure is not None
    await plan.on_failure.check()
    assert not await plan.on_failure.send(messages(1))
    await plan.on_failure.close()
    await cluster.put(topics[0], [7])
    async with cluster.reading(cast("KafkaSource", plan.source), Subscription("g")) as reader:
        (record,) = await take(cluster, await reader.shard(), 1, PATIENCE)
        assert record.value == b"7"
        await reader.give_back()
    wrong = made(tmp_path, features.sasl_bootstrap, topics, {kind: {**secret, "password": "hidden"}}, **how)
    with pytest.raises(SourceError) as caught:
        await wrong.source.check()
    assert "hidden" not in str(caught.value)


@pytest.mark.integration
@pytest.mark.timeout(60)
async def test_a_root_certificate_trusts_it(cluster: Cluster, tmp_path: Path) -> None:
    features = cluster.server.features
    if features.ssl_bootstrap is None:
        pytest.skip("this broker has no TLS listener")
    secret = {"certificate": Path(str(features.ssl_cafile)).read_text()}
    topics = [await cluster.topic()]
    plan = made(
        tmp_path, features.ssl_bootstrap, topics, {"SERVER_ROOT_CA_CERTIFICATE": secret}, client_id="t"
    )
    await plan.source.check()
