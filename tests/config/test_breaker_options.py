"""The options of the circuit breaker of a mapping, and of the adaptive concurrency of a function."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from streamfn.config import DYNAMODB, FIFO, KAFKA, QUEUE, STREAM, Kind
from streamfn.config.adapting import AdaptiveConcurrency, AdaptiveOption
from streamfn.config.errors import ConfigurationErrors, Places, translate
from streamfn.config.mapping import CircuitBreaker, EventSourceMapping
from streamfn.core.breaking import BreakerPolicy
from streamfn.core.limiting import Algorithm, LimitPolicy
from tests.config.test_kinds import load

ALL = {
    "failures": 3,
    "failure_rate": 0.25,
    "minimum_calls": 8,
    "window": 30,
    "delay": 5,
    "maximum_delay": 50,
}


def spelled(options: dict[str, Any]) -> dict[str, Any]:
    return {"".join(word.title() for word in name.split("_")): value for name, value in options.items()}


def problems(**options: Any) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        load(**options)
    # Not where it stands, which is here.
    return [str(error).partition(": ")[2] for error in caught.value.errors]


# --------------------------------------------------------------------------------------- circuit breaker


def test_there_is_none_unless_one_is_asked_for() -> None:
    assert load().breaker_policy() is None
    for name, nothing in (("circuit_breaker", False), ("CircuitBreaker", False), ("circuit_breaker", None)):
        assert load(**{name: nothing}).breaker_policy() is None
    assert EventSourceMapping.default("circuit_breaker") is None


def test_true_is_one_with_its_defaults_which_are_those_of_the_core() -> None:
    for name, value in (("circuit_breaker", True), ("CircuitBreaker", {})):
        assert load(**{name: value}).breaker_policy() == BreakerPolicy()


def test_all_of_it_can_be_said_in_both_spellings() -> None:
    policy = BreakerPolicy(3, 0.25, 8, 30.0, 5.0, 50.0)
    assert load(circuit_breaker=ALL).breaker_policy() == policy
    assert load(CircuitBreaker=spelled(ALL)).breaker_policy() == policy
    assert load(circuit_breaker=CircuitBreaker(**ALL)).breaker_policy() == policy


def test_a_longer_delay_needs_no_longer_maximum_to_be_said() -> None:
    policy = load(circuit_breaker={"delay": 900}).breaker_policy()
    assert policy == BreakerPolicy(delay=900.0, maximum_delay=900.0)


@pytest.mark.parametrize("kind", [STREAM, DYNAMODB, KAFKA, QUEUE, FIFO], ids=lambda kind: kind.name)
def test_every_kind_of_source_takes_it(kind: Kind) -> None:
    load(circuit_breaker=ALL).check(kind)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"failures": 0}, "CircuitBreaker.Failures: must be 1 to 10000, not 0"),
        ({"failures": True}, "CircuitBreaker.Failures: must be a number, not true"),
        ({"failure_rate": 0}, "CircuitBreaker.FailureRate: must be more than 0 and at most 1, not 0"),
        ({"FailureRate": 1.5}, "CircuitBreaker.FailureRate: must be more than 0 and at most 1, not 1.5"),
        ({"failure_rate": True}, "CircuitBreaker.FailureRate: must be a number, not true"),
        ({"minimum_calls": 0}, "CircuitBreaker.MinimumCalls: must be 1 to 100000, not 0"),
        ({"window": 0.5}, "CircuitBreaker.Window: must be 1 to 3600 seconds, not 0.5"),
        ({"delay": 0}, "CircuitBreaker.Delay: must be 0.1 to 86400 seconds, not 0"),
        ({"delay": float("nan")}, "CircuitBreaker.Delay: must be 0.1 to 86400 seconds, not nan"),
        (
            {"delay": 20, "maximum_delay": 10},
            "CircuitBreaker: MaximumDelay, 10, is less than Delay, 20. Fix: set MaximumDelay to 20 or more",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        EventSourceMapping.load(
            {"function": "f", "source": "local:flights", "circuit_breaker": wrong}, Places("here")
        )
    assert str(caught.value) == f"here: {problem}"


def test_what_is_no_option_of_it_is_refused() -> None:
    for wrong in ({"failurs": 3}, "yes", 3):
        assert len(problems(circuit_breaker=wrong)) == 1


def test_it_can_be_changed_and_taken_away() -> None:
    mapping = load(circuit_breaker=True)
    assert mapping.updated({"CircuitBreaker": {"Failures": 9}}).breaker_policy() == BreakerPolicy(failures=9)
    assert mapping.updated({"circuit_breaker": False}).breaker_policy() is None
    assert mapping.updated({"batch_size": 1}).breaker_policy() == BreakerPolicy()


# -------------------------------------------------------------------------------- adaptive concurrency


class Function(BaseModel):
    adaptive_concurrency: AdaptiveOption = None


def adaptive(value: Any) -> AdaptiveConcurrency | None:
    return Function.model_validate({"adaptive_concurrency": value}).adaptive_concurrency


def test_false_is_none_and_a_name_is_an_algorithm_with_its_defaults() -> None:
    assert Function().adaptive_concurrency is adaptive(False) is adaptive(None) is None
    for value, algorithm in (
        ("aimd", Algorithm.AIMD),
        ("gradient", Algorithm.GRADIENT),
        (True, Algorithm.GRADIENT),
        ({}, Algorithm.GRADIENT),
    ):
        given = adaptive(value)
        assert given is not None
        assert given.policy() == LimitPolicy(algorithm)


def test_all_of_a_limit_can_be_said_in_both_spellings() -> None:
    common = {"minimum": 2, "maximum": 50, "initial": 5, "window": 0.5, "drop_rate": 0.2}
    for options, expected in (
        (
            {"algorithm": "aimd", "latency": 0.25} | common,
            LimitPolicy(Algorithm.AIMD, 2, 50, 5, 0.5, drop_rate=0.2, latency=0.25),
        ),
        (
            {"algorithm": "gradient", "tolerance": 2} | common,
            LimitPolicy(Algorithm.GRADIENT, 2, 50, 5, 0.5, drop_rate=0.2, tolerance=2.0),
        ),
    ):
        for form in (options, spelled(options)):
            given = adaptive(form)
            assert given is not None
            assert given.policy() == expected


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("vegas", "must be aimd, gradient, false or options, not 'vegas'"),
        ({"minimum": 0}, "must be 1 to 100000, not 0"),
        ({"minimum": 20, "maximum": 10}, "Minimum, 20, is more than Maximum, 10"),
        ({"minimum": 20, "initial": 10}, "Initial must be 20 to 1000, not 10"),
        ({"maximum": 20, "initial": 30}, "Initial must be 1 to 20, not 30"),
        ({"window": 0}, "must be 0.01 to 3600 seconds, not 0"),
        ({"drop_rate": 2}, "must be more than 0 and at most 1, not 2"),
        ({"latency": 1}, "Latency goes with algorithm aimd only"),
        ({"algorithm": "aimd", "tolerance": 2}, "Tolerance goes with algorithm gradient only"),
        ({"tolerance": 0.5}, "must be 1 to 10, not 0.5"),
        ({"tolerance": True}, "must be a number, not true"),
        ({"algorithm": "vegas"}, "must be 'aimd' or 'gradient', not 'vegas'"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(wrong: Any, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        adaptive(wrong)
    (error,) = translate(caught.value, Function, Places("here"), spell=False)
    assert problem in str(error)


def test_a_maximum_below_the_usual_beginning_is_where_it_begins() -> None:
    for options, initial in (({"maximum": 4}, 4), ({"minimum": 40}, 40)):
        given = adaptive(options)
        assert given is not None
        assert given.policy().initial == initial
