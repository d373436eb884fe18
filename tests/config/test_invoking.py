"""What holds for asynchronous invocations: in which spelling, and what is said of what is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streamfn.config import ConfigurationErrors, EventInvokeConfig, Places
from streamfn.core.policies import ASYNCHRONOUS, Delays, Ordering, WhenDestinationFails
from streamfn.errors import ConfigurationError, MissingExtra

WHERE = "app.py:7"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:f"


def load(**options: Any) -> EventInvokeConfig:
    return EventInvokeConfig.load({"function": "f"} | options, WHERE)


def said(options: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        EventInvokeConfig.load(options, WHERE)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{WHERE}: ") for line in lines)
    return [line.removeprefix(f"{WHERE}: ") for line in lines]


# ------------------------------------------------------------------------------------------ spelling


@pytest.mark.parametrize(
    ("aws", "ours", "value"),
    [
        ("FunctionName", "function", "g"),
        ("FunctionName", "function_name", "g"),
        ("Qualifier", "qualifier", "prod"),
        ("MaximumRetryAttempts", "maximum_retry_attempts", 1),
        ("MaximumEventAgeInSeconds", "maximum_event_age_in_seconds", 600),
        ("OnSuccess", "on_success", "log:"),
        ("OnFailure", "on_failure", "log:"),
        ("DeadLetterQueue", "dead_letter_queue", "local:queue/dead"),
        ("RetryDelays", "retry_delays", [1, 2.5]),
        ("DeadLetters", "dead_letters", "log:"),
        ("WhenDestinationFails", "when_destination_fails", "drop"),
    ],
)
def test_both_spellings_of_a_name_mean_the_same(aws: str, ours: str, value: object) -> None:
    rest = {} if aws == "FunctionName" else {"function": "f"}
    config = EventInvokeConfig.load(rest | {aws: value})
    assert config == EventInvokeConfig.load(rest | {ours: value})
    assert config != load()


@pytest.mark.parametrize(
    ("form", "short"),
    [
        ({"DestinationConfig": {"OnSuccess": {"Destination": "log:"}}}, {"on_success": "log:"}),
        ({"DestinationConfig": {"OnFailure": {"Destination": "log:"}}}, {"on_failure": "log:"}),
        ({"destination_config": {"on_failure": {"destination": "log:"}}}, {"on_failure": "log:"}),
        (
            {"DestinationConfig": {"OnSuccess": {"Destination": "log:"}, "OnFailure": {"Destination": "x:"}}},
            {"on_success": "log:", "on_failure": "x:"},
        ),
        ({"DeadLetterConfig": {"TargetArn": "sqs://dead"}}, {"dead_letter_queue": "sqs://dead"}),
        ({"dead_letter_config": {"target_arn": "sqs://dead"}}, {"dead_letter_queue": "sqs://dead"}),
        ({"DestinationConfig": {"OnSuccess": {}, "OnFailure": {"Destination": ""}}}, {}),
        ({"DestinationConfig": {}, "DeadLetterConfig": {"TargetArn": ""}}, {}),
        ({"DestinationConfig": None, "DeadLetterConfig": None}, {}),
    ],
)
def test_the_forms_of_aws_mean_the_same_as_our_words(form: dict[str, Any], short: dict[str, Any]) -> None:
    assert load(**form) == load(**short)


def test_a_request_body_of_aws_loads_as_it_is() -> None:
    config = EventInvokeConfig.load(
        {
            "FunctionName": "f",
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 0,
            "MaximumEventAgeInSeconds": 60,
            "DestinationConfig": {
                "OnSuccess": {"Destination": "arn:aws:sns:eu-west-1:123456789012:done"},
                "OnFailure": {"Destination": "arn:aws:events:eu-west-1:123456789012:event-bus/default"},
            },
        }
    )
    assert config.key == "f"
    assert config.on_success == "arn:aws:sns:eu-west-1:123456789012:done"
    assert config.on_failure == "arn:aws:events:eu-west-1:123456789012:event-bus/default"


def test_what_is_left_out_is_as_on_aws() -> None:
    config = load()
    assert config.delivery_policy() == ASYNCHRONOUS
    assert (config.on_success, config.on_failure, config.dead_letter_queue) == (None, None, None)
    assert (config.dead_letters, config.when_destination_fails) == (None, None)


def test_destinations_may_be_objects_and_empty_text_is_none() -> None:
    destination = SimpleNamespace(name="memory:dead", send=None)
    for name in ("on_success", "on_failure", "dead_letter_queue", "dead_letters"):
        assert getattr(load(**{name: destination}), name) is destination
        assert getattr(load(**{name: ""}), name) is None
    form = {"OnFailure": {"Destination": destination}}
    assert load(DestinationConfig=form).on_failure is destination


@pytest.mark.parametrize("value", [True, False, None, "local:queue/lost"])
def test_dead_letters_are_kept_or_not_or_somewhere(value: object) -> None:
    assert load(dead_letters=value).dead_letters == value


def test_options_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().qualifier = "prod"  # type: ignore[misc]


# ----------------------------------------------------------------------------------- for which function


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"function": "f"}, "f"),
        ({"function": "f:$LATEST"}, "f"),
        ({"function": "f", "qualifier": "$LATEST"}, "f"),
        ({"function": "f", "qualifier": None}, "f"),
        ({"function": "f:prod"}, "f:prod"),
        ({"function": "f:prod", "qualifier": "prod"}, "f:prod"),
        ({"function": "f:prod", "Qualifier": None}, "f:prod"),
        ({"function": "f", "qualifier": "prod"}, "f:prod"),
        ({"function": "f", "Qualifier": "42"}, "f:42"),
        ({"function": "f:42", "Qualifier": 42}, "f:42"),
        ({"function": "f", "Qualifier": "a" * 128}, f"f:{'a' * 128}"),
        ({"FunctionName": ARN}, "f"),
        ({"FunctionName": f"{ARN}:blue-1_b"}, "f:blue-1_b"),
        ({"function_name": "123456789012:function:f:3"}, "f:3"),
    ],
)
def test_options_are_for_a_function_or_one_of_its_versions(options: dict[str, Any], key: str) -> None:
    config = EventInvokeConfig.load(options)
    assert config.key == key
    assert config.function == "f"


# -------------------------------------------------------------------------------------------- policy


def test_the_policy_is_that_of_asynchronous_invocation_with_what_is_set() -> None:
    policy = load(maximum_retry_attempts=9, maximum_event_age_in_seconds=61).delivery_policy()
    assert (policy.maximum_retry_attempts, policy.maximum_record_age) == (9, 61.0)
    assert (policy.ordering, policy.asynchronous) == (Ordering.NONE, True)
    assert policy.throttle_backoff == ASYNCHRONOUS.throttle_backoff


def test_the_last_delay_holds_for_all_that_follow() -> None:
    backoff = load(retry_delays=[1, 5]).delivery_policy().backoff
    assert backoff == Delays((1.0, 5.0))
    assert [backoff.delay(failures) for failures in (1, 2, 3, 99)] == [1, 5, 5, 5]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("maximum_retry_attempts", 0),
        ("maximum_retry_attempts", 10_000),
        ("maximum_event_age_in_seconds", 60),
        ("maximum_event_age_in_seconds", 21_600),
        ("retry_delays", (0.0,)),
        ("retry_delays", (43_200.0,)),
        ("when_destination_fails", WhenDestinationFails.BLOCK),
    ],
)
def test_the_ends_of_every_range_are_in_it(name: str, value: object) -> None:
    assert getattr(load(**{name: value}), name) == value


# ---------------------------------------------------------------------------------- what is refused


ITSELF = "You can't specify the function as a destination for itself. Fix: name another one"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maximum_retry_attempts": -1}, "MaximumRetryAttempts: must be 0 to 10000, not -1"),
        ({"maximum_retry_attempts": 10_001}, "MaximumRetryAttempts: must be 0 to 10000, not 10001"),
        ({"maximum_retry_attempts": True}, "MaximumRetryAttempts: must be a number, not true"),
        ({"maximum_event_age_in_seconds": 59}, "MaximumEventAgeInSeconds: must be 60 to 21600, not 59"),
        ({"MaximumEventAgeInSeconds": 21_601}, "MaximumEventAgeInSeconds: must be 60 to 21600, not 21601"),
        ({"retry_delays": [1, -1]}, "RetryDelays[1]: must be 0 to 43200 seconds, not -1"),
        ({"retry_delays": [43_201]}, "RetryDelays[0]: must be 0 to 43200 seconds, not 43201"),
        ({"retry_delays": [True]}, "RetryDelays[0]: must be a number, not true"),
        ({"retry_delays": 5}, "RetryDelays: must be a list, not 5"),
        (
            {"retry_delays": []},
            "RetryDelays: must name one delay or more. Fix: write [0] to try again at once",
        ),
        (
            {"when_destination_fails": "retry"},
            "WhenDestinationFails: must be 'block' or 'drop', not 'retry'",
        ),
        (
            {"on_success": "done"},
            "OnSuccess: 'done' is no URI. Fix: write its kind first, such as file:dead-letters.jsonl",
        ),
        (
            {"dead_letter_queue": 3},
            "DeadLetterQueue: must be a URI or a destination, not 3. "
            "Fix: write a URI such as local:dead-letters",
        ),
        (
            {"dead_letters": "yes"},
            "DeadLetters: 'yes' is no URI. Fix: write its kind first, such as file:dead-letters.jsonl",
        ),
        (
            {"dead_letters": 0},
            "DeadLetters: must be true, false, a URI or a destination, not 0. "
            "Fix: write true for local:queue/dead-letters",
        ),
        *(
            (
                {"on_failure": arn},
                f"OnFailure: The destination ARN {arn} is invalid. "
                "Fix: write arn:aws:SERVICE:REGION:ACCOUNT:NAME, or a URI",
            )
            for arn in ("arn:", "arn:aws:sqs:eu-west-1:1:q", "arn:aws:sqs:eu:123456789012:q", "arn:aws:s3:::")
        ),
        ({"on_success": "function:f"}, f"OnSuccess: {ITSELF}"),
        ({"on_failure": "function:f:prod"}, f"OnFailure: {ITSELF}"),
        ({"on_failure": ARN}, f"OnFailure: {ITSELF}"),
        ({"dead_letter_queue": f"{ARN}:1"}, f"DeadLetterQueue: {ITSELF}"),
        ({"dead_letters": "function:f?a=b"}, f"DeadLetters: {ITSELF}"),
        ({"on_failure": SimpleNamespace(name="function:f", send=None)}, f"OnFailure: {ITSELF}"),
        (
            {"DestinationConfig": {"OnSuccess": {"Destination": "function:f"}}},
            f"DestinationConfig.OnSuccess.Destination: {ITSELF}",
        ),
        (
            {"DeadLetterConfig": {"TargetArn": "arn:aws:sqs"}},
            "DeadLetterConfig.TargetArn: The destination ARN arn:aws:sqs is invalid. "
            "Fix: write arn:aws:SERVICE:REGION:ACCOUNT:NAME, or a URI",
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destinaton": "log:"}}},
            "DestinationConfig.OnFailure.Destinaton: unknown option. Fix: did you mean Destination?",
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": "log:"}}, "OnFailure": "log:"},
            "DestinationConfig.OnFailure.Destination: is given twice, here and as OnFailure. "
            "Fix: keep one of the two",
        ),
        ({"DestinationConfig": "log:"}, "DestinationConfig: must be a set of names and values, not 'log:'"),
        ({"DestinationConfg": {}}, "DestinationConfg: unknown option. Fix: did you mean DestinationConfig?"),
        ({"on_sucess": "log:"}, "on_sucess: unknown option. Fix: did you mean on_success?"),
        ({"OnSucess": "log:"}, "OnSucess: unknown option. Fix: did you mean OnSuccess?"),
        ({"batch_size": 1}, "batch_size: unknown option"),
        (
            {"OnFailure": "log:", "on_failure": "log:"},
            "on_failure: is given twice, as OnFailure and as on_failure. Fix: keep one of the two",
        ),
        (
            {"FunctionName": "g"},
            "function: is given twice, as FunctionName and as function. Fix: keep one of the two",
        ),
        ({"function": 3}, "FunctionName: must be text, not 3"),
        ({"function": "a b"}, "FunctionName: 'a b' is no function's name: 1 to 64 letters, digits, - or _"),
        ({"function": ":prod"}, "FunctionName: '' is no function's name: 1 to 64 letters, digits, - or _"),
        *(
            (
                {"qualifier": value},
                f"Qualifier: {value!r} is no qualifier: $LATEST, a version's number, "
                "or an alias of 1 to 128 letters, digits, - or _",
            )
            for value in ("", "a b", "a" * 129, "$NEWEST", True, 1.5)
        ),
        (
            {"function": "f:a b"},
            "FunctionName: 'a b' is no qualifier: $LATEST, a version's number, "
            "or an alias of 1 to 128 letters, digits, - or _",
        ),
        (
            {"function": "f:"},
            "FunctionName: '' is no qualifier: $LATEST, a version's number, "
            "or an alias of 1 to 128 letters, digits, - or _",
        ),
        (
            {"function": "f:blue", "qualifier": "green"},
            "Qualifier: The derived qualifier from the function name does not match the specified "
            "qualifier. Fix: write f and keep Qualifier",
        ),
    ],
)
def test_a_wrong_option_is_refused_with_its_place_and_field(options: dict[str, Any], message: str) -> None:
    assert said({"function": "f"} | options) == [message]


def test_a_function_is_required() -> None:
    assert said({"on_failure": "log:"}) == ["FunctionName: is required"]


@pytest.mark.parametrize(
    "destination",
    [
        "function:g",
        "function:ff",
        "local:f",
        "arn:aws:sqs:eu-west-1:123456789012:f",
        f"{ARN}2",
        "arn:aws:s3:::f",
        "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:f?endpoint_url=http://127.0.0.1:4566",
    ],
)
def test_others_of_a_like_name_are_destinations(destination: str) -> None:
    assert load(on_failure=destination).on_failure == destination


def test_all_problems_are_told_together() -> None:
    options = {
        "FunctionName": "f:blue",
        "Qualifier": "green",
        "DestinationConfig": {"OnSuccess": {"Destination": "arn:x"}, "OnFailure": {"Destination": "log:"}},
        "OnFailure": "function:f",
        "MaximumRetryAttempts": -1,
        "Retries": 1,
    }
    assert [line.split(": ")[0] for line in said(options)] == [
        "DestinationConfig.OnFailure.Destination",
        "Qualifier",
        "MaximumRetryAttempts",
        "DestinationConfig.OnSuccess.Destination",
        "OnFailure",
        "Retries",
    ]


def test_wrong_forms_do_not_hide_the_rest() -> None:
    form = {"DeadLetterConfig": {"Target": "x"}, "DestinationConfig": {"OnFailure": {"Destination": "y"}}}
    assert [line.split(": ")[0] for line in said({"function": "f", "qualifier": "", **form})] == [
        "DeadLetterConfig.Target",
        "Qualifier",
        "DestinationConfig.OnFailure.Destination",
    ]


def test_the_place_is_the_line_that_called() -> None:
    with pytest.raises(ConfigurationErrors, match=r"test_invoking\.py:\d+: Qualifier: "):
        EventInvokeConfig.load({"function": "f", "qualifier": ""})


# ----------------------------------------------------------------------------- what a destination says


def test_an_error_of_a_destination_gets_the_place_and_the_field_of_its_option() -> None:
    lines = {("on_success",): 3, ("destination_config", "on_failure", "destination"): 5}
    form = {"OnFailure": {"Destination": "file:"}}
    options = {"function": "f", "on_success": "file:", "DestinationConfig": form}
    config = EventInvokeConfig.load(options, Places("f.yaml", lines))
    assert str(config.located(ConfigurationError("no path"), "on_success")) == "f.yaml:3: OnSuccess: no path"
    assert (
        str(config.located(ConfigurationError("no path"), "on_failure"))
        == "f.yaml:5: DestinationConfig.OnFailure.Destination: no path"
    )
    missing = config.located(MissingExtra("needs x", field="Destination"), "on_success").errors[0]
    assert isinstance(missing, MissingExtra)
    assert (missing.field, missing.where) == ("OnSuccess", "f.yaml:3")
