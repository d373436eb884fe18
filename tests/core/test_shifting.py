"""How traffic moves from one version to another, and when it goes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.shifting import Guard, Pace, Shift, check_guard, pace_of, reverted, shifted
from streamfn.core.versions import Alias
from streamfn.errors import ConfigurationError


@pytest.mark.parametrize(
    ("preference", "pace"),
    [
        ("AllAtOnce", Pace(1.0, 0.0, False)),
        ("CodeDeployDefault.LambdaAllAtOnce", Pace(1.0, 0.0, False)),
        ("Canary10Percent5Minutes", Pace(0.1, 300.0, False)),
        ("Canary10Percent30Minutes", Pace(0.1, 1800.0, False)),
        ("CodeDeployDefault.LambdaCanary10Percent15Minutes", Pace(0.1, 900.0, False)),
        ("Linear10PercentEvery1Minute", Pace(0.1, 60.0, True)),
        ("LambdaLinear10PercentEvery10Minutes", Pace(0.1, 600.0, True)),
        ("Linear25PercentEvery2Seconds", Pace(0.25, 2.0, True)),
        ("Canary50Percent1Hour", Pace(0.5, 3600.0, False)),
    ],
)
def test_the_words_of_codedeploy(preference: str, pace: Pace) -> None:
    assert pace_of(preference) == pace


@pytest.mark.parametrize(
    "preference",
    [
        "",
        "Canary",
        "canary10percent5minutes",
        "Canary0Percent5Minutes",
        "Canary100Percent5Minutes",
        "Canary10Percent0Minutes",
        "Linear10PercentEvery0Minutes",
        "Linear10Percent5Minutes",
        "Canary10PercentEvery5Minutes",
        "AllAtOnce5Minutes",
        "Canary10Percent5Days",
        "Canary10Percent5Minutes\n",
    ],
)
def test_other_words_say_nothing(preference: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        pace_of(preference)
    assert error.value.field == "DeploymentPreference"


@pytest.mark.parametrize(
    ("preference", "weights"),
    [
        ("AllAtOnce", {-5.0: 1.0, 0.0: 1.0, 9.0: 1.0}),
        ("Canary10Percent5Minutes", {-5.0: 0.1, 0.0: 0.1, 299.9: 0.1, 300.0: 1.0, 1e9: 1.0}),
        (
            "Linear10PercentEvery1Minute",
            {-5.0: 0.1, 0.0: 0.1, 59.9: 0.1, 60.0: 0.2, 120.0: 0.3, 480.0: 0.9, 540.0: 1.0, 1e9: 1.0},
        ),
        ("Linear30PercentEvery1Second", {0.0: 0.3, 1.0: 0.6, 2.0: 0.9, 3.0: 1.0}),
    ],
)
def test_the_share_grows_with_time(preference: str, weights: dict[float, float]) -> None:
    pace = pace_of(preference)
    assert {elapsed: pace.weight(elapsed) for elapsed in weights} == weights


@given(
    st.one_of(
        st.builds("Canary{}Percent{}Seconds".format, st.integers(1, 99), st.integers(1, 999)),
        st.builds("Linear{}PercentEvery{}Minutes".format, st.integers(1, 99), st.integers(1, 99)),
    )
)
def test_whoever_waits_for_each_step_sees_all_of_them_and_an_end(preference: str) -> None:
    pace, elapsed, seen = pace_of(preference), 0.0, [0.0]
    while (weight := pace.weight(elapsed)) < 1.0:
        assert weight > seen[-1]
        seen.append(weight)
        assert len(seen) <= 100
        pause = pace.next(elapsed)
        assert 0.0 < pause <= pace.pause
        assert pace.weight(elapsed + pause / 2) == weight
        elapsed += pause


def test_before_the_beginning_it_waits_for_the_first_step() -> None:
    assert pace_of("Canary10Percent5Minutes").next(-10.0) == 300.0
    assert pace_of("AllAtOnce").next(-10.0) == 0.0


@pytest.mark.parametrize(
    ("guard", "invocations", "errors", "trips"),
    [
        (Guard(0.05, 20), 19, 19, False),
        (Guard(0.05, 20), 20, 1, False),
        (Guard(0.05, 20), 20, 2, True),
        (Guard(0.0, 1), 1, 1, True),
        (Guard(0.0, 1), 0, 0, False),
        (Guard(1.0, 1), 100, 100, False),
        (Guard(0.0, 0), 0, 0, False),
    ],
)
def test_too_many_errors_trip_the_guard(guard: Guard, invocations: int, errors: int, trips: bool) -> None:
    assert guard.trips(invocations, errors) is trips


@pytest.mark.parametrize(
    ("guard", "field"),
    [(Guard(-0.1), "error_rate"), (Guard(1.1), "error_rate"), (Guard(0.1, 0), "invocations")],
)
def test_a_guard_that_means_nothing_is_refused(guard: Guard, field: str) -> None:
    check_guard(Guard())
    with pytest.raises(ConfigurationError) as error:
        check_guard(guard)
    assert error.value.field == field


def test_an_alias_moves_and_goes_back() -> None:
    alias = Alias("orders", "live", "1", description="kept", revision_id="r")
    shift = Shift("2", "Canary10Percent5Minutes", 1000.0)
    assert (shift.weight(1299.0), shift.next(1299.0)) == (0.1, 1.0)
    moving = shifted(alias, shift, 1000.0)
    assert moving == Alias("orders", "live", "1", {"2": 0.1}, "kept", "r", shift)
    assert shifted(moving, shift, 1299.0) == moving
    assert shifted(moving, shift, 1300.0) == Alias("orders", "live", "2", {}, "kept", "r")
    assert reverted(moving) == alias
