"""`streamfn.yaml`: what it says, and where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamfn.config import STREAM, ConfigurationErrors
from streamfn.config.file import AppFile, load

GOOD = """\
name: flights
state_dir: /var/lib/flights
functions:
  delays:
    handler: app:delays
    timeout: 30
    reserved_concurrency: 4
    each: app:Flight
  totals: app:totals
event_source_mappings:
  - FunctionName: delays
    EventSourceArn: local:flights
    BatchSize: ${BATCH:-50}
    DestinationConfig:
      OnFailure:
        Destination: file:${DEAD}/dead.jsonl
  - function: totals
    source: "local:${NAME:-flights}"
    starting_position_timestamp: 2024-01-01T00:00:00Z
    starting_position: AT_TIMESTAMP
logging: {level: debug, format: json}
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "streamfn.yaml"


def read(path: Path, text: str, **environment: str) -> AppFile:
    path.write_text(text)
    return load(path, environment)


def wrong(path: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        read(path, text, **environment)
    return [line.removeprefix(f"{path}:").strip() for line in str(caught.value).splitlines()]


def test_a_file_says_all_that_an_app_is(written: Path) -> None:
    file = read(written, GOOD, DEAD="/tmp/dead")
    assert (file.name, file.state_dir) == ("flights", Path("/var/lib/flights"))
    delays, totals = file.functions["delays"], file.functions["totals"]
    assert (delays.handler, delays.timeout, delays.reserved_concurrency) == ("app:delays", 30.0, 4)
    assert (delays.each, delays.batch) == ("app:Flight", False)
    assert (totals.handler, totals.timeout) == ("app:totals", 60.0)
    first, second = file.mappings
    assert (first.name, first.batch_size, first.on_failure) == (
        "delays-flights",
        50,
        "file:/tmp/dead/dead.jsonl",
    )
    assert (second.name, second.starting_position_timestamp) == ("totals-flights", 1_704_067_200.0)
    assert (file.logging.level, file.logging.format) == ("debug", "json")


def test_what_is_left_out_has_defaults(written: Path) -> None:
    file = read(written, "functions: {f: app:f}\n")
    assert (file.name, file.state_dir, file.mappings) == ("streamfn", Path(".streamfn"), ())
    assert (file.logging.level, file.logging.format) == ("info", None)


@pytest.mark.parametrize(
    ("value", "environment", "size"),
    [
        ("${N}", {"N": "7"}, 7),
        ("${N:-8}", {}, 8),
        ("${N:-8}", {"N": ""}, 8),
        ("1${N}", {"N": "2"}, 12),
    ],
)
def test_the_environment_fills_in_values(
    written: Path, value: str, environment: dict[str, str], size: int
) -> None:
    mapping = f"{{function: f, source: local:x, batch_size: {value!r}}}"
    text = f"functions: {{f: app:f}}\nevent_source_mappings: [{mapping}]"
    file = read(written, text.replace("'", '"'), **environment)
    assert file.mappings[0].batch_size == size


def test_a_plain_value_from_the_environment_has_its_own_type(written: Path) -> None:
    text = "functions:\n  f:\n    handler: app:f\n    batch: ${B}\n    timeout: ${T}\n"
    entry = read(written, text, B="true", T="1.5").functions["f"]
    assert (entry.batch, entry.timeout) == (True, 1.5)


def test_a_doubled_dollar_is_one(written: Path) -> None:
    text = "functions: {f: app:f}\nevent_source_mappings: [{function: f, source: 'local:$${x}$y'}]"
    assert read(written, text).mappings[0].source == "local:${x}$y"


def test_anchors_and_merges_keep_working(written: Path) -> None:
    text = """\
functions: {f: app:f}
event_source_mappings:
  - &one {function: f, source: local:x, batch_size: 5}
  - <<: *one
    source: local:y
"""
    assert [(m.source, m.batch_size) for m in read(written, text).mappings] == [
        ("local:x", 5),
        ("local:y", 5),
    ]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["is empty. Fix: write functions: and event_source_mappings:"]),
        (
            "- a",
            ["must be a set of names and values. Fix: write functions: and event_source_mappings:"],
        ),
        (
            "functions: {",
            ["1: not YAML: while parsing a flow node expected the node content, but found '<stream end>'"],
        ),
        ("a: b: c", ["1: not YAML: mapping values are not allowed here"]),
        ("functions: {f: !Env x}", ["1: tags such as !Env are not known here. Fix: write the value itself"]),
        ("name: a\nname: b", ["2: name is given twice. Fix: keep one of the two"]),
        ("nmae: a", ["1: nmae: unknown option. Fix: did you mean name?"]),
        ("functions: [f]", ["1: functions: must be a set of names and values, not ['f']"]),
        ("\nstate_dir: 3", ["2: state_dir: must be text, not 3"]),
        (
            "logging:\n  level: loud",
            ["2: logging.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'"],
        ),
        (
            "name: ${X}\nstate_dir: ${Y}",
            [
                "1: the environment variable X is not set. Fix: set it, or give a default: ${X:-...}",
                "2: the environment variable Y is not set. Fix: set it, or give a default: ${Y:-...}",
            ],
        ),
        ("name: ${a b}", ["1: ${a b} names no environment variable. Fix: write $${ for a plain ${"]),
        (
            "functions:\n  f:\n    handler: app.f\n    tiemout: 3\n",
            [
                "3: functions.f.handler: must be module:name, not 'app.f'. "
                "Fix: write for example app:handler",
                "4: functions.f.tiemout: unknown option. Fix: did you mean timeout?",
            ],
        ),
        ("functions:\n  f: {}\n", ["2: functions.f.handler: is required"]),
        (
            "functions:\n  f:\n    handler: a:f\n    batch: true\n    each: a:M",
            ["2: functions.f: batch and each exclude each other. Fix: leave one out"],
        ),
        (
            "functions:\n  f: {handler: a:f, timeout: 0}",
            ["2: functions.f.timeout: must be 0.001 to 86400 seconds, not 0"],
        ),
        (
            "functions:\n  a b: a:f",
            ["2: functions.a b: 'a b' is no function's name: 1 to 64 letters, digits, - or _"],
        ),
        ("event_source_mappings: [x]", ["1: event_source_mappings[0]: must be a set of names and values"]),
        (
            "functions: {delays: a:f}\nevent_source_mappings:\n  - FunctionName: delay\n    source: local:x",
            ["3: FunctionName: Function does not exist. Fix: did you mean delays?"],
        ),
        (
            "event_source_mappings:\n  - function: f\n    source: local:x",
            ["2: FunctionName: Function does not exist. Fix: take one of: none is declared"],
        ),
        (
            "functions: {f: a:f}\nevent_source_mappings:\n"
            "  - {function: f, source: local:x}\n  - {function: f, source: local:x}",
            ["4: Name: a mapping named 'f-x' is already declared. Fix: give one of them a name"],
        ),
        (
            """\
functions: {f: a:f}
event_source_mappings:
  - function: f
    source: local:x
    BatchSize: 0
    DestinationConfig:
      OnFailure:
        Destinaton: file:x
  - function: f
    source: local:y
    RetryBackoff:
      First: -1
    MaximumRetryAttemts: 3
""",
            [
                "5: BatchSize: must be 1 to 10000, not 0",
                "8: DestinationConfig.OnFailure.Destinaton: unknown option. Fix: did you mean Destination?",
                "12: RetryBackoff.First: must be 0 to 3600 seconds, not -1",
                "13: MaximumRetryAttemts: unknown option. Fix: did you mean MaximumRetryAttempts?",
            ],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(written: Path, text: str, messages: list[str]) -> None:
    assert wrong(written, text) == messages


def test_a_template_of_aws_is_told_from_a_file_of_ours(written: Path) -> None:
    text = "AWSTemplateFormatVersion: '2010-09-09'\nResources:\n  F: !Ref X\n"
    assert wrong(written, text) == [
        "SAM and CloudFormation templates are not supported yet. "
        "Fix: write a streamfn.yaml with functions: and event_source_mappings:"
    ]


def test_a_file_that_is_not_there_or_not_text_is_told_of(written: Path) -> None:
    with pytest.raises(ConfigurationErrors, match="cannot be read: No such file or directory"):
        load(written)
    written.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationErrors, match="cannot be read: not UTF-8 text"):
        load(written)


def test_a_problem_with_the_source_names_the_line_too(written: Path) -> None:
    mapping = "  - function: f\n    source: local:x\n    retry_delay: 3\n"
    text = f"functions: {{f: a:f}}\nevent_source_mappings:\n{mapping}"
    mapping = read(written, text).mappings[0]
    with pytest.raises(ConfigurationErrors) as caught:
        mapping.check(STREAM)
    assert caught.value.where == f"{written}:5"
