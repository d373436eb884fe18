"""`streamfn.yaml`: what it says, and where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamfn.config import STREAM, ConfigurationErrors
from streamfn.config.file import AppFile, load
from streamfn.errors import ConfigurationError

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
    assert (totals.handler, totals.seconds) == ("app:totals", 60.0)
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
    assert (file.event_invoke_configs, file.dead_letters) == ((), None)
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


INVOKED = """\
functions:
  bill:
    handler: app:bill
    event_invoke_config:
      MaximumRetryAttempts: ${RETRIES:-1}
      DestinationConfig:
        OnFailure: {Destination: "local:queue/unpaid"}
  ship:
    handler: app:ship
    event_invoke_config:
      - on_success: function:bill
      - Qualifier: 7
        retry_delays: [1, 5]
      - FunctionName: ship:blue
        dead_letters: false
  idle: {handler: "app:idle", event_invoke_config: }
dead_letters: true
"""


def test_a_function_says_how_it_is_invoked_asynchronously(written: Path) -> None:
    file = read(written, INVOKED, RETRIES="0")
    bill, ship, seventh, blue = file.event_invoke_configs
    assert (bill.key, bill.maximum_retry_attempts, bill.on_failure) == ("bill", 0, "local:queue/unpaid")
    assert (ship.key, ship.on_success) == ("ship", "function:bill")
    assert (seventh.key, seventh.retry_delays) == ("ship:7", (1.0, 5.0))
    assert (blue.key, blue.dead_letters) == ("ship:blue", False)
    assert sorted(file.functions) == ["bill", "idle", "ship"]


def test_an_error_of_a_destination_has_the_line_of_its_option(written: Path) -> None:
    bill, ship, *_ = read(written, INVOKED).event_invoke_configs
    problem = ConfigurationError("no such queue")
    assert bill.located(problem, "on_failure").where == f"{written}:7"
    assert ship.located(problem, "on_success").where == f"{written}:11"


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("true", True),
        ("false", False),
        ("local:queue/lost", "local:queue/lost"),
        ("${DEAD}", "file:x"),
        ("", None),
    ],
)
def test_an_app_says_where_dead_letters_are(written: Path, text: str, letters: object) -> None:
    assert read(written, f"dead_letters: {text}\n", DEAD="file:x").dead_letters == letters


def test_what_is_wrong_with_asynchronous_invocation_is_told_with_its_line(written: Path) -> None:
    text = """\
functions:
  bill:
    handler: app:bill
    timeout: 0
    event_invoke_config:
      MaximumRetryAttempts: -1
      MaximumEventAge: 60
      DestinationConfig:
        OnFailure:
          Destination: function:bill
        OnSucces: {}
  ship:
    handler: app:ship
    event_invoke_config:
      - Qualifier: blue
        on_failure: done
      - Qualifier: green
      - FunctionName: ship:green
      - function: bill
      - here
  idle:
    handler: app:idle
    event_invoke_config: fast
  slow:
    event_invoke_confg: {}
dead_letters: somewhere
"""
    invalid = "unknown option. Fix: did you mean"
    sets = "must be a set of names and values, or a list of such sets"
    assert wrong(written, text.replace("somewhere", "true")) == [
        "4: functions.bill.timeout: must be 0.001 to 86400 seconds, not 0",
        "6: MaximumRetryAttempts: must be 0 to 10000, not -1",
        f"7: MaximumEventAge: {invalid} MaximumEventAgeInSeconds?",
        "10: DestinationConfig.OnFailure.Destination: "
        "You can't specify the function as a destination for itself. Fix: name another one",
        f"11: DestinationConfig.OnSucces: {invalid} OnSuccess?",
        "16: OnFailure: 'done' is no URI. Fix: write its kind first, such as file:dead-letters.jsonl",
        "18: functions.ship.event_invoke_config[2]: options of ship:green are already declared. "
        "Fix: give one of them a Qualifier",
        "19: FunctionName: must be ship, the function that it stands under, not bill. Fix: remove it",
        f"20: functions.ship.event_invoke_config[4]: {sets}",
        f"23: functions.idle.event_invoke_config: {sets}",
        "24: functions.slow.handler: is required",
        f"25: functions.slow.event_invoke_confg: {invalid} event_invoke_config?",
    ]
    assert wrong(written, text) == [
        "26: dead_letters: 'somewhere' is no URI. Fix: write its kind first, such as file:dead-letters.jsonl"
    ]


def test_a_destination_that_is_the_function_itself_is_told_with_its_line(written: Path) -> None:
    text = INVOKED.replace("local:queue/unpaid", "function:bill").replace(
        "function:bill\n", "function:ship\n"
    )
    itself = "You can't specify the function as a destination for itself. Fix: name another one"
    assert wrong(written, text) == [
        f"7: DestinationConfig.OnFailure.Destination: {itself}",
        f"11: OnSuccess: {itself}",
    ]


def test_a_template_of_aws_is_told_from_a_file_of_ours(written: Path) -> None:
    text = "AWSTemplateFormatVersion: '2010-09-09'\nResources:\n  F: !Ref X\n"
    assert wrong(written, text) == [
        "is a SAM or CloudFormation template, and no streamfn.yaml. "
        "Fix: streamfn run and check take it as it is"
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
