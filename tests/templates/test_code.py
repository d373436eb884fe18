"""Where the code of a template's functions and layers is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.templates.conftest import Load
from tests.templates.test_loading import problems, told

SAM = """
Transform: AWS::Serverless-2016-10-31
Globals: {Function: {Handler: app.handler, Runtime: python3.12}}
Resources:
  A: {Type: AWS::Serverless::Function, Properties: {CodeUri: "s3://code/a/b.zip", Layers: [!Ref L]}}
  B:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: {Bucket: code, Key: b.zip, Version: "a=1"}}
  C:
    Type: AWS::Lambda::Function
    Properties:
      Code: {S3Bucket: !Sub "code-${AWS::Region}", S3Key: c.zip}
      Handler: app.handler
      Runtime: python3.12
  L: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: "s3://code/l.zip"}}
"""


def test_it_may_lie_in_s3(loaded: Load) -> None:
    template = loaded(SAM)
    assert {name: (config.code_uri, config.layers) for name, config in template.functions.items()} == {
        "shop-A": ("s3://code/a/b.zip", ("s3://code/l.zip",)),
        "shop-B": ("s3://code/b.zip?versionId=a%3D1", ()),
        "shop-C": ("s3://code-us-east-1/c.zip", ()),
    }
    assert not template.not_honoured


CDK = {
    "Parameters": {
        "BootstrapVersion": {
            "Type": "AWS::SSM::Parameter::Value<String>",
            "Default": "/cdk-bootstrap/version",
        }
    },
    "Conditions": {"Available": {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}},
    "Resources": {
        "Fn": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": {"S3Bucket": {"Fn::Sub": "cdk-assets-${AWS::AccountId}"}, "S3Key": "1f.zip"},
                "Handler": "app.handler",
                "Runtime": "python3.12",
                "Layers": [{"Ref": "Layer"}],
            },
            "Metadata": {"aws:asset:path": "asset.1f", "aws:asset:property": "Code"},
        },
        "Layer": {
            "Type": "AWS::Lambda::LayerVersion",
            "Properties": {"Content": {"S3Bucket": "b", "S3Key": "2e.zip"}},
            "Metadata": {"aws:asset:path": "asset.2e", "aws:asset:property": "Content"},
        },
        "Image": {
            "Type": "AWS::Lambda::Function",
            "Properties": {"Code": {"ImageUri": "repo/x:1"}, "PackageType": "Image"},
            "Metadata": {"aws:asset:path": "asset.3d", "aws:asset:property": "Code.ImageUri"},
        },
        "CDKMetadata": {"Type": "AWS::CDK::Metadata", "Condition": "Available"},
    },
}


def test_what_cdk_would_bring_to_s3_is_taken_from_its_folder(loaded: Load, tmp_path: Path) -> None:
    template = loaded(json.dumps(CDK), "Stack.template.json")
    config = template.functions["shop-Fn"]
    assert (config.code_uri, config.layers) == (str(tmp_path / "asset.1f"), (str(tmp_path / "asset.2e"),))
    assert template.functions["shop-Image"].code_uri == "docker:repo/x:1"
    assert not template.not_honoured


BUILT = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Metadata: {Dockerfile: Dockerfile, DockerContext: hello, DockerTag: v1}
    Properties: {PackageType: Image}
  Plain:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: makefile, Other: x}
    Properties: {CodeUri: src, Handler: bootstrap, Runtime: provided.al2023}
  Common:
    Type: AWS::Serverless::LayerVersion
    Metadata: {BuildMethod: python3.12}
    Properties: {ContentUri: common}
  Done:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: makefile, SamResourceId: Done}
    Properties: {CodeUri: Done, Handler: bootstrap, Runtime: provided.al2023}
"""


def test_what_sam_builds_is_told_unless_it_was_built(loaded: Load) -> None:
    template = loaded(BUILT)
    assert template.functions["shop-Hello"].code_uri == "docker:hello:v1"
    assert told(template) == [
        "6 Hello.Metadata.Dockerfile",
        "10 Plain.Metadata.BuildMethod",
        "14 Common.Metadata.BuildMethod",
    ]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("{S3Bucket: b}", ["the function has no code"]),
        ("{S3Bucket: !ImportValue b, S3Key: k}", ['Fn::ImportValue "b": exports of other stacks are in AWS']),
    ],
)
def test_code_that_is_not_known_is_refused_once(loaded: Load, code: str, said: list[str]) -> None:
    text = f"""
Resources:
  F: {{Type: AWS::Lambda::Function, Properties: {{Code: {code}, Handler: a.b, Runtime: python3.12}}}}
"""
    assert [line.partition(": ")[2] for line in problems(loaded, text)] == said
    layer = f"""
Resources:
  L: {{Type: AWS::Lambda::LayerVersion, Properties: {{Content: {code}}}}}
"""
    assert len(problems(loaded, layer)) == 1
