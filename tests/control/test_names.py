"""What functions are called in requests: every form, and what AWS says of those that are none."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from streamfn.control.errors import ApiError
from streamfn.control.naming import FunctionReference, function_of, reference_of
from streamfn.control.plane import Identity
from tests.control.calling import Calls
from tests.control.noting import Notes

pytestmark = pytest.mark.anyio

HERE = Identity("eu-west-1", "123456789012")
BASE = "arn:aws:lambda:us-east-1:000000000000:function"

REGION = r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?"
PATTERN = (
    rf"(arn:(aws[a-zA-Z-]*)?:lambda:)?{REGION}(\d{{12}}:)?(function:)?([a-zA-Z0-9-_\.]+)"
    r"(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
PATTERN_OF_CREATE = (
    rf"(arn:(aws[a-zA-Z-]*)?:lambda:)?{REGION}(\d{{12}}:)?(function:)?([a-zA-Z0-9-_]+)"
    r"(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
QUALIFIER_PATTERN = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+"

NO_NAMES = [
    "orders!",
    "*",
    "two words",
    "account:function:orders",
    "arn:aws:sqs:us-east-1:000000000000:queue",
    "arn:aws:lambda:nowhere:000000000000:function:orders",
    "arn:aws:lambda::000000000000:function:orders",
    "arn:aws:lambda:us-east-1::function:orders",
    "arn:aws:lambda:us-east-1:12345:function:orders",
    f"{BASE}:orders:1:2",
    f"{BASE}:orders:$LATE",
    f"{BASE}:orders:$latest",
    "function:orders:$LATEST:more",
    "orders:",
    ":orders",
]


@pytest.mark.parametrize(
    ("text", "name", "qualifier"),
    [
        ("orders", "orders", None),
        ("orders:live", "orders", "live"),
        ("orders:$LATEST", "orders", "$LATEST"),
        ("function:orders", "orders", None),
        ("123456789012:orders", "orders", None),
        ("123456789012:function:orders:7", "orders", "7"),
        ("eu-west-1:123456789012:function:orders", "orders", None),
        ("arn:aws:lambda:eu-west-1:123456789012:function:orders", "orders", None),
        ("arn:aws:lambda:eu-west-1:123456789012:function:orders:live", "orders", "live"),
        ("arn:aws-cn:lambda:eu-west-1:123456789012:function:orders", "orders", None),
        ("arn:aws:lambda:eu-west-1:123456789012:function", "function", None),
    ],
)
def test_all_forms_are_taken_apart(text: str, name: str, qualifier: str | None) -> None:
    assert function_of({"FunctionName": text}, HERE) == (name, qualifier)
    assert reference_of(text) == (name, qualifier)


def test_a_qualifier_may_stand_beside_the_name() -> None:
    assert function_of({"FunctionName": "f", "Qualifier": "2"}, HERE) == ("f", "2")
    assert function_of({"FunctionName": "f:2", "Qualifier": "2"}, HERE) == ("f", "2")
    assert function_of({"FunctionName": "function:f", "Qualifier": "2"}, HERE) == ("f", "2")
    assert function_of({"FunctionName": "f", "Qualifier": ""}, HERE) == ("f", None)
    with pytest.raises(ApiError) as caught:
        function_of({"FunctionName": "f:$LATEST", "Qualifier": "1"}, HERE)
    assert str(caught.value) == (
        "InvalidParameterValueException: "
        "The derived qualifier from the function name does not match the specified qualifier."
    )


def test_functions_of_elsewhere_are_not_found() -> None:
    with pytest.raises(ApiError) as region:
        function_of({"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:f"}, HERE)
    assert (region.value.status, region.value.message) == (
        404,
        "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')",
    )
    arn = "arn:aws:lambda:eu-west-1:000000000000:function:f"
    with pytest.raises(ApiError) as account:
        function_of({"FunctionName": arn}, HERE)
    assert (account.value.status, account.value.message) == (404, f"Function not found: {arn}")


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name_is_refused_here_too(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        reference_of(text)
    assert caught.value.code == "InvalidParameterValueException"
    if ":" in text:
        with pytest.raises(ApiError):
            function_of({"FunctionName": text}, HERE)


def test_a_reference_has_its_arn() -> None:
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:f"
    assert FunctionReference("f", None).arn(HERE) == arn
    assert FunctionReference("f", "$LATEST").arn(HERE) == f"{arn}:$LATEST"


# ------------------------------------------------------------------------------------ through the API


async def refused(calls: Calls, operation: str, **params: Any) -> tuple[str, str]:
    """Code and message."""
    if operation == "CreateFunction":
        params |= {"Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": b""}}
    with pytest.raises(ClientError) as caught:
        await calls(operation, **params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def said(value: str, at: str, constraint: str) -> str:
    return f"Value '{value}' at '{at}' failed to satisfy constraint: Member must {constraint}"


@pytest.mark.parametrize("text", NO_NAMES)
@pytest.mark.parametrize("operation", ["GetFunction", "DeleteFunction", "Invoke", "CreateFunction"])
async def test_each_operation_quotes_its_pattern(notes: Notes, operation: str, text: str) -> None:
    pattern = PATTERN_OF_CREATE if operation == "CreateFunction" else PATTERN
    one = said(text, "functionName", f"satisfy regular expression pattern: {pattern}")
    answer = await refused(notes.calls, operation, FunctionName=text)
    assert answer == ("ValidationException", f"1 validation error detected: {one}")


async def test_a_wrong_qualifier_is_told(notes: Notes) -> None:
    pattern = said("live!", "qualifier", f"satisfy regular expression pattern: {QUALIFIER_PATTERN}")
    long = said("a" * 129, "qualifier", "have length less than or equal to 128")
    for operation in ("GetFunction", "DeleteFunction", "Invoke"):
        for qualifier, one in (("live!", pattern), ("a" * 129, long)):
            answer = await refused(notes.calls, operation, FunctionName="f", Qualifier=qualifier)
            assert answer == ("ValidationException", f"1 validation error detected: {one}")


async def test_several_problems_are_told_at_once(notes: Notes) -> None:
    name = "arn:aws:lambda:nowhere:000000000000:function:" + "a" * 200
    long = said(name, "functionName", "have length less than or equal to 140")
    pattern = said(name, "functionName", f"satisfy regular expression pattern: {PATTERN_OF_CREATE}")
    assert await refused(notes.calls, "CreateFunction", FunctionName=name) == (
        "ValidationException",
        f"2 validation errors detected: {long}; {pattern}",
    )
    qualifier = said("a" * 129, "qualifier", "have length less than or equal to 128")
    pattern = said(name, "functionName", f"satisfy regular expression pattern: {PATTERN}")
    assert await refused(notes.calls, "Invoke", FunctionName=name, Qualifier="a" * 129) == (
        "ValidationException",
        f"2 validation errors detected: {qualifier}; {pattern}",
    )


@pytest.mark.parametrize("name", ["a" * 65, f"{BASE}:{'a' * 65}"])
async def test_a_new_name_is_short(notes: Notes, name: str) -> None:
    one = said("a" * 65, "functionName", "have length less than or equal to 64")
    assert await refused(notes.calls, "CreateFunction", FunctionName=name) == (
        "InvalidParameterValueException",
        f"1 validation error detected: {one}",
    )


@pytest.mark.parametrize("name", ["nothing", "a" * 65, "000000000000:function:nothing", BASE])
async def test_an_unknown_function_is_named_by_its_arn(call: Calls, name: str) -> None:
    arn = f"{BASE}:{name.rpartition(':')[2]}"
    not_found = "ResourceNotFoundException"
    assert await refused(call, "GetFunction", FunctionName=name) == (not_found, f"Function not found: {arn}")
    assert await refused(call, "DeleteFunction", FunctionName=name) == (
        not_found,
        f"Function not found: {arn}",
    )
    answer = await refused(call, "Invoke", FunctionName=name)
    assert answer == (not_found, f"Function not found: {arn}:$LATEST")


async def test_an_unknown_qualifier_is_part_of_it(call: Calls) -> None:
    arn = f"{BASE}:nothing"
    given = {"FunctionName": arn, "Qualifier": "$latest"}
    not_found = "ResourceNotFoundException"
    assert await refused(call, "GetFunction", **given) == (not_found, f"Function not found: {arn}:$latest")
    assert await refused(call, "Invoke", **given) == (not_found, f"Function not found: {arn}:$latest")
    assert await refused(call, "DeleteFunction", **given) == (not_found, f"Function not found: {arn}")


@pytest.mark.parametrize("operation", ["GetFunction", "DeleteFunction", "Invoke"])
async def test_two_qualifiers_are_one_too_many(call: Calls, operation: str) -> None:
    assert await refused(call, operation, FunctionName=f"{BASE}:f:$LATEST", Qualifier="1") == (
        "InvalidParameterValueException",
        "The derived qualifier from the function name does not match the specified qualifier.",
    )
