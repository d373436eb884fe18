"""TLS and SASL, and what is said when they are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.errors import SourceError
from streamfn.ports import Subscription
from streamfn.testing.conformance.reading import messages, numbers, take
from streamfn_kafka import KafkaDestination, KafkaSource
from tests.kafka.cluster import PATIENCE, Cluster

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]


def sasl(cluster: Cluster, mechanism: str = "PLAIN") -> tuple[str, dict[str, Any]]:
    features = cluster.server.features
    if features.sasl_bootstrap is None:
        pytest.skip("this broker has no SASL listener")
    return features.sasl_bootstrap, {
        "sasl_mechanism": mechanism,
        "sasl_username": features.sasl_username,
        "sasl_password": features.sasl_password,
    }


def tls(cluster: Cluster) -> tuple[str, dict[str, Any]]:
    features = cluster.server.features
    if features.ssl_bootstrap is None:
        pytest.skip("this broker has no TLS listener")
    return features.ssl_bootstrap, {"ssl_cafile": str(features.ssl_cafile)}


async def there_and_back(cluster: Cluster, address: str, options: dict[str, Any]) -> None:
    topic = await cluster.topic(1)
    destination = KafkaDestination(topic, address, **options)
    await destination.check()
    assert not await destination.send(messages(3))
    await destination.close()
    source = KafkaSource(topic, address, **options)
    await source.check()
    async with cluster.reading(source, Subscription(topic)) as reader:
        assert numbers(await take(cluster, await reader.shard(), 3, PATIENCE)) == [0, 1, 2]
        await reader.give_back()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl(cluster: Cluster, mechanism: str) -> None:
    await there_and_back(cluster, *sasl(cluster, mechanism))


async def test_tls(cluster: Cluster) -> None:
    await there_and_back(cluster, *tls(cluster))


async def test_a_wrong_password_is_said_to_be_wrong(cluster: Cluster) -> None:
    address, options = sasl(cluster)
    source = KafkaSource("t", address, **{**options, "sasl_password": "hunter2"})
    for attempt in (source.check, lambda: source.shards(Subscription("g")).__aenter__()):
        with pytest.raises(
            SourceError, match="check sasl_mechanism, sasl_username and sasl_password"
        ) as error:
            await attempt()
        assert "hunter2" not in str(error.value)


async def test_a_certificate_that_is_not_trusted_is_said_to_be(cluster: Cluster) -> None:
    address, _ = tls(cluster)
    with pytest.raises(SourceError, match="give the cluster's certificates as ssl_cafile"):
        await KafkaSource("t", address, security_protocol="SSL").check()


async def test_a_port_that_wants_more_is_said_to(cluster: Cluster) -> None:
    address, _ = sasl(cluster)
    with pytest.raises(SourceError, match="may want TLS or SASL"):
        await KafkaSource("t", address).check()
