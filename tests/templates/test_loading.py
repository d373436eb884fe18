"""Templates as apps: what SAM and CloudFormation say, and what is not honoured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from streamfn.config import ConfigurationErrors
from streamfn.core.policies import StartingPosition
from streamfn.errors import MissingExtra
from streamfn.templates import Stack, Template, load
from tests.templates.conftest import Load

EXAMPLE = Path(__file__).parents[2] / "examples" / "sam" / "template.yaml"


def problems(load: Load, text: str, **parameters: str) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        load(text, **parameters)
    return [f"{_line(error.where)} {error.field}: {error.problem}" for error in caught.value.errors]


def _line(where: str) -> str:
    line = where.rpartition(":")[2]
    return line if line.isdigit() else ""


def told(template: Template) -> list[str]:
    found = (f"{n.where.rpartition(':')[2]} {n.resource}.{n.property}" for n in template.not_honoured)
    return list(found)


def test_the_example_is_an_app() -> None:
    template = load(EXAMPLE, {"Stage": "prod"})
    config = template.functions["ship-prod"]
    assert (config.code_uri, config.handler, config.runtime) == (
        str(EXAMPLE.parent / "ship"), "app.handler", "python3.11",
    )  # fmt: skip
    assert (config.timeout, config.memory_size, config.environment) == (10, 512, {"STAGE": "prod"})
    assert config.auto_publish_alias == "live"
    (mapping,) = template.mappings
    assert (mapping.name, mapping.function, mapping.qualifier) == ("ShipOrders", "ship-prod", "live")
    assert mapping.source == "arn:aws:sqs:us-east-1:000000000000:orders-prod"
    assert mapping.batch_size == 5
    assert mapping.function_response_types == ("ReportBatchItemFailures",)
    (config_of_events,) = template.event_invoke_configs
    assert config_of_events.key == "ship-prod:live"
    assert config_of_events.maximum_retry_attempts == 1
    assert config_of_events.on_failure == "arn:aws:sqs:us-east-1:000000000000:unshipped-prod"
    assert told(template) == ["46 Orders.", "55 Unshipped."]
    assert template.place("functions", "ship-prod", "handler") == f"{EXAMPLE}:29"


def test_its_own_queues_can_be_embedded_ones() -> None:
    template = load(EXAMPLE).localised(lambda arn: True)
    assert template.mappings[0].source == (
        "local:queue/orders-dev?event_source_arn=arn:aws:sqs:us-east-1:000000000000:orders-dev"
        "&visibility_timeout=60&max_receive_count=3&dead_letter=unshipped-dev"
    )
    assert template.event_invoke_configs[0].on_failure == "local:queue/unshipped-dev"
    assert told(template) == []
    nowhere = load(EXAMPLE).localised(lambda arn: False)
    assert nowhere.mappings == load(EXAMPLE).mappings
    assert told(nowhere) == ["46 Orders.", "55 Unshipped."]


CLOUDFORMATION = """
AWSTemplateFormatVersion: 2010-09-09
Parameters:
  Vpc: {Type: CommaDelimitedList, Default: ""}
Conditions:
  Never: !Equals [a, b]
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties:
      Code: {ZipFile: "def handler(event, context): pass"}
      Handler: index.handler
      Runtime: python3.12
      Role: !GetAtt Role.Arn
      ReservedConcurrentExecutions: 7
      EphemeralStorage: {Size: 1024}
      DeadLetterConfig: {TargetArn: !Ref Topic}
      KmsKeyArn: arn:aws:kms:us-east-1:1:key/k
      Environment:
        Variables:
          TABLE: !Ref Table
          URL: !GetAtt Api.Endpoint
          QUEUE: !Ref Queue
          ID: !Sub "https://${Api}.example.com"
          NONE: !If [Never, x, !Ref AWS::NoValue]
      VpcConfig: {SubnetIds: !Ref Vpc}
      Layers: [!Ref Layer, "arn:aws:lambda:us-east-1:1:layer:other:3"]
      Mystery: 1
  G:
    Condition: Never
    Type: AWS::Lambda::Function
  Layer:
    Type: AWS::Lambda::LayerVersion
    Properties: {Content: layers/common}
  Role: {Type: AWS::IAM::Role}
  Api: {Type: AWS::ApiGatewayV2::Api}
  Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: alarms}}
  Table: {Type: AWS::DynamoDB::Table}
  Queue: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}
  Stream: {Type: AWS::Kinesis::Stream, Properties: {ShardCount: 2, RetentionPeriodHours: 48}}
  V: {Type: AWS::Lambda::Version, Properties: {FunctionName: !Ref F}}
  Live:
    Type: AWS::Lambda::Alias
    Properties:
      FunctionName: !Ref F
      Name: live
      FunctionVersion: !GetAtt V.Version
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 3}
  Old:
    Type: AWS::Lambda::Alias
    Properties:
      FunctionName: !GetAtt F.Arn
      Name: old
      FunctionVersion: 4
      RoutingConfig: {AdditionalVersionWeights: [{FunctionVersion: 5, FunctionWeight: 0.25}]}
  Retries:
    Type: AWS::Lambda::EventInvokeConfig
    Properties:
      FunctionName: !Ref F
      Qualifier: $LATEST
      MaximumEventAgeInSeconds: 120
  FromTable:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref Live
      EventSourceArn: !GetAtt Table.StreamArn
      StartingPosition: LATEST
      TumblingWindowInSeconds: 0
      Tags: [{Key: team, Value: a}]
  FromKafka:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !GetAtt F.Arn
      SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: ["a:9092", "b:9092"]}}
      Topics: [clicks]
      SelfManagedKafkaEventSourceConfig: {ConsumerGroupId: g}
  FromWindow:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref F
      EventSourceArn: !GetAtt Stream.Arn
      StartingPosition: LATEST
      TumblingWindowInSeconds: 30
  FromElsewhere:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {FunctionName: other, EventSourceArn: !GetAtt Queue.Arn}
"""


def test_a_cloudformation_template_is_an_app(loaded: Load, tmp_path: Path) -> None:
    template = loaded(CLOUDFORMATION)
    assert list(template.functions) == ["shop-F"]
    config = template.functions["shop-F"]
    assert config.inline_code == "def handler(event, context): pass"
    assert config.reserved_concurrency == 7
    assert config.ephemeral_storage == 1024
    assert config.environment == {
        "TABLE": "shop-Table",
        "QUEUE": "https://sqs.us-east-1.amazonaws.com/000000000000/shop-Queue.fifo",
    }
    assert config.layers == (str(tmp_path / "layers" / "common"),)
    assert config.auto_publish_alias == "live"
    live, old = config.aliases["live"], config.aliases["old"]
    assert live.provisioned_concurrency is not None
    assert (live.function_version, live.provisioned_concurrency.number) == (None, 3)
    assert (old.function_version, old.additional_version_weights) == ("4", {"5": 0.25})
    (events,) = template.event_invoke_configs
    assert (events.key, events.maximum_event_age_in_seconds) == ("shop-F", 120)
    assert events.dead_letter_queue == "arn:aws:sns:us-east-1:000000000000:alarms"
    table, kafka = template.mappings
    assert (table.name, table.qualifier, table.tags) == ("FromTable", "live", {"team": "a"})
    assert table.source == "arn:aws:dynamodb:us-east-1:000000000000:table/shop-Table"
    assert table.starting_position is StartingPosition.LATEST
    assert (kafka.source, kafka.consumer_group_id) == ("kafka://a:9092,b:9092/clicks", "g")
    assert list(template.local_ends.values()) == [
        "local:queue/shop-Queue.fifo",
        "local:stream/shop-Stream?shards=2&retention=172800",
    ]


def test_what_is_not_honoured_is_told_with_its_line(loaded: Load) -> None:
    template = loaded(CLOUDFORMATION)
    assert told(template) == [
        "18 F.KmsKeyArn",
        "19 F.Environment.Variables.URL",
        "19 F.Environment.Variables.ID",
        "26 F.VpcConfig",
        "27 F.Layers",
        "28 F.Mystery",
        "36 Api.",
        "37 Topic.",
        "38 Table.",
        "39 Queue.",
        "40 Stream.",
        "41 V.",
        "83 FromWindow.TumblingWindowInSeconds",
        "86 FromElsewhere.FunctionName",
    ]
    assert "Tumbling windows are not supported" in str(template.not_honoured[-2])


SAM = """
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: {Runtime: nodejs20.x, CodeUri: src, MemorySize: 256}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Layers: [!Ref L]
      DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Q.Arn}
      AutoPublishAlias: live
      DeploymentPreference: {Type: Canary10Percent5Minutes}
      Policies: [AWSLambdaBasicExecutionRole, {SQSPollerPolicy: {QueueName: !GetAtt Q.QueueName}}]
      Events:
        Api: {Type: Api, Properties: {Path: /, Method: get}}
        Timer: {Type: Schedule, Properties: {Schedule: rate(1 minute)}}
        Upload: {Type: S3, Properties: {Bucket: !Ref B, Events: "s3:ObjectCreated:*"}}
        Topic: {Type: SNS, Properties: {Topic: !Ref T, SqsSubscription: true}}
        Clicks:
          Type: SelfManagedKafka
          Properties:
            KafkaBootstrapServers: ["k:9092"]
            Topics: [clicks]
            StartingPosition: LATEST
            SourceAccessConfigurations:
              - {Type: SASL_SCRAM_512_AUTH, URI: "arn:aws:secretsmanager:us-east-1:1:secret:x"}
        Old:
          Type: MQ
          Properties:
            Broker: arn:aws:mq:us-east-1:1:broker:b:b-1
            Queues: [q]
            SourceAccessConfigurations:
              - {Type: BASIC_AUTH, URI: "arn:aws:secretsmanager:us-east-1:1:secret:x"}
  L: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layers/l}}
  App: {Type: AWS::Serverless::Application, Properties: {Location: ./other.yaml}}
  Http: {Type: AWS::Serverless::HttpApi, Properties: {DefinitionUri: openapi.yaml}}
  B: {Type: AWS::S3::Bucket}
  T: {Type: AWS::SNS::Topic}
  Q: {Type: AWS::SQS::Queue}
"""


def test_sam_is_translated_and_its_other_events_are_told(loaded: Load, tmp_path: Path) -> None:
    template = loaded(SAM)
    config = template.functions["shop-F"]
    assert (config.code_uri, config.memory_size) == (str(tmp_path / "src"), 256)
    assert config.layers == (str(tmp_path / "layers" / "l"),)
    assert config.auto_publish_alias == "live"
    assert sorted((mapping.name, mapping.source) for mapping in template.mappings) == [
        ("FClicks", "kafka://k:9092/clicks"),
        ("FTopicEventSourceMapping", "arn:aws:sqs:us-east-1:000000000000:shop-FTopicQueue"),
    ]
    (events,) = template.event_invoke_configs
    assert events.dead_letter_queue == "arn:aws:sqs:us-east-1:000000000000:shop-Q"
    assert told(template) == [
        "13 F.DeploymentPreference",
        "16 F.Events.Api",
        "17 F.Events.Timer",
        "18 F.Events.Upload",
        "19 F.Events.Topic",
        "32 FOld.Queues",
        "36 App.",
        "37 Http.",
        "38 B.",
        "39 T.",
        "40 Q.",
    ]


def test_json_is_read_with_tabs_too(loaded: Load) -> None:
    function = {"Handler": "a.b", "Runtime": "python3.12", "Code": "code"}
    template = {"Resources": {"F": {"Type": "AWS::Lambda::Function", "Properties": function}}}
    text = json.dumps(template, indent="\t")
    assert list(loaded(text, "template.json").functions) == ["shop-F"]


LOOPS = """
Transform: [AWS::LanguageExtensions]
Parameters:
  Names: {Type: CommaDelimitedList, Default: "ship-it,pack"}
Resources:
  Fn::ForEach::Functions:
    - Name
    - !Ref Names
    - F&{Name}:
        Type: AWS::Lambda::Function
        Properties:
          FunctionName: !Sub f-${Name}
          Fn::Transform: {Name: AWS::Include, Parameters: {Location: common.yaml}}
          Code: !Sub code/${Name}
          Description: !Ref Name
"""


def test_loops_are_unrolled_and_local_files_included(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text("Handler: !Sub 'app.handler'\nRuntime: python3.12")
    template = loaded(LOOPS)
    assert {name: (config.code_uri, config.description) for name, config in template.functions.items()} == {
        "f-ship-it": (str(tmp_path / "code/ship-it"), "ship-it"),
        "f-pack": (str(tmp_path / "code/pack"), "pack"),
    }
    assert "only local files" in problems(loaded, LOOPS.replace("common.yaml", "s3://b/k"))[0]


CHOICES = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Own: {Type: String, Default: "false"}
Conditions:
  HasOwn: !Equals [!Ref Own, "true"]
  HasNone: !Not [!Condition HasOwn]
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
      EventInvokeConfig:
        DestinationConfig:
          OnSuccess:
            Type: SQS
            Destination: !If [HasOwn, "arn:aws:sqs:us-east-1:1:own", !Ref AWS::NoValue]
          OnFailure: {Type: Lambda, Destination: !GetAtt G.Arn}
  G:
    Type: AWS::Serverless::Function
    Condition: HasNone
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
      Events:
        Stream:
          Type: Kinesis
          Properties:
            Stream: arn:aws:kinesis:us-east-1:1:stream/s
            StartingPosition: LATEST
            Enabled: !If [HasOwn, false, true]
"""


def test_conditions_decide_what_there_is(loaded: Load) -> None:
    template = loaded(CHOICES)
    assert list(template.functions) == ["shop-F", "shop-G"]
    (config,) = template.event_invoke_configs
    assert config.on_success == "arn:aws:sqs:us-east-1:000000000000:shop-FEventInvokeConfigOnSuccessQueue"
    assert config.on_failure == "arn:aws:lambda:us-east-1:000000000000:function:shop-G"
    (mapping,) = template.mappings
    assert (mapping.name, mapping.function, mapping.enabled) == ("GStream", "shop-G", True)
    # G is not there, so that nothing can refer to it.
    found = problems(loaded, CHOICES, Own="true")
    assert [line.partition(": ")[2] for line in found] == ["the template has no parameter and no resource G"]


def test_sam_without_its_package_is_said(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "samtranslator.translator.translator", None)
    with pytest.raises(MissingExtra, match=r"pip install 'streamfn\[templates\]'"):
        loaded(CHOICES)
    assert loaded(CLOUDFORMATION).functions


ODD = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties:
      Code: {ImageUri: "repo/x:1"}
      PackageType: Image
      Environment: [a]
      LoggingConfig: {LogFormat: JSON, LogGroup: g}
      Layers: [!Ref L]
  G:
    Type: AWS::Lambda::Function
    Properties: {Runtime: python3.12, Handler: a.b, FunctionName: !Ref Nobody}
  L: {Type: AWS::Lambda::LayerVersion, Properties: {Content: {S3Bucket: b, S3Key: k}}}
  A:
    Type: AWS::Lambda::Alias
    Properties:
      FunctionName: !Ref F
      Name: a
      FunctionVersion: 1
      RoutingConfig: {AdditionalVersionWeights: {"2": 0.5}}
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: many}
  M: {Type: AWS::Lambda::EventSourceMapping, Properties: {EventSourceArn: "arn:aws:sqs:us-east-1:1:q"}}
"""


def test_all_that_is_wrong_is_said_together(loaded: Load) -> None:
    assert problems(loaded, ODD) == [
        "8 F.Environment: must be a set of names and values",
        "13 G.FunctionName: the template has no parameter and no resource Nobody",
        "13 G.Code: the function has no code",
        "21 A.RoutingConfig: must be a list of FunctionVersion and FunctionWeight",
        "22 A.ProvisionedConcurrencyConfig: must be a whole number, not 'many'",
        "23 M.FunctionName: is required",
    ]


NOT_YET = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties: {Code: c, Handler: a.b, Runtime: python3.12, LoggingConfig: {LogGroup: g}}
  V: {Type: AWS::Lambda::Version, Properties: {FunctionName: !Ref F}}
  One:
    Type: AWS::Lambda::Alias
    Properties: {FunctionName: !Ref F, Name: one, FunctionVersion: !GetAtt V.Version}
  Two:
    Type: AWS::Lambda::Alias
    Properties:
      FunctionName: !Ref F
      Name: two
      FunctionVersion: !GetAtt V.Version
      RoutingConfig: {AdditionalVersionWeights: [{FunctionVersion: 2, FunctionWeight: 0.5}]}
  M:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref F
      SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: ["a:9092"]}}
      Topics: [t]
      SelfManagedKafkaEventSourceConfig: {SchemaRegistryConfig: {SchemaRegistryURI: "http://r"}}
  C:
    Type: AWS::Lambda::EventInvokeConfig
    Properties: {FunctionName: other, Qualifier: $LATEST}
"""


def test_what_is_not_supported_yet_is_left_out_and_told(loaded: Load) -> None:
    template = loaded(NOT_YET)
    assert told(template) == [
        "5 F.LoggingConfig.LogGroup",
        "6 V.",
        "15 Two.FunctionVersion",
        "16 Two.RoutingConfig",
        "23 M.SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig",
        "26 C.FunctionName",
    ]
    assert (template.mappings, template.event_invoke_configs) == ((), ())
    assert template.functions["shop-F"].auto_publish_alias == "one"


def test_files_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    for name, said in {"latin.yaml": "not UTF-8", "none.yaml": "No such file"}.items():
        with pytest.raises(ConfigurationErrors, match=said):
            load(tmp_path / name)


def test_china_has_names_of_its_own() -> None:
    stack = Stack("s", "cn-north-1", "1")
    assert stack.arn("sqs", "q") == "arn:aws-cn:sqs:cn-north-1:1:q"
    assert stack.parameters()["AWS::URLSuffix"] == "amazonaws.com.cn"


def test_the_settings_of_the_aws_cli_play_no_part(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    (mapping,) = loaded(CHOICES).mappings
    assert mapping.function == "shop-G"


WHOLE = """
Transform: [{Name: AWS::Include, Parameters: {Location: common.yaml}}, AWS::LanguageExtensions]
Resources:
  Fn::ForEach::Pairs:
    - Name
    - [Orders, Returns]
    - ${Name}Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: !Ref Name}}
      ${Name}Mapping:
        Type: AWS::Lambda::EventSourceMapping
        Properties: {FunctionName: !Ref F, EventSourceArn: !GetAtt [!Sub "${Name}Queue", Arn]}
  F:
    Type: AWS::Lambda::Function
    Properties: {Code: src, Handler: a.b, Runtime: !FindInMap [M, all, runtime]}
"""


def test_a_file_may_be_included_in_the_whole(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text("Mappings: {M: {all: {runtime: python3.12}}}")
    template = loaded(WHOLE)
    assert template.functions["shop-F"].runtime == "python3.12"
    assert [str(mapping.source).rpartition(":")[2] for mapping in template.mappings] == ["Orders", "Returns"]
    # Each has the line of its loop.
    assert told(template) == ["4 OrdersQueue.", "4 ReturnsQueue."]
