"""What names a table's stream, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamfn.core.policies import StartingPosition
from streamfn.errors import ConfigurationError
from streamfn.ports import SourceKind, Subscription
from streamfn_aws.dynamodb import DynamoDbStream
from streamfn_aws.leased import LeaseOptions
from tests.aws.unit.dynamodb_fakes import ARN

TABLE_ARN = ARN.partition("/stream/")[0]


@pytest.mark.parametrize(
    "uri",
    [
        "dynamodb://flights",
        "dynamodb://flights?region=eu-central-1&endpoint_url=http://127.0.0.1:4566&leases=memory",
        TABLE_ARN,
        ARN,
        f"{ARN}?poll_interval=1&lease_time=10&lease_table=mine&checkpoint_interval=5",
        ARN.replace("arn:aws:", "arn:aws-cn:"),
    ],
)
def test_a_stream_is_named_by_its_table(uri: str) -> None:
    assert isinstance(DynamoDbStream, SourceKind)
    source = DynamoDbStream.from_uri(uri, {})
    assert source.name == "dynamodb://flights"
    assert source.table == "flights"
    assert repr(source) == "<DynamoDbStream dynamodb://flights>"


def test_what_the_uri_says_goes_first(tmp_path: Path) -> None:
    options = {"state_dir": tmp_path, "on_position_lost": "latest", "revoke_grace": 30.0}
    source = DynamoDbStream.from_uri("dynamodb://flights?on_position_lost=trim_horizon", options)
    assert source._how.on_position_lost == "trim_horizon"
    assert source._leases == LeaseOptions(state_dir=tmp_path)
    source = DynamoDbStream.from_uri("dynamodb://flights", options)
    assert source._how.on_position_lost == "latest"
    assert source._how.poll_interval == 0.25


@pytest.mark.parametrize(
    ("uri", "field"),
    [
        ("dynamodb://", "Source"),
        ("dynamodb://a", "Source"),
        ("dynamodb://flights/stream/1", "Source"),
        ("dynamodb://123456789012/flights", "Source"),
        ("dynamodb://user:hunter2@flights", "Source"),
        ("arn:aws:dynamodb:eu-central-1:123456789012:index/x", "Source"),
        ("arn:aws:kinesis:eu-central-1:123456789012:table/flights", "Source"),
        (f"{ARN}?region=us-east-1", "region"),
        ("dynamodb://flights?poll_interval=0", "poll_interval"),
        ("dynamodb://flights?poll_interval=often", "poll_interval"),
        ("dynamodb://flights?on_position_lost=ignore", "on_position_lost"),
        ("dynamodb://flights?leases=redis", "leases"),
        ("dynamodb://flights?lease_time=0", "lease_time"),
        ("dynamodb://flights?lease_table=a/b", "lease_table"),
        ("dynamodb://flights?lease_table=", "lease_table"),
        ("dynamodb://flights?checkpoint_interval=-1", "checkpoint_interval"),
        ("dynamodb://flights?lease_tabel=x", "lease_tabel"),
    ],
)
def test_what_is_wrong_is_said_with_the_fix(uri: str, field: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        DynamoDbStream.from_uri(uri, {})
    assert error.value.field == field
    assert error.value.fix
    assert "hunter2" not in str(error.value)


def test_an_option_that_does_not_exist_is_refused() -> None:
    unknown: dict[str, Any] = {"lease_tabel": "x"}
    with pytest.raises(ConfigurationError, match="lease_table"):
        DynamoDbStream("flights", **unknown)


async def test_at_timestamp_is_refused() -> None:
    """The stream knows none (Developer Guide: services-ddb-params)."""
    at = Subscription("group", StartingPosition.AT_TIMESTAMP, 1700000000.0)
    with pytest.raises(ConfigurationError, match="AT_TIMESTAMP") as error:
        async with DynamoDbStream("flights", leases="memory").shards(at):
            pass
    assert error.value.field == "StartingPosition"
