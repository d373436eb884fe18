"""What can be said of a connection to AWS, and what is refused: each refusal names the field and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamfn.errors import ConfigurationError
from streamfn.options import one_of, within
from streamfn_aws.options import (
    CONNECTION_TYPES,
    Connection,
    Resource,
    arn_of,
    connection_options,
    other_options,
    parsed_uri,
)
from streamfn_aws.sqs import SqsQueue

ROLE = "arn:aws:iam::123456789012:role/reader"
KEYS = {"access_key_id": "AKIA", "secret_access_key": "hidden"}
TYPES: dict[str, type] = {"count": int, "share": float, "loud": bool, "note": str}


def refused(call: Any, *arguments: Any, **options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments, **options)
    assert caught.value.field
    assert caught.value.fix
    assert "hidden" not in str(caught.value)
    return caught.value


# ----------------------------------------------------------------------------------------------- connection


def test_nothing_said_is_what_the_sdk_finds() -> None:
    connection = Connection.of({})
    assert connection == Connection()
    assert (connection.region, connection.role_session_name, connection.transport) == (
        None,
        "streamfn",
        "lean",
    )
    assert repr(connection) == "<Connection aws default region>"


def test_all_that_can_be_said(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    said = {
        "endpoint_url": "https://sqs.internal:8443/path",
        "region": "us-gov-west-1",
        "profile": "work",
        "role_arn": ROLE,
        "role_session_name": "me@work",
        "external_id": "x",
        "sts_endpoint_url": "http://[::1]:4566",
        "session_token": "hidden",
        "ca_bundle": str(bundle),
        "transport": "botocore",
        **KEYS,
    }
    assert set(said) == set(CONNECTION_TYPES)
    connection = Connection.of(said)
    assert {name: getattr(connection, name) for name in said} == said
    assert "hidden" not in repr(connection)
    assert "hidden" not in str(connection)
    assert Connection.of(said) == connection
    assert hash(Connection.of(said)) == hash(connection)


def test_a_secret_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_KEY", "AKIA")
    monkeypatch.setenv("QUEUE_SECRET", "hidden")
    connection = Connection.of({"access_key_id": "env:QUEUE_KEY", "secret_access_key": "env:QUEUE_SECRET"})
    assert (connection.access_key_id, connection.secret_access_key) == ("AKIA", "hidden")
    monkeypatch.delenv("QUEUE_SECRET")
    error = refused(
        Connection.of, {"access_key_id": "env:QUEUE_KEY", "secret_access_key": "env:QUEUE_SECRET"}
    )
    assert (error.field, error.fix) == ("secret_access_key", "set QUEUE_SECRET")
    # Only secrets are looked up: a profile may be called what it likes.
    assert Connection.of({"profile": "env:QUEUE_KEY"}).profile == "env:QUEUE_KEY"


def test_the_region_of_an_arn_holds() -> None:
    assert Connection.of({}, "eu-west-1").region == "eu-west-1"
    assert Connection.of({"region": "eu-west-1"}, "eu-west-1").region == "eu-west-1"
    error = refused(Connection.of, {"region": "eu-west-2"}, "eu-west-1")
    assert (error.field, error.problem) == (
        "region",
        "eu-west-2 is not the region of the ARN, eu-west-1",
    )


@pytest.mark.parametrize(
    ("said", "field", "problem"),
    [
        ({"reigon": "us-east-1"}, "reigon", "there is no such option here"),
        ({"region": "Frankfurt"}, "region", "'Frankfurt' is no region"),
        ({"region": "us-east-1/"}, "region", "'us-east-1/' is no region"),
        ({"region": ""}, "region", "must be text, not empty"),
        ({"region": None}, "region", "must be text, not NoneType"),
        ({"region": 3}, "region", "must be text, not int"),
        ({"endpoint_url": "localhost:4566"}, "endpoint_url", "'localhost:4566' is no address"),
        ({"endpoint_url": "ftp://localhost"}, "endpoint_url", "'ftp://localhost' is no address"),
        ({"endpoint_url": "http://"}, "endpoint_url", "'http://' is no address"),
        ({"endpoint_url": "http://h:port"}, "endpoint_url", "'http://h:port' is no address"),
        ({"endpoint_url": "http://h:99999"}, "endpoint_url", "'http://h:99999' is no address"),
        ({"endpoint_url": "http://h:0"}, "endpoint_url", "'http://h:0' is no address"),
        ({"endpoint_url": "http://[::1"}, "endpoint_url", "'http://[::1' is no address"),
        ({"endpoint_url": "http://me:hidden@h:1"}, "endpoint_url", "takes no user or password"),
        ({"role_arn": ROLE, "sts_endpoint_url": "h"}, "sts_endpoint_url", "'h' is no address"),
        ({"sts_endpoint_url": "http://h"}, "sts_endpoint_url", "goes with role_arn only"),
        ({"external_id": "x"}, "external_id", "goes with role_arn only"),
        ({"role_arn": "reader"}, "role_arn", "'reader' is no ARN of a role"),
        (
            {"role_arn": ROLE, "role_session_name": "two words"},
            "role_session_name",
            "'two words' is no name of a session",
        ),
        ({"access_key_id": "AKIA"}, "secret_access_key", "is needed: a key has two parts"),
        ({"secret_access_key": "hidden"}, "access_key_id", "is needed: a key has two parts"),
        ({"session_token": "hidden"}, "session_token", "goes with a key only"),
        ({"ca_bundle": "/nowhere.pem"}, "ca_bundle", "there is no file /nowhere.pem"),
        ({"transport": "pigeon"}, "transport", "'pigeon' is not known"),
    ],
)
def test_what_is_refused(said: dict[str, Any], field: str, problem: str) -> None:
    error = refused(Connection.of, said)
    assert (error.field, error.problem) == (field, problem)


def test_an_option_that_is_nearly_one_is_told() -> None:
    assert refused(Connection.of, {"reigon": "us-east-1"}).fix == "did you mean region?"
    assert refused(Connection.of, {"zzz": "1"}).fix.startswith("take one of access_key_id, ca_bundle, ")


# ------------------------------------------------------------------------------------------------------ URI


@pytest.mark.parametrize(
    ("uri", "resource"),
    [
        ("sqs://orders", Resource("sqs", "orders")),
        ("sqs:orders", Resource("sqs", "orders")),
        ("sqs://orders/", Resource("sqs", "orders")),
        ("sqs://two%20words", Resource("sqs", "two words")),
        ("sqs://123456789012/orders.fifo", Resource("sqs", "orders.fifo", account="123456789012")),
        ("sqs://12/orders", Resource("sqs", "12/orders")),
        ("s3://bucket/a/b", Resource("s3", "bucket/a/b")),
        (
            "arn:aws:sqs:eu-west-1:123456789012:orders",
            Resource(
                "sqs", "orders", "eu-west-1", "123456789012", "arn:aws:sqs:eu-west-1:123456789012:orders"
            ),
        ),
        ("arn:aws:s3:::bucket", Resource("s3", "bucket", None, None, "arn:aws:s3:::bucket")),
        (
            "arn:aws:dynamodb:eu-west-1:1:table/t/stream/2026-01-01T00:00:00.000",
            Resource(
                "dynamodb",
                "table/t/stream/2026-01-01T00:00:00.000",
                "eu-west-1",
                "1",
                "arn:aws:dynamodb:eu-west-1:1:table/t/stream/2026-01-01T00:00:00.000",
            ),
        ),
    ],
)
def test_what_a_uri_names(uri: str, resource: Resource) -> None:
    assert parsed_uri(uri, "Source", {}) == (resource, {})
    assert parsed_uri(f"{uri}?count=3", "Source", TYPES) == (resource, {"count": 3})


def test_options_of_a_uri_have_types() -> None:
    uri = "sqs://q?count=3&share=0.5&loud=Yes&note=a%26b&region=eu-west-1"
    _, given = parsed_uri(uri, "Source", TYPES)
    assert given == {"count": 3, "share": 0.5, "loud": True, "note": "a&b", "region": "eu-west-1"}
    assert connection_options(given) == {"region": "eu-west-1"}
    assert other_options(given) == {"count": 3, "share": 0.5, "loud": True, "note": "a&b"}


@pytest.mark.parametrize(
    ("uri", "field", "problem"),
    [
        ("sqs://", "Source", "sqs:// names nothing"),
        ("sqs:", "Source", "sqs: names nothing"),
        ("sqs://me:hidden@orders", "Source", "takes no user or password before the name"),
        ("sqs://q?colour=blue", "colour", "there is no such option here"),
        ("sqs://q?count=many", "count", "must be a whole number, not 'many'"),
        ("sqs://q?count=", "count", "must be a whole number, not ''"),
        ("sqs://q?share=half", "share", "must be a number, not 'half'"),
        ("sqs://q?loud=very", "loud", "must be true or false, not 'very'"),
        ("arn:aws:sqs:eu-west-1", "Source", "arn:aws:sqs:eu-west-1 is no ARN"),
        ("arn:aws:sqs:eu-west-1:1:", "Source", "arn:aws:sqs:eu-west-1:1: is no ARN"),
        ("arn:aws::eu-west-1:1:q", "Source", "arn:aws::eu-west-1:1:q is no ARN"),
    ],
)
def test_what_no_uri_may_say(uri: str, field: str, problem: str) -> None:
    error = refused(parsed_uri, uri, "Source", TYPES)
    assert (error.field, error.problem) == (field, problem)


def test_a_refused_uri_keeps_its_secrets() -> None:
    """The test of each refusal looks for it too."""
    for uri in (
        "sqs://?secret_access_key=hidden",
        "sqs://q?secret_access_key=hidden&nope=1",
        "sqs://me:hidden@q?secret_access_key=hidden",
        "arn:aws:sqs?secret_access_key=hidden",
    ):
        refused(parsed_uri, uri, "Source", TYPES)


def test_an_arn_alone() -> None:
    assert arn_of("arn:aws-cn:sqs:cn-north-1:1:q", "Source").region == "cn-north-1"
    assert refused(arn_of, "urn:aws:sqs:cn-north-1:1:q", "Destination").field == "Destination"


@pytest.mark.parametrize("value", [0, 2.5, 20])
def test_a_number_in_its_range(value: float) -> None:
    assert within("wait", value, 0, 20) == value


@pytest.mark.parametrize("value", [-1, 20.1, float("nan"), float("inf"), True, "3", None])
def test_a_number_out_of_its_range(value: Any) -> None:
    assert refused(within, "wait", value, 0, 20).problem.startswith("must be a number from 0 to 20, not ")


def test_one_of_some_words() -> None:
    assert one_of("leases", "memory", ("memory", "sqlite")) == "memory"
    assert refused(one_of, "leases", "disk", ("memory", "sqlite")).fix == "take one of memory, sqlite"


# ---------------------------------------------------------------------------------------------------- queue


def test_a_queue_by_its_names() -> None:
    for queue in (
        SqsQueue("orders", **KEYS, region="eu-west-1"),  # type: ignore[arg-type]
        SqsQueue("arn:aws:sqs:eu-west-1:123456789012:orders", **KEYS),  # type: ignore[arg-type]
        SqsQueue.from_uri("sqs://orders?region=eu-west-1&access_key_id=AKIA&secret_access_key=hidden", {}),
        SqsQueue.from_uri(
            "arn:aws:sqs:eu-west-1:123456789012:orders?access_key_id=AKIA&secret_access_key=hidden", {}
        ),
    ):
        assert queue.name == "sqs://orders"
        assert "hidden" not in f"{queue!r} {queue.name} {queue._connection!r}"
        assert queue._connection == Connection(region="eu-west-1", **KEYS)


def test_the_app_tells_a_queue_its_window() -> None:
    options = {"state_dir": Path("/state"), "revoke_grace": 20.0, "on_position_lost": "fail"}
    assert SqsQueue.from_uri("sqs://q", options)._window == 0
    assert SqsQueue.from_uri("sqs://q", {**options, "maximum_batching_window_in_seconds": 5})._window == 5
    assert refused(SqsQueue.from_uri, "sqs://q?window=5", {}).field == "window"


@pytest.mark.parametrize(
    ("queue", "options", "field"),
    [
        ("", {}, "Source"),
        ("12/orders", {}, "Source"),
        ("arn:aws:sns:eu-west-1:123456789012:orders", {}, "Source"),
        ("arn:aws:sqs:eu-west-1", {}, "Source"),
        ("orders", {"wait_time_seconds": 21}, "wait_time_seconds"),
        ("orders", {"wait_time_seconds": "1"}, "wait_time_seconds"),
        ("orders", {"window": -1}, "window"),
        ("orders", {"colour": "blue"}, "colour"),
    ],
)
def test_what_a_queue_does_not_take(queue: str, options: dict[str, Any], field: str) -> None:
    assert refused(SqsQueue, queue, **options).field == field
