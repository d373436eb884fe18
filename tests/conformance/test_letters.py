"""The fakes of dead letters pass the suites that real stores pass, and what is broken in them is noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from streamfn.core.letters import Stored
from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import (
    LetterFetcherHarness,
    LetterFetcherSuite,
    LetterStoreHarness,
    LetterStoreSuite,
)
from tests.conformance.broken import assert_noticed, breaks
from tests.conformance.letters import (
    SHAPE,
    MemoryFetcher,
    MemoryFetcherHarness,
    MemoryLetters,
    MemoryLettersHarness,
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class TestMemoryLetters(LetterStoreSuite):
    @pytest.fixture
    def harness(self) -> LetterStoreHarness:
        return MemoryLettersHarness()


class TestMemoryFetcher(LetterFetcherSuite):
    @pytest.fixture
    def harness(self) -> LetterFetcherHarness:
        return MemoryFetcherHarness()


STORES: list[Any] = []
FETCHERS: list[Any] = []

scan, purge, fetch = MemoryLetters.scan, MemoryLetters.purge, MemoryFetcher.fetch

Scan = Callable[[MemoryLetters], AsyncIterator[Stored]]


def with_letters(change: Callable[[list[Stored]], list[Stored]], name: str) -> Scan:
    """A scan whose letters are changed."""

    async def changed(self: MemoryLetters) -> AsyncIterator[Stored]:
        for letter in change([letter async for letter in scan(self)]):
            yield letter

    changed.__name__ = name
    return changed


for fault, change, test in (
    ("scan_ends_with_a_page", lambda found: found[:1000], "test_all_letters_are_seen_and_each_once"),
    ("scan_repeats_itself", lambda found: found + found[:1], "test_all_letters_are_seen_and_each_once"),
    ("scan_goes_backwards", lambda found: found[::-1], "test_the_oldest_come_first"),
    (
        "scan_counts_letters",
        lambda found: [replace(letter, id=str(-n)) for n, letter in enumerate(found[::-1])],
        "test_a_letter_has_an_id_that_stays",
    ),
    (
        "scan_strips_bodies",
        lambda found: [replace(letter, body=letter.body.strip()) for letter in found],
        "test_payloads_are_as_they_were_put",
    ),
    (
        "scan_makes_up_keys",
        lambda found: [replace(letter, key=letter.key or "") for letter in found],
        "test_keys_are_seen",
    ),
    (
        "scan_merges_headers",
        lambda found: [replace(letter, headers=tuple(dict(letter.headers).items())) for letter in found],
        "test_headers_are_seen",
    ),
    (
        "scan_stamps_milliseconds",
        lambda found: [replace(letter, stored_at=(letter.stored_at or 1.0) * 1000) for letter in found],
        "test_a_letter_says_when_it_was_stored",
    ),
):
    breaks(STORES, MemoryLetters, "scan", test)(with_letters(change, fault))


@breaks(STORES, MemoryLetters, "scan", "test_a_scan_changes_nothing")
async def scan_takes_out(self: MemoryLetters) -> AsyncIterator[Stored]:
    async for letter in scan(self):
        del self.shelf.letters[letter.id]
        yield letter


@breaks(STORES, MemoryLetters, "scan", "test_a_store_that_cannot_be_reached_says_so")
async def scan_finds_nothing_where_nobody_is(self: MemoryLetters) -> AsyncIterator[Stored]:
    if self.shelf.is_there:
        async for letter in scan(self):
            yield letter


@breaks(STORES, MemoryLetters, "removes", "test_a_store_says_what_it_is")
def removes_nothing(self: MemoryLetters) -> bool:
    return False


@breaks(
    STORES,
    MemoryLetters,
    "close",
    "test_a_scan_changes_nothing",
    "test_a_scan_may_be_left",
    "test_closing_may_be_repeated",
)
async def close_keeps_hidden(self: MemoryLetters) -> None:
    self.held.clear()


@breaks(STORES, MemoryLetters, "_give_back", "test_a_store_may_be_scanned_again")
def give_nothing_back(self: MemoryLetters) -> None:
    """As a store that forgets what it has in hand."""


@breaks(STORES, MemoryLetters, "remove", "test_exactly_what_is_removed_is_gone")
async def remove_all_it_holds(self: MemoryLetters, letters: Any) -> None:
    for name in self.held:
        self.shelf.letters.pop(name, None)


@breaks(
    STORES,
    MemoryLetters,
    "remove",
    "test_exactly_what_is_removed_is_gone",
    "test_letters_may_be_removed_as_they_come",
)
async def remove_later(self: MemoryLetters, letters: Any) -> None:
    """As one that is durable with the next flush, which never comes."""


@breaks(STORES, MemoryLetters, "remove", "test_what_is_gone_already_is_no_error")
async def remove_is_strict(self: MemoryLetters, letters: Any) -> None:
    for letter in letters:
        del self.shelf.letters[letter.id]


@breaks(STORES, MemoryLetters, "purge", "test_a_purge_takes_out_all")
async def purge_what_it_holds(self: MemoryLetters) -> int:
    return 0


@breaks(STORES, MemoryLetters, "purge", "test_a_purge_takes_out_all", "test_nothing_can_be_purged")
async def purge_miscounts(self: MemoryLetters) -> int:
    return (await purge(self) or 0) + 1


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), STORES)
async def test_a_broken_store_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(LetterStoreSuite(), MemoryLettersHarness(), test)


@breaks(FETCHERS, MemoryFetcher, "fetch", "test_the_event_comes_as_the_function_saw_it")
async def fetch_leaves_out_the_last(self: MemoryFetcher, info: Any) -> Any:
    event = await fetch(self, info)
    return event and {"Records": event["Records"][:-1]}


@breaks(FETCHERS, MemoryFetcher, "fetch", "test_what_is_left_comes")
async def fetch_wants_all(self: MemoryFetcher, info: Any) -> Any:
    event = await fetch(self, info)
    return event if event and len(event["Records"]) == info["batchSize"] else None


@breaks(FETCHERS, MemoryFetcher, "fetch", "test_of_what_is_gone_nothing_comes", "test_what_is_left_comes")
async def fetch_counts_instead(self: MemoryFetcher, info: Any) -> Any:
    assert self.log is not None
    first = int(info["startSequenceNumber"])
    behind = [record for record in self.log if record.position >= first]
    return SHAPE.to_event(behind[: info["batchSize"]])


@breaks(FETCHERS, MemoryFetcher, "fetch", "test_of_what_is_gone_nothing_comes")
async def fetch_an_empty_event(self: MemoryFetcher, info: Any) -> Any:
    return await fetch(self, info) or {"Records": []}


@breaks(FETCHERS, MemoryFetcher, "fetch", "test_a_fetcher_that_cannot_reach_its_source_says_so")
async def fetch_takes_away_for_gone(self: MemoryFetcher, info: Any) -> Any:
    return None if self.log is None else await fetch(self, info)


@breaks(FETCHERS, MemoryFetcher, "close", "test_closing_may_be_repeated")
async def close_once(self: MemoryFetcher) -> None:
    assert not hasattr(self, "closed")
    self.closed = True  # type: ignore[attr-defined]


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), FETCHERS)
async def test_a_broken_fetcher_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(LetterFetcherSuite(), MemoryFetcherHarness(), test)
