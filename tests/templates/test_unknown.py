"""What only AWS knows: it stops a template only where something cannot run without it."""

from __future__ import annotations

import pytest

from tests.templates.conftest import Load
from tests.templates.test_loading import problems, told

STORED = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Bootstrap: {Type: "AWS::SSM::Parameter::Value<String>", Default: /bootstrap/version}
  Subnets: {Type: "AWS::SSM::Parameter::Value<List<AWS::EC2::Subnet::Id>>", Default: /net/subnets}
  Source: {Type: "AWS::SSM::Parameter::Value<String>", Default: /orders/arn, AllowedPattern: "/.*"}
  Name: {Type: "AWS::SSM::Parameter::Name", Default: /name}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: src
      Handler: app.handler
      Runtime: python3.12
      VpcConfig: {SubnetIds: !Ref Subnets, SecurityGroupIds: [sg-1]}
      Environment:
        Variables:
          FIRST: !Select [0, !Ref Subnets]
          NAME: !Ref Name
      Events:
        Orders: {Type: SQS, Properties: {Queue: !Ref Source}}
"""
ORDERS = "arn:aws:sqs:us-east-1:000000000000:orders"


def test_a_parameter_that_aws_keeps_takes_its_value_when_it_is_needed(loaded: Load) -> None:
    template = loaded(STORED, Source=ORDERS)
    assert [mapping.source for mapping in template.mappings] == [ORDERS]
    assert template.functions["shop-F"].environment == {"NAME": "/name"}
    assert told(template) == ["15 F.VpcConfig", "16 F.Environment.Variables.FIRST"]
    given = loaded(STORED, Source=ORDERS, Subnets="subnet-1, subnet-2")
    assert given.functions["shop-F"].environment["FIRST"] == "subnet-1"


def test_what_cannot_do_without_its_value_says_which_one(loaded: Load) -> None:
    assert problems(loaded, STORED) == [
        "21 FOrders.EventSourceArn: the parameter Source has its value in AWS, by its type "
        "AWS::SSM::Parameter::Value<String>"
    ]
    with pytest.raises(Exception, match="give --parameter Source=VALUE"):
        loaded(STORED)


AROUND = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties:
      Code: src
      Handler: app.handler
      Runtime: python3.12
      KmsKeyArn: !GetAtt Key.Arn
      Layers: [!Ref Own, !ImportValue common, "{{resolve:ssm:/layer}}"]
      Tags: [{Key: team, Value: a}, {Key: cost, Value: !ImportValue center}]
  Own: {Type: AWS::Lambda::LayerVersion, Properties: {Content: layer}}
  Kafka:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref F
      KmsKeyArn: !GetAtt Key.Arn
      SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: ["a:9092"]}}
      Topics: [t]
      StartingPosition: LATEST
      SourceAccessConfigurations:
        - {Type: VPC_SUBNET, URI: !Sub "subnet:${Subnet}"}
        - {Type: VPC_SECURITY_GROUP, URI: !Sub "security_group:${Group.GroupId}"}
        - {Type: SASL_SCRAM_512_AUTH, URI: !Ref Secret}
  Key: {Type: AWS::KMS::Key}
  Subnet: {Type: AWS::EC2::Subnet}
  Group: {Type: AWS::EC2::SecurityGroup}
  Secret: {Type: AWS::SecretsManager::Secret}
"""


def test_keys_networks_tags_and_layers_of_aws_stop_nothing(loaded: Load) -> None:
    template = loaded(AROUND)
    config = template.functions["shop-F"]
    assert (len(config.layers), config.tags) == (1, {"team": "a"})
    (mapping,) = template.mappings
    assert [each.type for each in mapping.source_access_configurations] == ["SASL_SCRAM_512_AUTH"]
    assert told(template) == ["9 F.KmsKeyArn", "10 F.Layers", "10 F.Layers", "11 F.Tags", "28 Secret."]


def test_ways_in_that_are_no_list_are_refused(loaded: Load) -> None:
    text = AROUND.replace("[!Ref Own, !ImportValue common", "[!Ref Nobody").replace(
        "{Key: team,", "{Key: !Ref No,"
    )
    found = problems(loaded, text)
    assert found == [
        "10 F.Layers: the template has no parameter and no resource Nobody",
        "11 F.Tags: the template has no parameter and no resource No",
    ]


KINESIS = """
Resources:
  F: {Type: AWS::Lambda::Function, Properties: {Code: src, Handler: app.handler, Runtime: python3.12}}
  Clicks: {Type: AWS::Kinesis::Stream, Properties: {Name: clicks, ShardCount: 2}}
  Fast: {Type: AWS::Kinesis::StreamConsumer, Properties: {ConsumerName: fast, StreamARN: !GetAtt Clicks.Arn}}
  M:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {FunctionName: !Ref F, EventSourceArn: !Ref Fast, StartingPosition: LATEST}
"""


def test_a_consumer_that_the_template_registers_is_read_through(loaded: Load) -> None:
    template = loaded(KINESIS)
    assert template.mappings[0].source == "arn:aws:kinesis:us-east-1:000000000000:stream/clicks?consumer=fast"
    assert told(template) == ["4 Clicks."]
    assert template.localised(lambda arn: True).mappings[0].source == (
        "local:stream/clicks?event_source_arn=arn:aws:kinesis:us-east-1:000000000000:stream/clicks&shards=2"
    )


OTHERS = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties:
      Code: src
      Handler: app.handler
      Runtime: python3.12
      Environment: {Variables: {VALUE: !GetAtt P.Value, NAME: !Ref P, CLUSTER: !GetAtt C.Arn}}
  P: {Type: AWS::SSM::Parameter, Properties: {Name: /p, Type: String, Value: !Sub "x-${F}"}}
  C: {Type: AWS::MSK::ServerlessCluster, Properties: {ClusterName: c}}
"""


def test_more_attributes_are_known(loaded: Load) -> None:
    assert loaded(OTHERS).functions["shop-F"].environment == {
        "VALUE": "x-shop-F",
        "NAME": "/p",
        "CLUSTER": "arn:aws:kafka:us-east-1:000000000000:cluster/c/1",
    }


ALIAS = """
Transform: AWS::Serverless-2016-10-31
Parameters: {Name: {Type: "AWS::SSM::Parameter::Value<String>", Default: /alias}}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: src, Handler: app.handler, Runtime: python3.12, AutoPublishAlias: !Ref Name}
"""


def test_what_the_translator_needs_is_named(loaded: Load) -> None:
    with pytest.raises(Exception, match="give --parameter Name=VALUE"):
        loaded(ALIAS)
    assert loaded(ALIAS, Name="live").functions["shop-F"].auto_publish_alias == "live"
