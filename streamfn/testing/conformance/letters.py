"""What every store of dead letters does, and all that fetches records back."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest

from streamfn.errors import SourceError
from streamfn.ports import LetterStore, Message
from streamfn.testing.conformance.features import LetterFetcherFeatures, LetterStoreFeatures, needs
from streamfn.testing.conformance.payloads import HEADERS, KEYS, texts
from streamfn.testing.conformance.reading import messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamfn.core.letters import Stored
    from streamfn.testing.conformance.harness import LetterFetcherHarness, LetterStoreHarness

_SOON = 60.0
"""Seconds by which the clocks of brokers may be off."""


class LetterStoreSuite:
    """All that is promised of a `LetterStore`. Subclass it with `features` and a fixture `harness`."""

    features: ClassVar[LetterStoreFeatures] = LetterStoreFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> LetterStoreHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    @asynccontextmanager
    async def opened(self, harness: LetterStoreHarness) -> AsyncIterator[LetterStore]:
        store = harness.store()
        try:
            yield store
        finally:
            await store.close()

    async def scanned(self, store: LetterStore) -> Sequence[Stored]:
        return [letter async for letter in store.scan()]

    async def seen(self, harness: LetterStoreHarness) -> Sequence[Stored]:
        """What another process sees."""
        async with harness.within(6 * self.features.patience), self.opened(harness) as store:
            return await self.scanned(store)

    async def bodies(self, harness: LetterStoreHarness) -> list[bytes]:
        return sorted(letter.body for letter in await self.seen(harness))

    async def test_a_store_says_what_it_is(self, harness: LetterStoreHarness) -> None:
        """LetterStore.name, and LetterStore.removes as it is declared."""
        async with self.opened(harness) as store:
            assert store.name
            assert store.removes is (self.features.removes is True)

    async def test_nothing_is_seen_where_nothing_is(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: all letters, of which there may be none; it ends."""
        assert list(await self.seen(harness)) == []

    async def test_all_letters_are_seen_and_each_once(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: all letters, and more than one page or answer holds."""
        sent = messages(self.features.many)
        await harness.put(sent)
        found = await self.seen(harness)
        assert sorted(letter.body for letter in found) == sorted(message.body for message in sent)
        assert len({letter.id for letter in found}) == len(sent)

    async def test_the_oldest_come_first(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: the oldest first as far as the store has an order."""
        needs(self.features.ordered, "order")
        for first in (0, 20):
            await harness.put(messages(20, first))
        assert [letter.body for letter in await self.seen(harness)] == [m.body for m in messages(40)]

    async def test_a_letter_has_an_id_that_stays(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: Stored.id is stable in its store, and a letter's own."""
        await harness.put(messages(3))
        first = {letter.body: letter.id for letter in await self.seen(harness)}
        await harness.put(messages(1, 3))
        second = {letter.body: letter.id for letter in await self.seen(harness)}
        assert len(set(second.values())) == 4
        assert {body: second[body] for body in first} == first

    async def test_payloads_are_as_they_were_put(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: Stored.body, byte for byte."""
        values = [*texts(self.features.any_text), b"x" * self.features.max_payload]
        await harness.put([Message(value) for value in values])
        assert await self.bodies(harness) == sorted(values)

    async def test_keys_are_seen(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: Stored.key, which a letter may be without."""
        needs(self.features.keys, "keys")
        await harness.put([Message(b"none"), *(Message(b"{}", key) for key in KEYS)])
        found = await self.seen(harness)
        assert sorted(letter.key for letter in found if letter.key is not None) == sorted(KEYS)
        assert [letter.key for letter in found if letter.body == b"none"] == [None]

    async def test_headers_are_seen(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: Stored.headers, in order and with duplicates."""
        needs(self.features.headers, "headers")
        await harness.put([Message(b"{}", None, HEADERS)])
        assert [tuple(letter.headers) for letter in await self.seen(harness)] == [HEADERS]

    async def test_a_letter_says_when_it_was_stored(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: Stored.stored_at, where it is known, in epoch seconds."""
        began = harness.now()
        await harness.put(messages(1))
        (letter,) = await self.seen(harness)
        assert letter.stored_at is None or began - _SOON <= letter.stored_at <= harness.now() + _SOON

    async def test_a_scan_changes_nothing(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: nothing changes by it; LetterStore.close: letters that a scan had in hand can be
        seen by others again, at once.
        """
        await harness.put(messages(25))
        for _ in range(3):
            assert await self.bodies(harness) == sorted(message.body for message in messages(25))

    async def test_a_scan_may_be_left(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan and LetterStore.close: one that is left halfway holds nothing back."""
        await harness.put(messages(25))
        async with harness.within(6 * self.features.patience), self.opened(harness) as store:
            async for letter in store.scan():
                assert letter.body
                break
        assert len(await self.seen(harness)) == 25

    async def test_a_store_may_be_scanned_again(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan: all letters, whatever an earlier scan of the same store has in hand."""
        await harness.put(messages(25))
        async with harness.within(6 * self.features.patience), self.opened(harness) as store:
            for _ in range(2):
                assert len(await self.scanned(store)) == 25

    async def test_exactly_what_is_removed_is_gone(self, harness: LetterStoreHarness) -> None:
        """LetterStore.remove: takes out letters of a scan; durable when it returns."""
        needs(self.features.removes, "taking out single letters")
        await harness.put(messages(25))
        async with harness.within(6 * self.features.patience), self.opened(harness) as store:
            found = await self.scanned(store)
            odd = [letter for letter in found if int(letter.body) % 2]
            await store.remove(odd)
            await store.remove([])
        even = sorted(message.body for message in messages(25) if not int(message.body) % 2)
        assert await self.bodies(harness) == even

    async def test_letters_may_be_removed_as_they_come(self, harness: LetterStoreHarness) -> None:
        """LetterStore.remove: within a scan, which goes on with the others."""
        needs(self.features.removes, "taking out single letters")
        await harness.put(messages(25))
        came = []
        async with harness.within(6 * self.features.patience), self.opened(harness) as store:
            async for letter in store.scan():
                came.append(letter.body)
                await store.remove([letter])
        assert sorted(came) == sorted(message.body for message in messages(25))
        assert await self.bodies(harness) == []

    async def test_what_is_gone_already_is_no_error(self, harness: LetterStoreHarness) -> None:
        """LetterStore.remove: of those that are gone already nothing is said; the others go."""
        needs(self.features.removes, "taking out single letters")
        await harness.put(messages(3))
        async with harness.within(6 * self.features.patience), self.opened(harness) as store:
            found = await self.scanned(store)
            await store.remove(found[:2])
            await store.remove(found)
        assert await self.bodies(harness) == []

    async def test_a_purge_takes_out_all(self, harness: LetterStoreHarness) -> None:
        """LetterStore.purge: takes out all there is at this time, and says how many, or None."""
        await harness.put(messages(25))
        async with self.opened(harness) as store:
            assert await store.purge() in (25, None)
        assert await self.bodies(harness) == []
        await harness.put(messages(2))
        assert len(await self.seen(harness)) == 2

    async def test_nothing_can_be_purged(self, harness: LetterStoreHarness) -> None:
        """LetterStore.purge: where nothing is, that is nothing."""
        async with self.opened(harness) as store:
            assert await store.purge() in (0, None)

    async def test_a_store_that_cannot_be_reached_says_so(self, harness: LetterStoreHarness) -> None:
        """LetterStore.scan raises OSError or SourceError, and does not wait for ever; so does
        LetterStore.purge.
        """
        needs(self.features.unreachable, "an address where nobody answers")
        store = harness.unreachable()
        async with harness.within(6 * self.features.patience):
            with pytest.raises((OSError, SourceError)) as error:
                await self.scanned(store)
            assert str(error.value)
            with pytest.raises((OSError, SourceError)):
                await store.purge()
            await store.close()

    async def test_closing_may_be_repeated(self, harness: LetterStoreHarness) -> None:
        """LetterStore.close: lets connections go; unused ones close too."""
        await harness.put(messages(2))
        store = harness.store()
        await store.close()
        async with harness.within(6 * self.features.patience):
            assert len(await self.scanned(store)) == 2
            await store.close()
            await store.close()
        assert len(await self.seen(harness)) == 2


class LetterFetcherSuite:
    """All that is promised of a `LetterFetcher`. Subclass it with `features` and a fixture `harness`."""

    features: ClassVar[LetterFetcherFeatures] = LetterFetcherFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> LetterFetcherHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def test_the_event_comes_as_the_function_saw_it(self, harness: LetterFetcherHarness) -> None:
        """LetterFetcher.fetch: the event of the records that are named, no more and no less, and as JSON."""
        for count, first in ((1, 0), (5, 10)):
            event, info = await harness.put(messages(count, first))
            fetcher = harness.fetcher()
            async with harness.within(6 * self.features.patience):
                for _ in range(2):
                    assert await fetcher.fetch(json.loads(json.dumps(info))) == event
            assert json.loads(json.dumps(event)) == event
            await fetcher.close()

    async def test_what_is_left_comes(self, harness: LetterFetcherHarness) -> None:
        """LetterFetcher.fetch: as far as they still exist."""
        needs(self.features.trimming, "a source whose oldest records can be removed")
        event, info = await harness.put(messages(5))
        left = await harness.trim(event, 2)
        fetcher = harness.fetcher()
        async with harness.within(6 * self.features.patience):
            assert await fetcher.fetch(info) == left
        await fetcher.close()

    async def test_of_what_is_gone_nothing_comes(self, harness: LetterFetcherHarness) -> None:
        """LetterFetcher.fetch: None where none exists, though there are others behind them."""
        needs(self.features.trimming, "a source whose oldest records can be removed")
        event, info = await harness.put(messages(5))
        await harness.trim(event, 0)
        fetcher = harness.fetcher()
        async with harness.within(6 * self.features.patience):
            assert await fetcher.fetch(info) is None
        await fetcher.close()

    async def test_a_fetcher_that_cannot_reach_its_source_says_so(
        self, harness: LetterFetcherHarness
    ) -> None:
        """LetterFetcher.fetch raises OSError or SourceError, and does not wait for ever."""
        needs(self.features.unreachable, "an address where nobody answers")
        _, info = await harness.put(messages(1))
        fetcher = harness.unreachable()
        async with harness.within(6 * self.features.patience):
            with pytest.raises((OSError, SourceError)) as error:
                await fetcher.fetch(info)
        assert str(error.value)
        await fetcher.close()

    async def test_closing_may_be_repeated(self, harness: LetterFetcherHarness) -> None:
        """LetterFetcher.close: lets connections go; unused ones close too."""
        event, info = await harness.put(messages(1))
        fetcher = harness.fetcher()
        await fetcher.close()
        async with harness.within(6 * self.features.patience):
            assert await fetcher.fetch(info) == event
            await fetcher.close()
            await fetcher.close()
