"""What can be said of a Kinesis stream, and what is refused with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamfn.errors import ConfigurationError
from streamfn_aws.kinesis import KinesisStream

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/flights"


def test_a_stream_by_name_and_by_arn() -> None:
    by_name = KinesisStream.from_uri("kinesis://flights?region=eu-west-1&poll_interval=0.5", {})
    by_arn = KinesisStream.from_uri(f"{ARN}?aggregated=true&leases=memory", {})
    assert by_name.name == by_arn.name == KinesisStream("flights").name == "kinesis://flights"
    assert by_name._named == {"StreamName": "flights"}
    assert by_arn._named == {"StreamARN": ARN}
    assert by_name._how.poll_interval == 0.5
    assert (by_arn._how.aggregated, by_arn._leases.leases) == (True, "memory")
    assert by_name._connection == by_arn._connection
    assert repr(by_arn) == "<KinesisStream kinesis://flights>"


def test_a_consumer_by_name_and_by_arn() -> None:
    assert KinesisStream("flights")._consumer is None
    assert KinesisStream.from_uri("kinesis://flights?consumer=board", {})._consumer == "board"
    consumer = f"{ARN}/consumer/board:1545084650"
    by_arn = KinesisStream(consumer)
    assert (by_arn._consumer, by_arn._named, by_arn.name) == (
        consumer,
        {"StreamARN": ARN},
        "kinesis://flights",
    )


def test_what_the_app_knows_goes_after_what_the_uri_says() -> None:
    known = {"state_dir": Path("/state"), "on_position_lost": "latest", "revoke_grace": 20.0}
    source = KinesisStream.from_uri("kinesis://flights", known)
    assert (source._leases.state_dir, source._how.on_position_lost) == (Path("/state"), "latest")
    said = KinesisStream.from_uri("kinesis://flights?on_position_lost=trim_horizon&lease_time=12", known)
    assert (said._how.on_position_lost, said._leases.lease_time) == ("trim_horizon", 12.0)


def test_secrets_stay_out_of_names() -> None:
    source = KinesisStream("flights", access_key_id="AKIA", secret_access_key="hidden")
    assert "hidden" not in f"{source!r} {source.name} {source._connection!r}"


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("kinesis://", "names nothing"),
        ("kinesis://a b", "names no stream"),
        ("kinesis://flights/consumer/board", "names no stream"),
        ("kinesis://123456789012/flights", "write arn:aws:kinesis:REGION:123456789012:stream/flights"),
        ("arn:aws:sqs:eu-west-1:123456789012:flights", "names no stream"),
        ("arn:aws:kinesis:eu-west-1:123456789012:flights", "names no stream"),
        (f"{ARN}?region=us-east-1", "is not the region of the ARN"),
        (f"{ARN}/consumer/board:1?consumer=board", "named twice"),
        ("kinesis://flights?consumer=", "consumer"),
        ("kinesis://flights?poll_interval=0.1", "from 0.2 to 60"),
        ("kinesis://flights?poll_interval=often", "must be a number"),
        ("kinesis://flights?on_position_lost=cry", "take one of fail, trim_horizon, latest"),
        ("kinesis://flights?aggregated=maybe", "true or false"),
        ("kinesis://flights?agregated=true", "did you mean aggregated?"),
        ("kinesis://flights?leases=redis", "take one of dynamodb"),
        ("kinesis://user:pass@flights", "takes no user"),
    ],
)
def test_what_is_wrong_is_said_with_the_fix(uri: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        KinesisStream.from_uri(uri, {})
    assert problem in str(error.value)
    assert error.value.fix
    assert error.value.field
    assert "pass@" not in str(error.value)


def test_options_of_a_class_are_known_too() -> None:
    options: dict[str, Any] = {"lease_tiem": 3}
    with pytest.raises(ConfigurationError, match="did you mean lease_time"):
        KinesisStream("flights", **options)
