"""`streamfn schema`: it takes what `streamfn check` takes."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from streamfn.cli.schema import schema
from streamfn.config import EventInvokeConfig, EventSourceMapping, FunctionConfig
from streamfn.config.aws import AwsForms
from streamfn.config.file import load
from streamfn.config.schema import schema as made
from streamfn.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
WHOLE = made()
VALIDATOR = Draft202012Validator(WHOLE)
_BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def blocks() -> list[Any]:
    """All pieces of `streamfn.yaml` in the documentation."""
    found = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        for index, text in enumerate(_BLOCK.findall(path.read_text())):
            data = yaml.safe_load(text)
            if isinstance(data, dict) and set(data) <= set(WHOLE["properties"]):
                found.append(pytest.param(data, id=f"{path.name}-{index}"))
    return found


def wrong(data: Any) -> list[str]:
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in VALIDATOR.iter_errors(data)]


def test_it_is_printed_and_is_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema(argparse.Namespace()) == 0
    assert json.loads(capsys.readouterr().out) == WHOLE
    Draft202012Validator.check_schema(WHOLE)


@pytest.mark.parametrize("data", blocks())
def test_the_documentation_keeps_to_it(data: Any) -> None:
    assert wrong(data) == []


def test_the_documentation_has_files() -> None:
    assert len(blocks()) >= 4


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (EventSourceMapping, "EventSourceMapping"),
        (AwsForms, "EventSourceMapping"),
        (FunctionConfig, "FunctionConfig"),
        (EventInvokeConfig, "EventInvokeConfig"),
    ],
)
def test_every_option_is_there_in_both_spellings(model: Any, name: str) -> None:
    there = WHOLE["$defs"][name]["properties"]
    missing = {
        spelling
        for field, info in model.model_fields.items()
        for spelling in (field, info.alias)
        if spelling not in there
    }
    assert missing == ({"filter", "Filter"} if model is EventSourceMapping else set())
    assert there["FunctionName" if "FunctionName" in there else "CodeUri"]["description"]


@pytest.mark.parametrize(
    "name", ["", "EventSourceMapping", "EventInvokeConfig", "FunctionConfig", "Settings", "CircuitBreaker"]
)
def test_every_option_says_what_it_means(name: str) -> None:
    properties = (WHOLE["$defs"][name] if name else WHOLE)["properties"]
    assert [option for option, each in properties.items() if not each.get("description")] == []
    # Links lead nowhere in an editor.
    assert [option for option, each in properties.items() if "](" in each["description"]] == []


def test_defaults_are_told() -> None:
    mapping, settings = (WHOLE["$defs"][name]["properties"] for name in ("EventSourceMapping", "Settings"))
    assert mapping["Enabled"]["default"] is True
    assert mapping["maximum_retry_attempts"]["default"] == -1
    assert mapping["BatchSize"]["description"].endswith(
        "Default: Kafka 100, streams 100, queues 10, FIFO queues 10."
    )
    assert WHOLE["properties"]["concurrent_executions"]["default"] == 1000
    assert settings["async.first_retry_delay"]["default"] == 60
    assert "function_name" not in settings


MAPPING = {"FunctionName": "f", "Source": "local:a"}


@pytest.mark.parametrize(
    "data",
    [
        {"functions": {"f": "app:f"}, "event_source_mappings": [MAPPING]},
        {"functions": {"f": {"handler": "app:f", "timeout": "${TIMEOUT}"}}},
        {"functions": {"f": {"CodeUri": "c", "Environment": {"Variables": {"A": "b"}}}}},
        {"functions": {"f": {"code_uri": "c", "environment": {"A": 1}, "ephemeral_storage": {"Size": 600}}}},
        {"functions": {"f": {"code_uri": "c", "aliases": {"live": 3, "old": {"function_version": "2"}}}}},
        {"functions": {"f": {"handler": "a:f", "event_invoke_config": {"retry_delays": [1]}}}},
        {"event_source_mappings": [MAPPING | {"circuit_breaker": True, "MaximumRetryAttempts": -1}]},
        {"event_source_mappings": [MAPPING | {"FilterCriteria": {"Filters": [{"Pattern": {"a": ["b"]}}]}}]},
        {"settings": {"async": {"first_retry_delay": 1}}},
        {"settings": {"async.first_retry_delay": 1, "stream.retry_backoff.cap": 5}},
    ],
)
def test_what_is_right_is_taken(data: Any) -> None:
    assert wrong(data) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"function": {}}, "'function' was unexpected"),
        ({"functions": {"f": {"handler": "app:f", "memory": 1}}}, "functions.f"),
        ({"functions": {"f": {"handler": "app:f", "timeout": "soon"}}}, "functions.f"),
        ({"event_source_mappings": [{"FunctionName": "f"}]}, "event_source_mappings.0"),
        ({"event_source_mappings": [MAPPING | {"BatchSize": 0}]}, "event_source_mappings.0.BatchSize"),
        ({"event_source_mappings": [MAPPING | {"batch_size": 20_000}]}, "event_source_mappings.0.batch_size"),
        ({"event_source_mappings": [MAPPING | {"Batchsize": 1}]}, "'Batchsize' was unexpected"),
        ({"event_source_mappings": [MAPPING | {"Ordering": "chance"}]}, "event_source_mappings.0.Ordering"),
        ({"settings": {"async.first": 1}}, "'async.first' was unexpected"),
        ({"name": "no name"}, "name"),
        ({"concurrent_executions": 0}, "concurrent_executions"),
    ],
)
def test_what_is_wrong_is_refused_as_the_file_itself_would_be(tmp_path: Path, data: Any, said: str) -> None:
    found = wrong(data)
    assert found
    assert said in "\n".join(found)
    path = tmp_path / "streamfn.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigurationError):
        load(path, {})
