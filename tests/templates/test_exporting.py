"""Apps as templates, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn.config import EventInvokeConfig, EventSourceMapping, FunctionConfig
from streamfn.core.policies import StartingPosition
from streamfn.templates import Template, load
from streamfn.templates.exporting import Exported, Form, exported
from tests.templates.conftest import Load
from tests.templates.test_loading import CLOUDFORMATION, SAM

BEGIN = StartingPosition.TRIM_HORIZON
FORMS: tuple[Form, ...] = ("sam", "cloudformation")


def again(template: Template, form: Form, folder: Path) -> Template:
    done = exported(form, template.functions, template.mappings, template.event_invoke_configs)
    return back(done, folder)


def back(done: Exported, folder: Path) -> Template:
    path = folder / "exported.json"
    path.write_text(json.dumps(done.template))
    return load(path)


def by_name(mappings: Iterable[EventSourceMapping]) -> dict[str, EventSourceMapping]:
    """With the position that holds where none is said, which a template has to say."""
    return {
        each.name: each
        if each.starting_position or "sqs" in str(each.source) or "local:queue" in str(each.source)
        else each.model_copy(update={"starting_position": BEGIN})
        for each in mappings
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [CLOUDFORMATION, SAM], ids=["cloudformation", "sam"])
def test_a_template_comes_back(loaded: Load, tmp_path: Path, text: str, form: Form) -> None:
    first = loaded(text)
    second = again(first, form, tmp_path)
    assert second.functions == first.functions
    assert by_name(second.mappings) == by_name(first.mappings)
    assert second.event_invoke_configs == first.event_invoke_configs
    exported_aliases = exported(form, first.functions, first.mappings, ()).template["Resources"]
    assert "${" not in json.dumps([r for r in exported_aliases.values() if "Mapping" in r["Type"]])
    third = again(second, form, tmp_path)
    assert (third.functions, third.mappings) == (second.functions, second.mappings)


_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True)
_VALUES = st.text(st.characters(codec="ascii", exclude_characters="{$"), max_size=9)
_SOURCES = st.sampled_from(
    ["arn:aws:sqs:us-east-1:1:q", "arn:aws:kinesis:us-east-1:1:stream/s", "kafka://a:9092,b:9092/t"]
)


@st.composite
def _functions(draw: st.DrawFn) -> FunctionConfig:
    options: dict[str, Any] = {
        "InlineCode": "def handler(event, context): return event",
        "Handler": "index.handler",
        "Runtime": "python3.12",
        "MemorySize": draw(st.integers(128, 10_240)),
        "Environment": draw(st.dictionaries(_NAMES, _VALUES, max_size=3)),
    }
    more = {
        "Timeout": st.integers(1, 900),
        "ReservedConcurrency": st.integers(0, 1000),
        "EphemeralStorage": st.integers(512, 10_240),
        "Description": st.just("what it does"),
        "LogFormat": st.just("JSON"),
        "Tags": st.just({"team": "a"}),
        "AutoPublishAlias": st.just("live"),
        "Aliases": st.just({"old": {"FunctionVersion": "3", "AdditionalVersionWeights": {"4": 0.5}}}),
        "IdleTimeout": st.integers(1, 100),
        "Network": st.just("none"),
    }  # fmt: skip
    chosen = draw(st.fixed_dictionaries({}, optional=more))
    return FunctionConfig.load(options | chosen)


@st.composite
def _mappings(draw: st.DrawFn, function: str, name: str) -> EventSourceMapping:
    more = {
        "BatchSize": st.integers(1, 100),
        "Enabled": st.booleans(),
        "FunctionResponseTypes": st.just(["ReportBatchItemFailures"]),
        "MaximumConcurrency": st.integers(1, 20),
        "Filters": st.just([{"body": {"a": ["b"]}}]),
        "OnFailure": st.sampled_from(["arn:aws:sqs:us-east-1:1:dead", "arn:aws:s3:::bucket"]),
        "StartingPosition": st.just("LATEST"),
        "RetryBackoff": st.just({"First": 3}),
        "CircuitBreaker": st.just(True),
        "Ordering": st.just("key"),
        "Tags": st.just({"a": "b"}),
        "ConsumerGroupId": st.just("group"),
    }
    options: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=more))
    return EventSourceMapping.load(
        {"FunctionName": function, "Source": draw(_SOURCES), "Name": name, **options}
    )


@st.composite
def _apps(draw: st.DrawFn) -> tuple[Mapping[str, FunctionConfig], list[EventSourceMapping]]:
    functions = draw(st.dictionaries(_NAMES, _functions(), min_size=1, max_size=3))
    names = draw(st.lists(_NAMES, unique=True, max_size=4))
    some = st.sampled_from(sorted(functions))
    return functions, [draw(_mappings(draw(some), name)) for name in names]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_apps(), st.sampled_from(FORMS))
def test_an_app_comes_back(
    tmp_path: Path, app: tuple[Mapping[str, FunctionConfig], list[EventSourceMapping]], form: Form
) -> None:
    functions, mappings = app
    template = back(exported(form, functions, mappings, ()), tmp_path)
    assert template.functions == functions
    lossy = {m.name for m in mappings if m.consumer_group_id and not str(m.source).startswith("kafka")}
    assert by_name(m for m in template.mappings if m.name not in lossy) == by_name(
        m for m in mappings if m.name not in lossy
    )


def test_what_aws_does_not_have_is_left_out_and_told() -> None:
    function = FunctionConfig.load(
        {
            "CodeUri": "src",
            "Handler": "a.b",
            "Runtime": "python3.12",
            "Credentials": {"AWS_ACCESS_KEY_ID": "x"},
        }
    )
    mappings = [
        EventSourceMapping.load({"FunctionName": "f", "Source": "other:q"}),
        EventSourceMapping.load(
            {"FunctionName": "f", "Source": "sqs://q?endpoint_url=http://x", "OnFailure": "log:"}
        ),
        EventSourceMapping.load({"FunctionName": "web", "Source": "sqs://q"}),
    ]
    config = EventInvokeConfig.load(
        {"FunctionName": "f", "OnSuccess": "function:f2", "RetryDelays": [1], "DeadLetterQueue": "sqs://dead"}
    )
    web = FunctionConfig.load({"CodeUri": "http://127.0.0.1:8080"})
    done = exported("cloudformation", {"f": function, "web": web}, mappings, [config], ["here"])
    assert done.left_out == (
        "function web: http://127.0.0.1:8080 is no code that AWS could run",
        "function here: runs in this process, so AWS has no code of it",
        "function f: credentials is not written down",
        "mapping f-q: other:q is no source of AWS",
        "mapping f-q: endpoint_url of its source is left out",
        "mapping f-q: its destination log: has no ARN",
        "mapping web-q: its function web is left out",
        "asynchronous invocation of f: its destination function:f2 has no ARN",
        "asynchronous invocation of f: RetryDelays is for streamfn only, and kept as metadata",
    )
    resources = done.template["Resources"]
    assert resources["FQ"] == {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "FunctionName": {"Ref": "F"},
            "EventSourceArn": {"Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:q"},
        },
        "Metadata": {"Streamfn": {"Name": "f-q"}},
    }
    assert resources["F"]["Properties"]["DeadLetterConfig"] == {
        "TargetArn": {"Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:dead"}
    }
    assert resources["F"]["Properties"]["Role"] == {"Fn::GetAtt": ["FunctionRole", "Arn"]}
    managed = resources["FunctionRole"]["Properties"]["ManagedPolicyArns"]
    assert [each["Fn::Sub"].rpartition("/")[2] for each in managed] == [
        "AWSLambdaBasicExecutionRole", "AWSLambdaSQSQueueExecutionRole",
    ]  # fmt: skip
    assert "AWS_ACCESS_KEY_ID" not in json.dumps(done.template)


@pytest.mark.parametrize("form", FORMS)
def test_images_layers_and_numbers_by_schedule(tmp_path: Path, form: Form) -> None:
    image = FunctionConfig.load(
        {"CodeUri": "docker:repo/x:1", "ImageConfig": {"Command": ["a.b"]}, "Role": "arn:aws:iam::1:role/r"}
    )
    code = FunctionConfig.load(
        {
            "CodeUri": str(tmp_path / "code"),
            "Handler": "a.b",
            "Runtime": "python3.12",
            "Layers": [str(tmp_path / "common"), str(tmp_path / "other/common")],
            "AutoPublishAlias": "live",
            "DeadLetterConfig": {"TargetArn": "arn:aws:sns:us-east-1:000000000000:topic"},
            "Aliases": {
                "live": {"ProvisionedConcurrency": {"Minimum": 2, "Maximum": 9}},
                "lost": {"ProvisionedConcurrency": 1},
                "one": "1",
            },
        }
    )
    queue = EventSourceMapping.load(
        {"FunctionName": "x-code:one", "Source": "sqs://q", "Name": "a.b", "MinimumPollers": 2}
    )
    done = exported(form, {"x-image": image, "x-code": code}, [queue], ())
    assert done.left_out == (
        "alias x-code:live: when its provisioned concurrency changes is left out",
        "alias x-code:lost: it says no version",
    )
    template = back(done, tmp_path)
    assert template.functions["x-image"].code_uri == "docker:repo/x:1"
    assert template.functions["x-image"].image_config == image.image_config
    again = template.functions["x-code"]
    assert (again.layers, again.auto_publish_alias) == (code.layers, "live")
    assert {name: entry.function_version for name, entry in again.aliases.items()} == {
        "live": None,
        "one": "1",
    }
    assert template.event_invoke_configs[0].dead_letter_queue == "arn:aws:sns:us-east-1:000000000000:topic"
    (mapping,) = template.mappings
    assert (mapping.name, mapping.qualifier, mapping.minimum_pollers) == ("a.b", "one", 2)
