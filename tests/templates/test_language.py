"""Intrinsic functions, one by one, by the examples of CloudFormation's user guide."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.errors import ConfigurationError
from streamfn.templates.language import NO_VALUE, OnlyAws, Scope


def attribute(resource: str, name: str) -> Any:
    if resource == "Bucket" and name not in ("Ref", "Arn"):
        raise OnlyAws(f"what {resource}.{name} is, only AWS knows")
    return {"Bucket": {"Ref": "photos", "Arn": "arn:aws:s3:::photos"}}[resource][name]


SCOPE = Scope(
    {"Stage": "prod", "Zones": ["a", "b"], "AWS::Region": "us-east-1"},
    {"Sizes": {"prod": {"memory": 512, "names": ["x", "y"]}}},
    {
        "IsProd": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
        "IsTest": {"Fn::Not": [{"Condition": "IsProd"}]},
        "Round": {"Fn::And": [{"Condition": "Round"}, {"Condition": "IsProd"}]},
    },
    attribute,
)


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ({"Ref": "Stage"}, "prod"),
        ({"Ref": "Bucket"}, "photos"),
        ({"Fn::GetAtt": ["Bucket", "Arn"]}, "arn:aws:s3:::photos"),
        ({"Fn::GetAtt": "Bucket.Arn"}, "arn:aws:s3:::photos"),
        ({"Fn::Sub": "${Stage}-${AWS::Region}-${Bucket.Arn}-${!Literal}-${ Stage }"},
         "prod-us-east-1-arn:aws:s3:::photos-${Literal}-prod"),
        ({"Fn::Sub": ["${a}/${Stage}", {"a": {"Ref": "Bucket"}}]}, "photos/prod"),
        ({"Fn::Sub": "${Zones}"}, "a,b"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Stage"}, 3, True]]}, "a-prod-3-true"),
        ({"Fn::Join": [",", {"Ref": "Zones"}]}, "a,b"),
        ({"Fn::Split": ["|", "a||c"]}, ["a", "", "c"]),
        ({"Fn::Select": [1, {"Fn::Split": [",", "a,b"]}]}, "b"),
        ({"Fn::Select": ["0", {"Ref": "Zones"}]}, "a"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Stage"}, "memory"]}, 512),
        ({"Fn::FindInMap": ["Sizes", "no", "memory", {"DefaultValue": 1}]}, 1),
        ({"Fn::If": ["IsProd", "yes", {"Ref": "Nobody"}]}, "yes"),
        ({"a": 1, "b": {"Fn::If": ["IsTest", 2, {"Ref": "AWS::NoValue"}]}}, {"a": 1}),
        ([1, {"Ref": "AWS::NoValue"}, 3], [1, 3]),
        ({"Ref": "AWS::NoValue"}, NO_VALUE),
        ({"Fn::GetAtt": [{"Fn::Sub": "Bucket"}, "Arn"]}, "arn:aws:s3:::photos"),
        ({"Fn::Base64": {"Ref": "Stage"}}, "cHJvZA=="),
        ({"Fn::Length": {"Ref": "Zones"}}, 2),
        ({"Fn::ToJsonString": {"a": [{"Ref": "Stage"}]}}, '{"a":["prod"]}'),
        ({"Fn::Equals": [1, "1"]}, True),
        ({"Fn::Or": [{"Fn::Equals": ["a", "b"]}, {"Condition": "IsProd"}]}, True),
        ({"Fn::And": [{"Condition": "IsProd"}, {"Condition": "IsTest"}]}, False),
        ("plain", "plain"),
    ],
)  # fmt: skip
def test_a_function_gives_what_cloudformation_gives(node: Any, value: Any) -> None:
    assert SCOPE.value(node) == value


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"Fn::ImportValue": "x"}, "exports of other stacks"),
        ({"Fn::GetAZs": ""}, "availability zones"),
        ({"Fn::Cidr": ["10.0.0.0/8", 2]}, "networks"),
        ({"Fn::GetAtt": ["Bucket", "DomainName"]}, "only AWS knows"),
        ("{{resolve:ssm:/a/b}}", "a value that AWS keeps"),
        ({"Fn::Sub": "x{{resolve:secretsmanager:${Stage}}}"}, "resolve:secretsmanager:prod"),
    ],
)
def test_what_only_aws_knows_is_said(node: Any, said: str) -> None:
    with pytest.raises(OnlyAws, match=said):
        SCOPE.value(node)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"Ref": "Nobody"}, "no parameter and no resource Nobody"),
        ({"Fn::Sub": "${Nobody.Arn}"}, "no parameter and no resource Nobody"),
        ({"Fn::Sub": ["a"]}, "takes text"),
        ({"Fn::GetAtt": ["Bucket"]}, "a resource and an attribute"),
        ({"Fn::Join": ["-"]}, "a list of 2 values"),
        ({"Fn::Join": ["-", "a"]}, "needs a list"),
        ({"Fn::Select": [2, ["a", "b"]]}, "item 2 of 2"),
        ({"Fn::FindInMap": ["Sizes", "no", "memory"]}, "no mapping Sizes.no.memory"),
        ({"Fn::FindInMap": "Sizes"}, "two keys"),
        ({"Fn::If": ["Nobody", 1, 2]}, "no condition Nobody"),
        ({"Fn::If": [1]}, "a condition and two values"),
        ({"Fn::If": ["Round", 1, 2]}, "refers to itself"),
        ({"Fn::Or": ["maybe"]}, '"maybe" is no condition'),
        ({"Fn::Length": "a"}, "needs a list"),
        ({"Fn::Nothing": 1}, "no intrinsic function"),
    ],
)
def test_what_is_wrong_is_said(node: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SCOPE.value(node)


def test_without_resources_only_parameters_are_known() -> None:
    scope = Scope({"A": "x"})
    assert scope.value({"Fn::Sub": "${A}/code"}) == "x/code"
    with pytest.raises(OnlyAws, match="not known where this stands"):
        scope.value({"Ref": "Bucket"})
