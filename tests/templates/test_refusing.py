"""Templates that cannot be: what is said of them, with its line."""

from __future__ import annotations

import pytest

from tests.templates.conftest import Load
from tests.templates.test_loading import problems

FUNCTION = "    Type: AWS::Lambda::Function\n    Properties: {Code: c, Handler: a.b, Runtime: python3.12"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "1 : not YAML"),
        ("a: 1\na: 2", "2 : a is given twice"),
        ("[]", " : the template has no resources"),
        ("Transform: Mine\nResources: {}", "1 Transform: the macro Mine runs in AWS"),
        ("Resources:\n  F: {}", "2 F: the resource has no Type"),
        ("Resources:\n  F: {Type: A, Properties: 1}", "2 F.Properties: must be a set"),
        ("Resources:\n  F: {Type: A, Condition: Nope}", "2 F.Condition: the template has no condition Nope"),
        (
            "Resources:\n  F: {Type: AWS::Serverless::Function}",
            "1 Transform: SAM's resources need SAM's transform",
        ),
        (
            f"Resources:\n  F:\n{FUNCTION}, Timeout: soon}}",
            "4 F.Timeout: must be a number, not 'soon'",
        ),
        (f"Resources:\n  F:\n{FUNCTION}, MemorySize: !Ref No}}", "4 F.MemorySize: the template has no param"),
        (f"Resources:\n  F:\n{FUNCTION}, Layers: no}}", "4 F.Layers: must be a list"),
        (f"Resources:\n  F:\n{FUNCTION}, Handler: !ImportValue x}}", "4 : Handler is given twice"),
        (
            "Resources:\n  F:\n    Type: AWS::Lambda::Function\n    Properties:\n      Handler: a.b\n"
            "      Runtime: python3.12\n      Code: {S3Bucket: b}",
            "7 F.Code: the function has no code",
        ),
        (
            "Transform: AWS::Serverless-2016-10-31\nResources:\n  F:\n    Type: AWS::Serverless::Function\n"
            "    Properties: {Handler: a.b, Runtime: python3.12, Events: {Q: {Type: SQS}}}",
            "5 : Resource with id [FQ] is invalid.",
        ),
        (
            f"Resources:\n  F:\n{FUNCTION}}}\n  M:\n    Type: AWS::Lambda::EventSourceMapping\n"
            "    Properties:\n      FunctionName: !Ref F\n"
            "      EventSourceArn: arn:aws:sqs:us-east-1:1:q\n      BatchSize: 0",
            "10 M.BatchSize: must be 1 to 10000, not 0",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(loaded: Load, text: str, said: str) -> None:
    assert [problem for problem in problems(loaded, text) if problem.startswith(said)]


PARAMETERS = """
Parameters:
  Stage: {Type: String, AllowedValues: [dev, prod], ConstraintDescription: take dev or prod}
  Size: {Type: Number, Default: 128, MinValue: 128, MaxValue: 512}
  Name: {Type: String, Default: a, AllowedPattern: "[a-z]+", MaxLength: 3}
  Zones: {Type: CommaDelimitedList, Default: "a, b"}
Resources: {}
"""


def test_parameters_are_checked_together(loaded: Load) -> None:
    assert problems(loaded, PARAMETERS, Size="64", Name="A", Stag="dev") == [
        " Stag: the template has no parameter Stag",
        "3 Stage: the parameter has no value",
        "4 Size: must be at least 128, not 64",
        "5 Name: must match [a-z]+, not 'A'",
    ]
    found = problems(loaded, PARAMETERS, Size="x", Name="abcd", Stage="test")
    assert found[:3] == [
        "3 Stage: must be one of dev, prod, not 'test'",
        "4 Size: must be a number, not 'x'",
        "5 Name: must have at most 3 characters, not 4",
    ]


TOGETHER = """
Resources:
  F: {Type: AWS::Lambda::Function, Properties: {Code: c, Handler: a.b, Runtime: python3.12, MemorySize: 64}}
  M:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {FunctionName: !Ref F, EventSourceArn: !Ref Q, BatchSize: 0}
  N:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {FunctionName: !Ref F, EventSourceArn: !GetAtt Nobody.Arn}
  C: {Type: AWS::Lambda::EventInvokeConfig, Properties: {FunctionName: !Ref F, MaximumRetryAttempts: a}}
  Q: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: long, DelaySeconds: 1.5}}
  S: {Type: AWS::Kinesis::Stream, Properties: {ShardCount: some}}
"""


def test_a_wrong_function_hides_nothing_else_that_is_wrong(loaded: Load) -> None:
    assert problems(loaded, TOGETHER) == [
        "3 F.MemorySize: must be 128 to 10240, not 64",
        "6 M.EventSourceArn: 'https://sqs.us-east-1.amazonaws.com/000000000000/shop-Q' is no ARN",
        "6 M.BatchSize: must be 1 to 10000, not 0",
        "9 N.EventSourceArn: the template has no parameter and no resource Nobody",
        "10 C.MaximumRetryAttempts: must be a whole number, not 'a'",
        "11 Q.VisibilityTimeout: must be a whole number, not 'long'",
        "11 Q.DelaySeconds: must be a whole number, not '1.5'",
        "12 S.ShardCount: must be a whole number, not 'some'",
    ]


SAM = """
Transform: [{Name: AWS::Serverless-2016-10-31}]
Globals: {Function: {Handler: app.handler, Runtime: python3.12%s}}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: src
      Tiemout: 5
"""


def test_what_the_translator_refuses_has_the_line_of_the_property(loaded: Load) -> None:
    (found,) = problems(loaded, SAM % "")
    assert found.startswith("9 : Resource with id [F] is invalid. property Tiemout not defined")
    (found,) = problems(loaded, (SAM % ", Mystery: 1").replace("Tiemout", "Timeout"))
    assert found.startswith("3 : 'Globals' section is invalid. 'Mystery' is not a supported property")


def test_a_loop_that_cannot_be_unrolled_has_its_line(loaded: Load) -> None:
    text = "Resources:\n  A: {Type: AWS::SQS::Queue}\n  Fn::ForEach::Each: [Name, !Ref Nobody, {}]"
    (found,) = problems(loaded, text)
    assert found.startswith("3 : ")
