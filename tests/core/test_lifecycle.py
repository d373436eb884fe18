"""The laws of a mapping's life."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamfn.core.lifecycle import (
    TRANSITIONS,
    InvalidTransition,
    MappingEvent,
    MappingState,
    ProcessingResult,
    TransitionReason,
    connection_error,
    mermaid,
    transition,
)

SETTLED = {MappingState.ENABLED, MappingState.DISABLED}
REQUESTS = {MappingEvent.ENABLE, MappingEvent.DISABLE, MappingEvent.UPDATE, MappingEvent.DELETE}


class Living(RuleBasedStateMachine):
    """Any events in any order, against the rules in words."""

    def __init__(self) -> None:
        super().__init__()
        self.state = MappingState.CREATING

    @rule(event=st.sampled_from(MappingEvent))
    def happen(self, event: MappingEvent) -> None:
        before = self.state
        try:
            self.state = transition(before, event)
        except InvalidTransition as error:
            assert (error.state, error.event) == (before, event)  # noqa: PT017
            allowed = False
        else:
            allowed = True
        assert allowed == ((before, event) in TRANSITIONS)
        # Requests are refused while a mapping is on its way: ResourceInUseException.
        assert before in SETTLED or not (allowed and event in REQUESTS)
        led_to = {self.state} if allowed else set()
        if event is MappingEvent.STARTED:
            assert led_to <= {MappingState.ENABLED}
        if event is MappingEvent.STOPPED:
            assert led_to <= {MappingState.DISABLED, MappingState.DELETED}

    @invariant()
    def it_can_be_disabled_or_is_deleted(self) -> None:
        state = self.state
        for event in (MappingEvent.DISABLE, MappingEvent.STOPPED):
            if (state, event) in TRANSITIONS:
                state = transition(state, event)
        assert state in {MappingState.DISABLED, MappingState.DELETED}


Living.TestCase.settings = settings(stateful_step_count=20)
TestLiving = Living.TestCase


def test_every_state_is_reached_and_every_one_but_deleted_is_left() -> None:
    assert {state for state, _ in TRANSITIONS} == set(MappingState) - {MappingState.DELETED}
    assert set(TRANSITIONS.values()) == set(MappingState) - {MappingState.CREATING}


@pytest.mark.parametrize(
    ("events", "states"),
    [
        (["started"], ["Enabled"]),
        (["stopped", "enable", "started"], ["Disabled", "Enabling", "Enabled"]),
        (["started", "disable", "stopped"], ["Enabled", "Disabling", "Disabled"]),
        (["started", "update", "started"], ["Enabled", "Updating", "Enabled"]),
        (["stopped", "update", "stopped"], ["Disabled", "Updating", "Disabled"]),
        (["started", "delete", "stopped"], ["Enabled", "Deleting", "Deleted"]),
        (["started", "stopped"], ["Enabled", "Disabled"]),
    ],
    ids=lambda words: "-".join(words),
)
def test_the_ways_that_aws_shows(events: list[str], states: list[str]) -> None:
    state = MappingState.CREATING
    seen = []
    for event in events:
        state = transition(state, MappingEvent(event))
        seen.append(state.value)
    assert seen == states


def test_an_update_while_creating_is_refused_in_words() -> None:
    with pytest.raises(InvalidTransition, match="a mapping that is Creating cannot update"):
        transition(MappingState.CREATING, MappingEvent.UPDATE)


def test_the_diagram_shows_each_transition_once() -> None:
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert lines[1] == "    [*] --> Creating"
    assert lines[-1] == "    Deleted --> [*]"
    assert "    Disabled --> Enabling: enable" in lines
    assert len(lines) == len(set(lines)) == len(TRANSITIONS) + 3


def test_reasons_and_results_are_spelled_as_on_aws() -> None:
    assert TransitionReason.USER_ACTION.value == "User action"
    assert TransitionReason.USER_INITIATED.value == "USER_INITIATED"
    assert ProcessingResult.NO_RECORDS_PROCESSED.value == "No records processed"
    assert connection_error("No route.") == "PROBLEM: Connection error. No route."
