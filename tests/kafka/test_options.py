"""What may be said of a Kafka topic, and what is refused. No broker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamfn import plugins
from streamfn.core.envelopes import FailureFormat
from streamfn.errors import ConfigurationError
from streamfn_kafka import KafkaDestination, KafkaSource


def source(uri: str, **options: object) -> KafkaSource:
    return KafkaSource.from_uri(uri, options)


def client_options(end: KafkaSource | KafkaDestination) -> dict[str, object]:
    return end._connection.client_options()


def test_a_uri_names_brokers_and_topic() -> None:
    made = source("kafka://one:9092,two,[::1]:9094/my.topic_1")
    assert made.bootstrap_servers == ("one:9092", "two:9092", "[::1]:9094")
    assert made.topic == "my.topic_1"
    assert made.name == "kafka://one:9092,two:9092,[::1]:9094/my.topic_1"


def test_the_plugins_find_it() -> None:
    made = plugins.source("kafka://h/t", {"state_dir": Path(), "on_position_lost": "latest"})
    assert isinstance(made, KafkaSource)
    assert made._on_position_lost == "latest"
    assert isinstance(plugins.destination("kafka://h/t", {"state_dir": Path()}), KafkaDestination)
    assert plugins.destination("kafka://h/t", {}).failure_format is FailureFormat.RECORD


def test_what_the_uri_says_goes_first() -> None:
    made = source("kafka://h/t?on_position_lost=trim_horizon&session_timeout=6.5", on_position_lost="fail")
    assert made._on_position_lost == "trim_horizon"
    assert made._options["session_timeout_ms"] == 6500


def test_the_group_is_more_patient_than_the_mapping() -> None:
    assert source("kafka://h/t")._options["rebalance_timeout_ms"] == 60_000
    assert source("kafka://h/t", revoke_grace=20.0)._options["rebalance_timeout_ms"] == 60_000
    patient = source("kafka://h/t", revoke_grace=300.0)
    assert patient._options["rebalance_timeout_ms"] == 310_000
    assert patient._limits.revocation >= 300
    given = source("kafka://h/t?rebalance_timeout=30", revoke_grace=300.0)
    assert given._options["rebalance_timeout_ms"] == 30_000


@pytest.mark.parametrize(
    ("query", "protocol"),
    [
        ("", "PLAINTEXT"),
        ("sasl_username=u&sasl_password=p", "SASL_PLAINTEXT"),
        ("ssl_check_hostname=true", "SSL"),
        ("sasl_username=u&sasl_password=p&ssl_check_hostname=false", "SASL_SSL"),
        ("security_protocol=ssl", "SSL"),
    ],
)
def test_the_protocol_follows_from_what_is_given(query: str, protocol: str) -> None:
    assert client_options(source(f"kafka://h/t?{query}"))["security_protocol"] == protocol


def test_secrets_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_PASSWORD", "hunter2")
    query = "sasl_mechanism=SCRAM-SHA-512&sasl_username=me&sasl_password=env:THE_PASSWORD"
    for made in (source(f"kafka://h/t?{query}"), KafkaDestination.from_uri(f"kafka://h/t?{query}", {})):
        assert client_options(made)["sasl_plain_password"] == "hunter2"
        assert "hunter2" not in f"{made.name} {made!r} {made._connection!r}"
    monkeypatch.delenv("THE_PASSWORD")
    with pytest.raises(ConfigurationError, match=r"sasl_password: .*THE_PASSWORD is not set"):
        source(f"kafka://h/t?{query}")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("kafka:///t", "names no broker. Fix: write kafka://host:9092/topic"),
        ("kafka://h", "names no topic"),
        ("kafka://h/", "names no topic"),
        ("kafka://h/a/b", "'a/b' is no name of a topic"),
        ("kafka://h/t#x", "no part behind #"),
        ("kafka://h:x/t", "'h:x' is no address of a broker"),
        ("kafka://h:0/t", "'h:0' is no address of a broker"),
        ("kafka://,h/t", "'' is no address of a broker"),
        ("kafka://me:secret@h/t", "sasl_password=env:VARIABLE"),
        ("kafka://h/t?sesion_timeout=3", "Fix: did you mean session_timeout"),
        ("kafka://h/t?session_timeout=soon", "session_timeout: must be a number, not 'soon'"),
        ("kafka://h/t?session_timeout=0", "session_timeout: must be a number from 0.5 to 1800, not 0"),
        ("kafka://h/t?buffer_records=1.5", "buffer_records: must be a whole number"),
        ("kafka://h/t?ssl_check_hostname=maybe", "ssl_check_hostname: must be true or false"),
        ("kafka://h/t?ssl_cafile=/not/there.pem", "ssl_cafile: there is no file"),
        ("kafka://h/t?on_position_lost=ignore", "on_position_lost: 'ignore' is not known. Fix: take one of"),
        ("kafka://h/t?isolation_level=x", "isolation_level: 'x' is not known"),
        ("kafka://h/t?sasl_username=u", "sasl_password: is required"),
        ("kafka://h/t?sasl_username=&sasl_password=p", "sasl_username: must be text, not empty"),
        ("kafka://h/t?sasl_mechanism=GSSAPI&sasl_username=u&sasl_password=p", "sasl_mechanism: 'GSSAPI'"),
        ("kafka://h/t?security_protocol=SSL&sasl_username=u&sasl_password=p", "does not go with"),
        ("kafka://h/t?security_protocol=TLS", "security_protocol: 'TLS' is not known"),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as error:
        source(uri)
    assert error.value.fix
    assert "secret" not in str(error.value)


def test_a_destination_is_as_strict() -> None:
    with pytest.raises(ConfigurationError, match="compression_type: 'zip' is not known"):
        KafkaDestination.from_uri("kafka://h/t?compression_type=zip", {})
    with pytest.raises(ConfigurationError, match="there is no such option for Kafka"):
        KafkaDestination.from_uri("kafka://h/t?buffer_records=1", {})
    with pytest.raises(ConfigurationError, match="client_id: must be text"):
        KafkaDestination("t", "h", client_id=7)  # type: ignore[arg-type]


def test_a_source_and_a_destination_can_be_told_apart() -> None:
    """What a mapping needs, to refuse to send its failures to where they came from."""
    made = source("kafka://h:9092/t")
    same = KafkaDestination("t", ["h"])
    assert (made.bootstrap_servers, made.topic) == (same.bootstrap_servers, same.topic)


def test_a_key_file_needs_its_certificate(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    with pytest.raises(ConfigurationError, match="ssl_keyfile: goes with ssl_certfile only"):
        KafkaSource("t", "h", ssl_keyfile=str(key))
    broken = KafkaSource("t", "h", ssl_certfile=str(key))
    with pytest.raises(ConfigurationError, match=r"ssl_certfile: .*PEM certificate"):
        client_options(broken)
    with pytest.raises(ConfigurationError, match=r"ssl_cafile: .*PEM certificates"):
        client_options(KafkaSource("t", "h", ssl_cafile=str(key)))
