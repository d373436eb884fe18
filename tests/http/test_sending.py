"""Which message goes when: order, width, pauses and giving up, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from typing import Any, TypeAlias

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.ports import Message, SendFailure
from streamfn.testing.clock import clock, virtual_backend
from streamfn_http.answers import Answer
from streamfn_http.requests import Request, request_of
from streamfn_http.sending import Delivery, Lost, Unreachable, lanes_of

Says: TypeAlias = Answer | Exception

OK = Answer(200)
BUSY = Answer(503, "Busy")
BAD = Answer(400, "Bad")
GONE = Unreachable("http://x/: nobody")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def requests(*keys: str | None) -> list[Request]:
    return [request_of(index, Message(b"%d" % index, key)) for index, key in enumerate(keys)]


class Receiver:
    """Answers each request, a hundredth of a second later, as it is told by index and number of the try."""

    def __init__(self, says: Callable[[int, int], Says]) -> None:
        self.says = says
        self.calls: list[tuple[int, float]] = []
        self.taken: list[int] = []
        self.under_way = 0
        self.at_most = 0

    @property
    def order(self) -> list[int]:
        return [index for index, _ in self.calls]

    async def __call__(self, request: Request, until: float) -> Answer:
        self.calls.append((request.index, round(anyio.current_time() - self.began, 3)))
        self.under_way += 1
        self.at_most = max(self.at_most, self.under_way)
        await anyio.sleep(0.01)
        self.under_way -= 1
        said = self.says(request.index, self.order.count(request.index))
        if isinstance(said, Exception):
            raise said
        if said.status < 300:
            self.taken.append(request.index)
        return said

    async def deliver(self, given: list[Request], width: int = 3, seconds: float = 15) -> list[SendFailure]:
        self.began = anyio.current_time()
        with anyio.fail_after(100):
            return await Delivery(self, width, self.began + seconds, clock).run(given)


def test_lanes() -> None:
    def indexes(*keys: str | None) -> list[list[int]]:
        return [[request.index for request in lane] for lane in lanes_of(requests(*keys))]

    assert indexes("a", None, "b", "a", None, "b", "a") == [[0, 3, 6], [1], [2, 5], [4]]
    assert indexes("", None, "") == [[0, 2], [1]]
    assert indexes() == []


@pytest.mark.anyio
async def test_nothing_is_soon_sent() -> None:
    receiver = Receiver(lambda index, tries: OK)
    assert await receiver.deliver([]) == []


@pytest.mark.anyio
async def test_messages_travel_at_the_same_time_within_the_width() -> None:
    receiver = Receiver(lambda index, tries: OK)
    assert await receiver.deliver(requests(*[None] * 30)) == []
    assert (receiver.at_most, sorted(receiver.taken)) == (3, list(range(30)))


@pytest.mark.anyio
async def test_what_has_to_be_sent_again_goes_before_what_follows_with_its_key() -> None:
    receiver = Receiver(lambda index, tries: BUSY if index == 1 and tries < 4 else OK)
    assert await receiver.deliver(requests("a", "a", "a", "b")) == []
    assert [index for index in receiver.order if index != 3] == [0, 1, 1, 1, 1, 2]
    times = [at for index, at in receiver.calls if index == 1]
    pauses = [later - at - 0.01 for at, later in pairwise(times)]
    for pause, longest in zip(pauses, (0.1, 0.2, 0.4), strict=True):
        assert longest / 2 - 0.002 <= pause <= longest + 0.002


@pytest.mark.anyio
async def test_what_is_refused_holds_nobody_up() -> None:
    receiver = Receiver(lambda index, tries: BAD if index == 0 else OK)
    failures = await receiver.deliver(requests("a", "a"))
    assert failures == [SendFailure(0, "HTTP 400 Bad", retryable=False)]
    assert receiver.order == [0, 1]


@pytest.mark.anyio
@pytest.mark.parametrize("said", [BUSY, Lost("cut off"), TimeoutError("late")])
async def test_what_is_not_taken_in_time_may_come_again_and_what_follows_it_waits(said: Says) -> None:
    receiver = Receiver(lambda index, tries: OK if index == 2 else said)
    failures = await receiver.deliver(requests("a", "a", "b"))
    reason = "HTTP 503 Busy" if said is BUSY else str(said)
    assert failures == [SendFailure(0, reason), SendFailure(1, reason)]
    assert receiver.taken == [2]
    assert set(receiver.order) == {0, 2}
    assert 10 < receiver.calls[-1][1] < 15


@pytest.mark.anyio
async def test_the_last_answer_is_told_rather_than_that_time_ran_out() -> None:
    receiver = Receiver(lambda index, tries: BUSY if tries == 1 else TimeoutError("late"))
    assert await receiver.deliver(requests(None)) == [SendFailure(0, "HTTP 503 Busy")]


@pytest.mark.anyio
@pytest.mark.parametrize("said", [lambda: "4", lambda: formatdate(clock() + 4, usegmt=True)])
async def test_a_receiver_that_asks_for_a_pause_is_left_alone_by_all(said: Callable[[], str]) -> None:
    slow = Answer(429, retry_after=said())
    receiver = Receiver(lambda index, tries: slow if (index, tries) == (0, 1) else OK)
    assert await receiver.deliver(requests(*[None] * 9), width=1) == []
    assert receiver.order == [0, 0, *range(1, 9)]
    assert 3 <= receiver.calls[1][1] <= 4.1


@pytest.mark.anyio
async def test_a_pause_holds_back_those_that_wait_already() -> None:
    def says(index: int, tries: int) -> Says:
        if tries > 1:
            return OK
        return BUSY if index == 0 else Answer(503, retry_after="5")

    receiver = Receiver(says)
    assert await receiver.deliver(requests(None, None)) == []
    assert all(at >= 5 for _, at in receiver.calls[2:])
    assert len(receiver.calls) == 4


@pytest.mark.anyio
async def test_a_pause_beyond_the_time_ends_the_send_at_once() -> None:
    receiver = Receiver(lambda index, tries: Answer(429, "Slow Down", retry_after="60"))
    failures = await receiver.deliver(requests(None, None), width=1)
    assert failures == [
        SendFailure(0, "HTTP 429 Slow Down"),
        SendFailure(1, "there was no time left to send it"),
    ]
    assert receiver.calls == [(0, 0.0)]


@pytest.mark.anyio
async def test_nobody_at_all_is_told_at_once() -> None:
    receiver = Receiver(lambda index, tries: GONE)
    with pytest.raises(Unreachable, match="nobody"):
        await receiver.deliver(requests(*[None] * 9))
    assert receiver.order == [0, 1, 2]


@pytest.mark.anyio
async def test_a_receiver_that_goes_away_has_answered_for_what_it_took() -> None:
    receiver = Receiver(lambda index, tries: OK if index == 0 else GONE)
    failures = await receiver.deliver(requests(*[None] * 4), width=1)
    assert failures == [SendFailure(index, str(GONE)) for index in (1, 2, 3)]
    assert receiver.order == [0, 1]


@pytest.mark.anyio
async def test_whoever_only_answered_that_it_is_busy_was_there() -> None:
    receiver = Receiver(lambda index, tries: BUSY if tries == 1 else GONE)
    assert await receiver.deliver(requests(None)) == [SendFailure(0, str(GONE))]


@pytest.mark.anyio
async def test_whoever_never_answered_and_went_away_was_never_there() -> None:
    receiver = Receiver(lambda index, tries: Lost("cut off") if tries == 1 else GONE)
    with pytest.raises(Unreachable):
        await receiver.deliver(requests(None))


@given(
    keys=st.lists(st.sampled_from([None, "a", "b"]), max_size=12),
    width=st.integers(1, 5),
    says=st.dictionaries(
        st.tuples(st.integers(0, 11), st.integers(1, 3)),
        st.sampled_from([BUSY, BAD, Lost("cut"), Answer(429, retry_after="9")]),
    ),
)
def test_every_message_is_taken_or_told_of_and_order_is_kept(
    keys: list[str | None], width: int, says: dict[tuple[int, int], Says]
) -> None:
    receiver = Receiver(lambda index, tries: says.get((index, tries), OK))
    backend, options = virtual_backend
    failures = anyio.run(
        receiver.deliver, requests(*keys), width, 12, backend=backend, backend_options=options
    )
    failed = [failure.index for failure in failures]
    assert sorted(failed + receiver.taken) == list(range(len(keys)))
    for key in {"a", "b"} & set(keys):
        of_key = [index for index in receiver.taken if keys[index] == key]
        assert of_key == sorted(of_key)
        again = [failure.index for failure in failures if failure.retryable and keys[failure.index] == key]
        assert not again or not of_key or min(again) > max(of_key)
