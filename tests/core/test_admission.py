"""The arithmetic of concurrency, in AWS's words, and the laws of how fast environments are added."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamfn.core.admission import Account, InvalidConcurrency, ScaleUp

BELOW_MINIMUM = (
    "Specified {} for function decreases account's UnreservedConcurrentExecution below its minimum value of "
    "[100]."
)


def test_an_account_has_a_thousand_and_nothing_is_reserved() -> None:
    assert Account().unreserved == 1000
    assert Account().limit_of("f") == 1000


def test_what_is_reserved_is_a_guarantee_and_a_cap() -> None:
    account = Account().reserve("f", 900)
    assert account.unreserved == 100
    assert account.limit_of("f") == 900
    assert account.limit_of("g") == 100


def test_a_hundred_stay_unreserved() -> None:
    with pytest.raises(InvalidConcurrency) as caught:
        Account().reserve("f", 901)
    assert str(caught.value) == BELOW_MINIMUM.format("ReservedConcurrentExecutions")


def test_what_a_function_has_reserved_already_does_not_count_against_it() -> None:
    account = Account().reserve("f", 900).reserve("f", 850)
    assert account.unreserved == 150
    assert account.reserve("f", None).unreserved == 1000


def test_zero_switches_a_function_off() -> None:
    account = Account().reserve("f", 0)
    assert account.limit_of("f") == 0
    assert account.unreserved == 1000


def test_an_account_that_is_too_small_can_still_switch_functions_off() -> None:
    small = Account(limit=50)
    assert small.reserve("f", 0).limit_of("f") == 0
    with pytest.raises(InvalidConcurrency, match=r"minimum value of \[100\]"):
        small.reserve("f", 1)


def test_numbers_below_zero_are_refused() -> None:
    with pytest.raises(InvalidConcurrency, match="ReservedConcurrentExecutions is -1, less than 0"):
        Account().reserve("f", -1)
    with pytest.raises(InvalidConcurrency, match="ProvisionedConcurrentExecutions is -1, less than 0"):
        Account().provision("f", "1", -1)


def test_a_reservation_covers_what_is_provisioned() -> None:
    account = Account().provision("f", "1", 1).provision("f", "live", 1)
    with pytest.raises(InvalidConcurrency) as caught:
        account.reserve("f", 1)
    assert str(caught.value) == (
        " ReservedConcurrentExecutions  1 should not be lower than function's total provisioned concurrency "
        "[2]."
    )
    assert account.reserve("f", 2).unreserved == 998


@pytest.mark.parametrize("qualifier", ["", "$LATEST"])
def test_only_what_is_published_can_be_provisioned(qualifier: str) -> None:
    with pytest.raises(InvalidConcurrency) as caught:
        Account().provision("f", qualifier, 1)
    assert str(caught.value) == (
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    )


def test_what_is_provisioned_comes_out_of_the_unreserved_or_out_of_the_reservation() -> None:
    account = Account().provision("f", "1", 300)
    assert account.unreserved == 700
    assert account.limit_of("f") == 1000
    assert account.provision("f", "1", 0).unreserved == 1000
    reserved = Account().reserve("f", 300).provision("f", "1", 300)
    assert reserved.unreserved == 700
    assert reserved.limit_of("f") == 300


def test_no_more_is_provisioned_than_is_reserved() -> None:
    account = Account().reserve("f", 3).provision("f", "1", 2)
    with pytest.raises(InvalidConcurrency, match="Requested Provisioned Concurrency should not be greater"):
        account.provision("f", "2", 2)
    assert account.provision("f", "1", 0).provision("f", "2", 3).provisioned_of("f") == 3


def test_no_more_is_provisioned_than_is_unreserved() -> None:
    account = Account().reserve("other", 200).provision("f", "1", 100)
    with pytest.raises(InvalidConcurrency) as caught:
        account.provision("f", "1", 801)
    assert str(caught.value) == (
        "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [800]."
    )
    with pytest.raises(InvalidConcurrency) as caught:
        account.provision("f", "1", 701)
    assert str(caught.value) == BELOW_MINIMUM.format("ConcurrentExecutions")
    assert account.provision("f", "1", 700).unreserved == 100


def test_the_reason_of_a_throttle_tells_whose_limit_it_was() -> None:
    account = Account().reserve("f", 1)
    assert account.reason("f") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert account.reason("g") == "ConcurrentInvocationLimitExceeded"


def test_claimed_is_what_is_in_use_and_what_is_set_apart() -> None:
    account = Account().reserve("f", 100).provision("g", "1", 10)
    assert account.claimed({}) == 110
    assert account.claimed({"f": 40, "g": 15, "h": 5}) == 120


class Accounting(RuleBasedStateMachine):
    """Whatever is asked for, in any order, an account never gives away what it does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account()

    @rule(function=st.sampled_from("fg"), number=st.none() | st.integers(0, 1000))
    def reserve(self, function: str, number: int | None) -> None:
        with suppress(InvalidConcurrency):
            self.account = self.account.reserve(function, number)

    @rule(function=st.sampled_from("fg"), qualifier=st.sampled_from("12"), number=st.integers(0, 1000))
    def provision(self, function: str, qualifier: str, number: int) -> None:
        with suppress(InvalidConcurrency):
            self.account = self.account.provision(function, qualifier, number)

    @rule(function=st.sampled_from("fg"))
    def end_a_reservation(self, function: str) -> None:
        self.account = self.account.reserve(function, None)

    @invariant()
    def enough_is_left(self) -> None:
        assert 100 <= self.account.unreserved <= 1000
        for function, reserved in self.account.reserved.items():
            assert self.account.provisioned_of(function) <= reserved
        assert self.account.claimed({}) == 1000 - self.account.unreserved


TestAccounting = Accounting.TestCase


def test_environments_are_added_at_a_limited_rate() -> None:
    scale_up = ScaleUp(limit=2, seconds=10)
    assert scale_up.admit(0) == 0
    assert scale_up.admit(4) == 0
    assert scale_up.admit(5) == 5
    assert scale_up.admit(10) == 0
    assert scale_up.admit(11) == 3


def test_a_limit_of_none_adds_none() -> None:
    assert ScaleUp(limit=0, seconds=10).admit(0) == 10


@given(
    st.integers(1, 5),
    st.lists(st.floats(0, 8, allow_nan=False), max_size=60),
)
def test_no_span_of_time_sees_more_than_the_limit(limit: int, pauses: list[float]) -> None:
    scale_up, now, added = ScaleUp(limit=limit, seconds=10), 0.0, []
    for pause in pauses:
        now += pause
        if scale_up.admit(now) == 0:
            added.append(now)
    for end in added:
        assert sum(end - 10 < one <= end for one in added) <= limit


@given(st.integers(1, 5), st.floats(0, 30, allow_nan=False))
def test_who_waits_as_long_as_told_is_admitted(limit: int, begin: float) -> None:
    scale_up = ScaleUp(limit=limit, seconds=10)
    for _ in range(limit):
        assert scale_up.admit(begin) == 0
    delay = scale_up.admit(begin)
    assert 0 < delay <= 10 + 1e-9
    assert scale_up.admit(begin + 10) == 0
