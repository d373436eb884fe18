"""Inputs that do not hold to their shapes, and what AWS says of them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.control.noting import Notes

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
CREATE_FUNCTION = {"FunctionName": "f", "Role": "arn:aws:iam::000000000000:role/r", "Code": {}}


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        (
            "CreateEventSourceMapping",
            {"FunctionName": "f", "StartingPosition": "middle"},
            "1 validation error detected: Value 'middle' at 'startingPosition' failed to satisfy constraint: "
            "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]",
        ),
        (
            "CreateEventSourceMapping",
            {"BatchSize": 0, "MaximumBatchingWindowInSeconds": 301},
            "3 validation errors detected: Value null at 'functionName' failed to satisfy constraint: "
            "Member must not be null; Value '0' at 'batchSize' failed to satisfy constraint: Member must "
            "have value greater than or equal to 1; Value '301' at 'maximumBatchingWindowInSeconds' failed "
            "to satisfy constraint: Member must have value less than or equal to 300",
        ),
        (
            "CreateEventSourceMapping",
            {"FunctionName": "f", "FilterCriteria": {"Filters": [{}, {"Pattern": "a" * 4097}]}},
            f"1 validation error detected: Value '{'a' * 4097}' at 'filterCriteria.filters.2.member.pattern' "
            "failed to satisfy constraint: Member must have length less than or equal to 4096",
        ),
        (
            "CreateEventSourceMapping",
            {"FunctionName": "f", "Topics": ["aa", "bb"]},
            "1 validation error detected: Value '[aa, bb]' at 'topics' failed to satisfy constraint: "
            "Member must have length less than or equal to 1",
        ),
        (
            "CreateEventSourceMapping",
            {"FunctionName": "f", "Topics": ["."]},
            "1 validation error detected: Value '[.]' at 'topics' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must have length less than or equal to 249, Member must "
            "have length greater than or equal to 1, Member must satisfy regular expression pattern: "
            "[^.]([a-zA-Z0-9\\-_.]+), Member must not be null]",
        ),
        (
            "CreateFunction",
            CREATE_FUNCTION | {"Architectures": ["mips"]},
            "1 validation error detected: Value '[mips]' at 'architectures' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], "
            "Member must not be null]",
        ),
        (
            "CreateFunction",
            CREATE_FUNCTION | {"Environment": {"Variables": {"1": "secret"}}},
            "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: "
            "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: "
            "[a-zA-Z]([a-zA-Z0-9_])+, Member must not be null]",
        ),
        (
            "TagResource",
            {"Resource": ARN, "Tags": {"a": "é *"}},
            "1 validation error detected: Value '{a=é *}' at 'tags' failed to satisfy constraint: Map value "
            "must satisfy constraint: [Member must have length less than or equal to 256, Member must have "
            "length greater than or equal to 0, Member must satisfy regular expression pattern: "
            "([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*), Member must not be null]",
        ),
        (
            "CreateEventSourceMapping",
            {"FunctionName": "f", "SelfManagedEventSource": {"Endpoints": {}}},
            "1 validation error detected: Value '{}' at 'selfManagedEventSource.endpoints' failed to satisfy "
            "constraint: Member must have length greater than or equal to 1",
        ),
        (
            "CreateEventSourceMapping",
            {
                "FunctionName": "f",
                "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": []}},
            },
            "1 validation error detected: Value '[]' at "
            "'selfManagedEventSource.endpoints.KAFKA_BOOTSTRAP_SERVERS.member' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
        (
            "CreateFunction",
            CREATE_FUNCTION | {"EphemeralStorage": {}},
            "1 validation error detected: Value null at 'ephemeralStorage.size' failed to satisfy "
            "constraint: Member must not be null",
        ),
        (
            "CreateFunction",
            CREATE_FUNCTION | {"Role": "a" * 10_001},
            f"1 validation error detected: Value '{'a' * 10_001}' at 'role' failed to satisfy constraint: "
            "Member must have length less than or equal to 10000",
        ),
        (
            "CreateAlias",
            {"FunctionName": "f", "Name": "1", "FunctionVersion": "1"},
            "1 validation error detected: Value '1' at 'name' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
        ),
        (
            "CreateAlias",
            {
                "FunctionName": "f",
                "Name": "live",
                "FunctionVersion": "1",
                "RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}},
            },
            "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed "
            "to satisfy constraint: Map value must satisfy constraint: [Member must have value less than or "
            "equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]",
        ),
        (
            "PutFunctionEventInvokeConfig",
            {"FunctionName": "f", "MaximumRetryAttempts": 3},
            "1 validation error detected: Value '3' at 'maximumRetryAttempts' failed to satisfy constraint: "
            "Member must have value less than or equal to 2",
        ),
        (
            "Invoke",
            {"FunctionName": "f", "InvocationType": "Later"},
            "1 validation error detected: Value 'Later' at 'invocationType' failed to satisfy constraint: "
            "Member must satisfy enum value set: [DryRun, Event, RequestResponse]",
        ),
    ],
)
async def test_what_breaks_a_constraint_is_told_in_awss_words(
    notes: Notes, operation: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError) as caught:
        await notes.calls(operation, **params)
    assert caught.value.response["Error"] == {"Code": "ValidationException", "Message": message}
    assert notes.given == []


async def test_an_unknown_runtime_is_told_in_words_of_its_own(notes: Notes) -> None:
    with pytest.raises(ClientError) as caught:
        await notes.calls("CreateFunction", **CREATE_FUNCTION, Runtime="cobol")
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidParameterValueException"
    begin = "Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["
    assert error["Message"].startswith(begin)
    assert error["Message"].endswith("] or be a valid ARN")


async def test_tags_may_be_in_any_script(notes: Notes) -> None:
    tags = {"größe": "10 m²", "名前": "値\u00a0値"}
    await notes.calls("TagResource", Resource=ARN, Tags=tags)
    assert notes.given[0][1]["Tags"] == tags


async def test_digits_are_those_of_ascii(notes: Notes) -> None:
    with pytest.raises(ClientError, match="regular expression"):
        await notes.calls("GetFunction", FunctionName="f", Qualifier="\N{FULLWIDTH DIGIT ONE}")
