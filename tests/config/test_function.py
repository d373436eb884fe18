"""Options of functions, and functions that mappings name by version or alias."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.config import ConfigurationErrors, EventSourceMapping, FunctionConfig

PACKAGE: dict[str, Any] = {"code_uri": "build", "runtime": "python3.12", "handler": "app.handler"}
WHERE = "app.py:3"


def said(options: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        FunctionConfig.load(options, WHERE)
    return [str(error).removeprefix(f"{WHERE}: ") for error in caught.value.errors]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "Handler: is required"),
        (
            {"handler": "app.f"},
            "Handler: must be module:name, not 'app.f'. Fix: write for example app:handler",
        ),
        (
            {"code_uri": "build", "handler": "app.handler"},
            "Runtime: is required. Fix: write one such as python3.12",
        ),
        (
            {"code_uri": "build", "runtime": "python3.12"},
            "Handler: is required. Fix: write one such as app.handler",
        ),
        (
            PACKAGE | {"inline_code": "x"},
            "code_uri and inline_code exclude each other. Fix: leave one out",
        ),
        (
            {"handler": "app:f", "environment": {"A": "b"}},
            "environment needs code_uri or inline_code. Fix: give one of them, or remove environment",
        ),
        (PACKAGE | {"each": "m:M"}, "each is for functions in this process. Fix: remove each"),
        (PACKAGE | {"memory_size": 127}, "MemorySize: must be 128 to 10240, not 127"),
        (PACKAGE | {"MemorySize": 10_241}, "MemorySize: must be 128 to 10240, not 10241"),
        (PACKAGE | {"ephemeral_storage": 511}, "EphemeralStorage: must be 512 to 10240, not 511"),
        (
            PACKAGE | {"network": "a b"},
            "Network: 'a b' names no network namespace. Fix: write none, or a name from `ip netns`",
        ),
        (
            PACKAGE | {"provisioned_concurrency": {"minimum": 3, "maximum": 2}},
            "ProvisionedConcurrency: maximum must be at least the minimum, not 2",
        ),
        (
            PACKAGE | {"layers": ["a"] * 6},
            "Layers: Tuple should have at most 5 items after validation, not 6",
        ),
        (PACKAGE | {"tiemout": 3}, "tiemout: unknown option. Fix: did you mean timeout?"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], problem: str) -> None:
    assert said(options) == [problem]


def test_a_schedule_that_cannot_be_read_is_refused() -> None:
    (problem,) = said(
        PACKAGE | {"provisioned_concurrency": {"schedule": [{"schedule": "cron(", "number": 1}]}}
    )
    assert problem.startswith("ProvisionedConcurrency.Schedule[0]: ")
    assert "cron(" in problem


def test_both_spellings_and_aws_forms_are_taken() -> None:
    ours = FunctionConfig.load(
        PACKAGE | {"memory_size": 256, "ephemeral_storage": 600, "environment": {"A": "1", "B": "true"}}
    )
    theirs = FunctionConfig.load(
        {
            "CodeUri": "build",
            "Runtime": "python3.12",
            "Handler": "app.handler",
            "MemorySize": 256,
            "EphemeralStorage": {"Size": 600},
            "Environment": {"Variables": {"A": 1, "B": True}},
        }
    )
    assert ours == theirs
    assert ours.deployment("f").environment == {"A": "1", "B": "true"}


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({"handler": "app:f"}, 60.0), (PACKAGE, 3.0), (PACKAGE | {"timeout": 7.5}, 7.5)],
)
def test_timeouts_without_a_word_are_lambdas_for_packages(options: dict[str, Any], seconds: float) -> None:
    assert FunctionConfig.load(options).seconds == seconds


@pytest.mark.parametrize(
    ("code_uri", "elsewhere"),
    [
        ("http://127.0.0.1:9/f", True),
        ("lambda:resize", True),
        ("arn:aws:lambda:eu-west-1:123456789012:function:resize", True),
        ("docker:image:latest", True),
        ("./build", False),
        ("build.zip", False),
    ],
)
def test_an_address_is_known_by_its_scheme(code_uri: str, elsewhere: bool) -> None:
    options = {"code_uri": code_uri} if elsewhere else PACKAGE | {"code_uri": code_uri}
    assert FunctionConfig.load(options).runs_elsewhere is elsewhere


def test_values_of_variables_are_not_in_what_is_printed() -> None:
    config = FunctionConfig.load(PACKAGE | {"environment": {"PASSWORD": "hush"}})
    assert "hush" not in repr(config)
    assert "hush" not in repr(config.deployment("f"))


def test_provisioned_concurrency_is_a_number_or_says_when() -> None:
    plain = FunctionConfig.load(PACKAGE | {"provisioned_concurrency": 5}).provisioned_concurrency
    assert plain is not None
    assert plain.provisioning().number == 5
    planned = FunctionConfig.load(
        PACKAGE
        | {
            "provisioned_concurrency": {
                "number": 1,
                "schedule": [
                    {"schedule": "cron(0 8 * * ? *)", "number": 10},
                    {"schedule": "cron(0 20 * * ? *)", "number": 2},
                ],
            }
        }
    ).provisioned_concurrency
    assert planned is not None
    nine, midnight = 1_700_038_800.0, 1_700_006_400.0  # 2023-11-15 at 09:00 and 00:00 UTC
    assert planned.provisioning().scheduled(nine) == 10
    assert planned.provisioning().scheduled(midnight) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"function": "f:prod"},
        {"function": "arn:aws:lambda:eu-west-1:123456789012:function:f:prod"},
        {"function": "f", "Qualifier": "prod"},
        {"function": "f:prod", "qualifier": "prod"},
    ],
)
def test_a_mapping_may_name_a_version_or_an_alias(options: dict[str, Any]) -> None:
    mapping = EventSourceMapping.load({"source": "local:flights"} | options)
    assert (mapping.function, mapping.qualifier, mapping.name) == ("f", "prod", "f-prod-flights")
