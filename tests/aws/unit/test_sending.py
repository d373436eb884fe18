"""How messages travel: in which batches, and what becomes of those that fail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import SendFailure
from streamfn.testing.clock import clock, virtual_backend
from streamfn_aws.destinations.sending import (
    Delivery,
    Entry,
    Fault,
    Limits,
    fault_of,
    packed,
)
from streamfn_aws.errors import ServiceError

LIMITS = Limits(count=3, size=10, width=2)
PASSING = Fault("busy")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def entries(*lanes: str | None, size: int = 1) -> list[Entry]:
    return [Entry(index, {}, size, lane) for index, lane in enumerate(lanes)]


def indexes(batches: Sequence[Sequence[Entry]]) -> list[list[int]]:
    return [[entry.index for entry in batch] for batch in batches]


# ------------------------------------------------------------------------------------------- packing


def test_what_has_no_order_fills_batches() -> None:
    batches, waiting = packed(entries(*[None] * 8), LIMITS)
    assert (indexes(batches), indexes([waiting])) == ([[0, 1, 2], [3, 4, 5]], [[6, 7]])


def test_a_lane_is_in_one_batch_only() -> None:
    batches, waiting = packed(entries("a", "a", "a", "a", "b", "a", "b"), LIMITS)
    assert (indexes(batches), indexes([waiting])) == ([[0, 1, 2], [4, 6]], [[3, 5]])


def test_what_is_larger_than_a_call_goes_alone() -> None:
    sizes = [4, 6, 1, 99, 1]
    batches, waiting = packed(
        [Entry(index, {}, size) for index, size in enumerate(sizes)], Limits(count=3, size=10, width=9)
    )
    assert (indexes(batches), waiting) == ([[0, 1], [2], [3], [4]], [])


@given(
    st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(0, 12)), max_size=60),
    st.builds(Limits, count=st.integers(1, 5), size=st.integers(1, 12), width=st.integers(1, 4)),
)
def test_packing_keeps_every_promise(given_: list[tuple[str | None, int]], limits: Limits) -> None:
    left = [Entry(index, {}, size, lane) for index, (lane, size) in enumerate(given_)]
    sent: dict[str | None, list[int]] = defaultdict(list)
    while left:
        batches, waiting = packed(left, limits)
        assert 1 <= len(batches) <= limits.width
        for batch in batches:
            assert len(batch) <= limits.count
            assert len(batch) == 1 or sum(entry.size for entry in batch) <= limits.size
        lanes = [lane for batch in batches for lane in {entry.lane for entry in batch} - {None}]
        assert len(lanes) == len(set(lanes))
        for batch in batches:
            for entry in batch:
                sent[entry.lane].append(entry.index)
        assert waiting == sorted(waiting, key=lambda entry: entry.index)
        assert sum(map(len, batches)) + len(waiting) == len(left)
        left = waiting
    for lane, order in sent.items():
        assert lane is None or order == sorted(order)
    assert sorted(index for order in sent.values() for index in order) == list(range(len(given_)))


# ------------------------------------------------------------------------------------------ delivery

Answer = Mapping[int, Fault] | Exception


class Service:
    """Answers each call as it is told, by the indexes that are sent."""

    def __init__(self, answer: Callable[[list[int], int], Answer]) -> None:
        self.answer = answer
        self.calls: list[list[int]] = []
        self.taken: list[int] = []
        self.under_way = 0
        self.at_most = 0

    async def __call__(self, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        sent = [entry.index for entry in batch]
        self.calls.append(sent)
        self.under_way += 1
        self.at_most = max(self.at_most, self.under_way)
        await anyio.sleep(0.01)
        self.under_way -= 1
        answer = self.answer(sent, len(self.calls))
        if isinstance(answer, Exception):
            raise answer
        self.taken += [index for index in sent if index not in answer]
        return answer

    async def deliver(self, given: Sequence[Entry], limits: Limits = LIMITS) -> list[SendFailure]:
        with anyio.fail_after(60):
            until = anyio.current_time() + 15
            return await Delivery("sqs://q", limits, self, until).run(given)


@pytest.mark.anyio
async def test_batches_travel_at_the_same_time() -> None:
    service = Service(lambda sent, call: {})
    assert await service.deliver(entries(*[None] * 30)) == []
    assert (len(service.calls), service.at_most, sorted(service.taken)) == (10, 2, list(range(30)))


@pytest.mark.anyio
async def test_what_fails_goes_again_before_what_follows_in_its_lane() -> None:
    service = Service(lambda sent, call: {1: PASSING, 2: PASSING} if call <= 2 and 1 in sent else {})
    assert await service.deliver(entries(*["a"] * 7)) == []
    assert service.calls == [[0, 1, 2], [1, 2, 3], [1, 2, 4], [5, 6]]


@pytest.mark.anyio
async def test_what_is_throttled_to_the_end_is_told_in_time_and_goes_no_further() -> None:
    service = Service(lambda sent, call: ServiceError("Send", "RequestThrottled", "slow", 503))
    began = clock()
    failures = await service.deliver(entries("a", "a", "a", "a"))
    assert [(failure.index, failure.retryable) for failure in failures] == [(i, True) for i in range(4)]
    assert "RequestThrottled" in failures[0].reason
    assert 5 < clock() - began <= 15
    assert 5 < len(service.calls) < 30
    assert all(3 not in sent for sent in service.calls)


@pytest.mark.anyio
@pytest.mark.parametrize("answers", [0, 1])
async def test_time_that_runs_out_is_an_outage_only_if_nobody_ever_answered(answers: int) -> None:
    calls = 0

    async def post(batch: Sequence[Entry]) -> Mapping[int, Fault]:
        nonlocal calls
        calls += 1
        if calls > answers:
            await anyio.sleep_forever()
        return {entry.index: PASSING for entry in batch}

    delivery = Delivery("sqs://q", LIMITS, post, anyio.current_time() + 15)
    if answers:
        failures = await delivery.run(entries("a", "a"))
        assert [(failure.index, failure.retryable) for failure in failures] == [(0, True), (1, True)]
    else:
        with pytest.raises(TimeoutError, match="not taken in time"):
            await delivery.run(entries("a", "a"))


@pytest.mark.anyio
async def test_a_call_that_is_refused_as_a_whole_tells_who_is_to_blame() -> None:
    def answer(sent: list[int], call: int) -> Answer:
        return ServiceError("Send", "InvalidMessageContents", "no", 400) if {2, 5} & set(sent) else {}

    service = Service(answer)
    failures = await service.deliver(entries(*["a"] * 8), Limits(count=10, size=99))
    assert [(failure.index, failure.retryable) for failure in failures] == [(2, False), (5, False)]
    assert service.taken == [0, 1, 3, 4, 6, 7]


@pytest.mark.anyio
async def test_halves_keep_their_order_when_the_first_fails_in_passing() -> None:
    def answer(sent: list[int], call: int) -> Answer:
        if len(sent) == 4:
            return ServiceError("Send", "BatchRequestTooLong", "no", 400)
        return dict.fromkeys(sent, PASSING) if call == 2 else {}

    service = Service(answer)
    assert await service.deliver(entries(*["a"] * 4), Limits(count=4, size=99)) == []
    assert service.calls == [[0, 1, 2, 3], [0, 1], [0, 1, 2, 3], [0, 1], [2, 3]]


@pytest.mark.anyio
async def test_nothing_is_tried_again_where_only_a_person_can_mend() -> None:
    service = Service(lambda sent, call: ServiceError("Send", "AccessDenied", "no", 403))
    with pytest.raises(SourceError, match="allow the action Send") as error:
        await service.deliver(entries(*["a"] * 9))
    assert not error.value.retryable
    assert len(service.calls) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (ConnectionError("gone"), ConnectionError),
        (ConfigurationError("there are no credentials", fix="log in"), SourceError),
    ],
)
async def test_out_of_reach_raises_only_where_nothing_was_taken(
    trouble: Exception, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=str(trouble)):
        await Service(lambda sent, call: trouble).deliver(entries(*["a"] * 9))
    failures = await Service(lambda sent, call: {} if call == 1 else trouble).deliver(entries(*["a"] * 9))
    assert [failure.index for failure in failures] == list(range(3, 9))
    assert all(failure.retryable and str(trouble) in failure.reason for failure in failures)


@pytest.mark.anyio
async def test_a_service_that_does_not_answer_is_not_waited_for() -> None:
    async def never(batch: Sequence[Entry]) -> Mapping[int, Fault]:
        await anyio.Event().wait()
        raise AssertionError

    began = clock()
    with pytest.raises(TimeoutError, match="sqs://q: not taken in time"):
        await Delivery("sqs://q", LIMITS, never, anyio.current_time() + 5).run(entries(None))
    assert clock() - began == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(
    ("code", "status", "fate"),
    [
        ("RequestThrottled", 400, "again"),
        ("SlowDown", 503, "again"),
        ("InternalError", 500, "again"),
        ("QueueDoesNotExist", 400, "mend"),
        ("ExpiredToken", 400, "mend"),
        ("KMSDisabledException", 400, "mend"),
        ("RequestTimeTooSkewed", 403, "mend"),
        ("PermanentRedirect", 301, "mend"),
        ("InvalidMessageContents", 400, "refused"),
        ("413", 413, "refused"),
    ],
)
def test_what_an_answer_means(code: str, status: int, fate: str) -> None:
    fault = fault_of("sqs://q", ServiceError("Send", code, "so", status))
    assert code in fault.reason
    assert fault.refused is (fate == "refused")
    assert isinstance(fault.error, SourceError) is (fate == "mend")
