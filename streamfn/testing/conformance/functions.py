"""What every store of published functions does."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import pytest

from streamfn.core.shifting import Guard, Shift
from streamfn.errors import ConfigurationError
from streamfn.ports import Alias, Deployment, FunctionStore, PreconditionFailed, Published
from streamfn.testing.conformance.features import Has, Pace, needs
from streamfn.testing.conformance.harness import Harness
from streamfn.testing.conformance.reading import tasks

NAME = "orders"
DEPLOYMENT = Deployment(
    NAME,
    "http://127.0.0.1:9000/code",
    runtime="python3.12",
    handler="app.handler",
    environment={"TABLE": "orders", "PASSWORD": "Zürich/東京 'x' \"y\" = \n"},
    timeout=7.5,
    memory_size=512,
    network="none",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStoreFeatures(Pace):
    """A store of published functions."""

    reopening: Has = True
    """The harness can close the store and open it again, and what it holds survives it."""


class FunctionStoreHarness(Harness, Protocol):
    """A place for functions, empty at first."""

    @abstractmethod
    def store(self) -> FunctionStore:
        """A store. Each call gives another one over the same functions, as another process would have."""

    async def reopen(self) -> None:
        """Closes what holds the functions, and opens it again."""
        pytest.fail("the feature `reopening` needs this")


class FunctionStoreSuite:
    """All that is promised of a `FunctionStore`. Subclass it with `features` and a fixture `harness`."""

    features: ClassVar[FunctionStoreFeatures] = FunctionStoreFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> FunctionStoreHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def publish(self, store: FunctionStore, code: str, function: str = NAME) -> Published:
        return await store.publish(replace(DEPLOYMENT, function=function), code_sha256=code)

    async def test_nobody_knows_a_function_that_was_never_published(
        self, harness: FunctionStoreHarness
    ) -> None:
        """FunctionStore.published, FunctionStore.aliases, FunctionStore.provisioned, FunctionStore.functions:
        of what was never put there is nothing.
        """
        store = harness.store()
        assert list(await store.published(NAME)) == []
        assert list(await store.aliases(NAME)) == []
        assert dict(await store.provisioned(NAME)) == {}
        assert list(await store.functions()) == []

    async def test_a_version_comes_back_as_it_was_published(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.publish and FunctionStore.published: every field, the environment in plain text."""
        made = await harness.store().publish(
            DEPLOYMENT, code_sha256="abc=", layers=("one=", "two="), description="First ✓"
        )
        assert made.deployment == replace(DEPLOYMENT, version="1")
        assert made.version == "1"
        assert made.revision_id
        assert abs(made.published_at - harness.now()) < 60
        assert list(await harness.store().published(NAME)) == [made]
        assert (made.code_sha256, made.layers, made.description) == ("abc=", ("one=", "two="), "First ✓")

    async def test_nothing_new_makes_no_version(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.publish: the last one published if nothing else than the description has changed."""
        first = await harness.store().publish(DEPLOYMENT, code_sha256="a", layers=["l"], description="one")
        again = await harness.store().publish(
            replace(DEPLOYMENT, version="7"), code_sha256="a", layers=["l"], description="two"
        )
        assert again == first
        assert list(await harness.store().published(NAME)) == [first]

    @pytest.mark.parametrize("change", ["code", "layers", "environment", "memory_size", "handler"])
    async def test_whatever_changes_makes_a_version(self, harness: FunctionStoreHarness, change: str) -> None:
        """FunctionStore.publish: a new version with the next number, and the one before stays as it is."""
        first = await harness.store().publish(DEPLOYMENT, code_sha256="a", layers=["l"])
        values = {"environment": {"TABLE": "other"}, "memory_size": 1024, "handler": "app.other"}
        changed = replace(DEPLOYMENT, **({change: values[change]} if change in values else {}))  # type: ignore[arg-type]
        code, layers = "b" if change == "code" else "a", ["l", "m"] if change == "layers" else ["l"]
        second = await harness.store().publish(changed, code_sha256=code, layers=layers)
        assert second.version == "2"
        assert second.revision_id != first.revision_id
        # Back to the first is a change of the last.
        third = await harness.store().publish(DEPLOYMENT, code_sha256="a", layers=["l"])
        assert third.version == "3"
        assert list(await harness.store().published(NAME)) == [first, second, third]

    async def test_numbers_are_in_order_beyond_nine(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.published: in the order of their numbers, which are no texts there."""
        for number in range(11):
            await self.publish(harness.store(), str(number))
        versions = [one.version for one in await harness.store().published(NAME)]
        assert versions == [str(number) for number in range(1, 12)]

    async def test_a_number_is_never_used_again(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.publish and FunctionStore.delete_version: numbers grow, whatever is deleted, all
        included; and what equals a deleted version is new.
        """
        store = harness.store()
        for code in ("a", "b"):
            await self.publish(store, code)
        assert await store.delete_version(NAME, "2")
        assert not await store.delete_version(NAME, "2")
        assert (await self.publish(harness.store(), "b")).version == "3"
        for version in ("1", "3"):
            assert await harness.store().delete_version(NAME, version)
        assert list(await store.published(NAME)) == []
        assert (await self.publish(store, "b")).version == "4"
        assert not await store.delete_version(NAME, "$LATEST")

    async def test_who_publishes_on_what_has_changed_fails(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.publish: raises PreconditionFailed unless the revision is that of the newest."""
        store = harness.store()
        with pytest.raises(PreconditionFailed, match="does not match the latest Revision Id"):
            await store.publish(DEPLOYMENT, code_sha256="a", revision_id="never seen")
        first = await self.publish(store, "a")
        second = await store.publish(DEPLOYMENT, code_sha256="b", revision_id=first.revision_id)
        with pytest.raises(PreconditionFailed):
            await harness.store().publish(DEPLOYMENT, code_sha256="c", revision_id=first.revision_id)
        with pytest.raises(PreconditionFailed):
            await harness.store().publish(DEPLOYMENT, code_sha256="b", revision_id=first.revision_id)
        assert list(await store.published(NAME)) == [first, second]

    async def test_of_many_publishers_each_has_a_number(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.publish: numbers are given once, and the same code makes one version, at once too."""
        made: list[Published] = []

        async def publish(code: str) -> None:
            made.append(await self.publish(harness.store(), code))

        async with harness.within(self.features.patience), tasks() as group:
            for number in range(20):
                group.start_soon(publish, str(number))
        assert sorted(int(one.version) for one in made) == list(range(1, 21))
        made.clear()
        async with harness.within(self.features.patience), tasks() as group:
            for _ in range(20):
                group.start_soon(publish, "the same")
        assert {one.version for one in made} == {"21"}
        assert len(await harness.store().published(NAME)) == 21

    async def test_functions_are_apart(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.functions: all names; a function has its own numbers, versions and aliases."""
        store = harness.store()
        one = await self.publish(store, "a")
        two = await self.publish(store, "a", "payments")
        assert one.version == two.version == "1"
        assert list(await store.published(NAME)) == [one]
        assert list(await store.published("payments")) == [two]
        await store.put_alias(Alias(NAME, "live", "1"))
        assert list(await store.aliases("payments")) == []
        await store.put_alias(Alias("letters", "live", "$LATEST"))
        assert list(await store.functions()) == ["letters", NAME, "payments"]
        assert not await store.delete_alias("payments", "live")
        assert await store.delete_version("payments", "1")
        assert list(await store.published(NAME)) == [one]
        assert list(await store.functions()) == ["letters", NAME]

    async def test_an_alias_comes_back_as_it_was_put(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.put_alias and FunctionStore.aliases: every field, by name, the move included."""
        store = harness.store()
        await self.publish(store, "a")
        await self.publish(store, "b")
        shift = Shift("2", "Linear10PercentEvery1Minute", 1_700_000_000.25, Guard(0.5, 7))
        wanted = [
            Alias(NAME, "b-live", "1", {"2": 0.1}, "✓", shift=shift),
            Alias(NAME, "a_LATEST", "$LATEST"),
        ]
        made = [await harness.store().put_alias(alias) for alias in wanted]
        assert [replace(alias, revision_id="") for alias in made] == wanted
        assert all(alias.revision_id for alias in made)
        assert list(await harness.store().aliases(NAME)) == made[::-1]

    async def test_an_alias_is_replaced(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.put_alias: with a new revision id if anything has changed, and not else."""
        store = harness.store()
        await self.publish(store, "a")
        first = await store.put_alias(Alias(NAME, "live", "1"))
        assert await harness.store().put_alias(Alias(NAME, "live", "1")) == first
        second = await harness.store().put_alias(Alias(NAME, "live", "1", description="new"))
        assert second.revision_id != first.revision_id
        assert list(await store.aliases(NAME)) == [second]

    async def test_who_changes_an_alias_that_has_changed_fails(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.put_alias and FunctionStore.delete_alias: raise PreconditionFailed unless the
        revision is that of the alias, and do nothing then.
        """
        store = harness.store()
        await self.publish(store, "a")
        with pytest.raises(PreconditionFailed, match="Revision Id"):
            await store.put_alias(Alias(NAME, "live", "1"), "never seen")
        assert list(await store.aliases(NAME)) == []
        first = await store.put_alias(Alias(NAME, "live", "1"))
        second = await store.put_alias(Alias(NAME, "live", "1", description="2"), first.revision_id)
        with pytest.raises(PreconditionFailed):
            await harness.store().put_alias(Alias(NAME, "live", "1", description="3"), first.revision_id)
        with pytest.raises(PreconditionFailed):
            await harness.store().delete_alias(NAME, "live", first.revision_id)
        assert list(await store.aliases(NAME)) == [second]
        assert await harness.store().delete_alias(NAME, "live", second.revision_id)
        assert not await store.delete_alias(NAME, "live")

    async def test_of_two_who_change_an_alias_one_succeeds(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.put_alias: of many with the same revision id exactly one succeeds."""
        await self.publish(harness.store(), "a")
        first = await harness.store().put_alias(Alias(NAME, "live", "1"))
        won: list[Alias] = []

        async def put(number: int) -> None:
            wanted = Alias(NAME, "live", "1", description=str(number))
            try:
                won.append(await harness.store().put_alias(wanted, first.revision_id))
            except PreconditionFailed:
                return

        async with harness.within(self.features.patience), tasks() as group:
            for number in range(20):
                group.start_soon(put, number)
        assert list(await harness.store().aliases(NAME)) == won

    async def test_an_alias_that_cannot_be_is_refused(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.put_alias: raises ConfigurationError in Lambda's words, also for versions that are
        not there.
        """
        store = harness.store()
        await self.publish(store, "a")
        await self.publish(store, "b")
        for alias, said in (
            (Alias(NAME, "live", "3"), "has no version 3"),
            (Alias(NAME, "live", "1", {"3": 0.5}), "has no version 3"),
            (Alias("payments", "live", "1"), "has no version 1"),
            (Alias(NAME, "12", "1"), "at 'name' failed to satisfy constraint"),
            (Alias(NAME, "live", "1", {"2": 0.1, "$LATEST": 0.1}), "cannot be greater than 1"),
            (Alias(NAME, "live", "$LATEST", {"2": 0.1}), "is not supported for an alias pointing to more"),
            (Alias(NAME, "live", "1", {"1": 0.1}), "is already included in routing configuration"),
            (Alias(NAME, "live", "1", {"2": 1.1}), "0.0 to 1.0"),
        ):
            with pytest.raises(ConfigurationError, match=said):
                await store.put_alias(alias)
        assert list(await store.aliases(NAME)) == []

    async def test_a_version_in_use_is_not_deleted(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.delete_version: raises ConfigurationError while an alias points to it, by weight
        too.
        """
        store = harness.store()
        versions = [await self.publish(store, code) for code in ("a", "b", "c")]
        await store.put_alias(Alias(NAME, "live", "1", {"2": 0.1}))
        for version in ("1", "2"):
            with pytest.raises(ConfigurationError, match=r"aliases reference it: \[live\]"):
                await harness.store().delete_version(NAME, version)
        assert list(await store.published(NAME)) == versions
        assert await store.delete_version(NAME, "3")
        await store.delete_alias(NAME, "live")
        assert await store.delete_version(NAME, "1")

    async def test_provisioning_goes_with_what_it_is_for(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.put_provisioned and FunctionStore.provisioned: by qualifier, until it is taken away
        or its version or alias is; refused where there is none.
        """
        store = harness.store()
        for code in ("a", "b"):
            await self.publish(store, code)
        await store.put_alias(Alias(NAME, "live", "1"))
        setting = {"minimum": 1, "schedule": [{"cron": "0 8 * * *", "count": 5}]}
        for qualifier in ("1", "2", "live"):
            await harness.store().put_provisioned(NAME, qualifier, {"count": 1})
        await store.put_provisioned(NAME, "live", setting)
        for unknown in ("3", "dead", "$LATEST"):
            with pytest.raises(ConfigurationError, match="has no version or alias"):
                await store.put_provisioned(NAME, unknown, setting)
        assert dict(await harness.store().provisioned(NAME)) == {
            "1": {"count": 1},
            "2": {"count": 1},
            "live": setting,
        }
        await store.delete_alias(NAME, "live")
        await store.delete_version(NAME, "1")
        assert dict(await harness.store().provisioned(NAME)) == {"2": {"count": 1}}
        await store.put_provisioned(NAME, "2", None)
        assert dict(await harness.store().provisioned(NAME)) == {}

    async def test_each_change_can_be_seen(self, harness: FunctionStoreHarness) -> None:
        """FunctionStore.changes: another number after each change, for all; and the same while there is
        none.
        """
        store, other = harness.store(), harness.store()
        seen = [other.changes()]

        async def changed() -> None:
            await harness.until(lambda: other.changes() not in (-1, seen[-1]), self.features.patience)
            seen.append(other.changes())

        await self.publish(store, "a")
        await changed()
        await store.put_alias(Alias(NAME, "live", "1"))
        await changed()
        await store.put_provisioned(NAME, "1", {"count": 1})
        await changed()
        await self.publish(store, "a")
        await store.put_alias(Alias(NAME, "live", "1"))
        await store.published(NAME)
        assert other.changes() == seen[-1]
        await store.delete_alias(NAME, "live")
        await changed()
        await store.delete_version(NAME, "1")
        await changed()

    async def test_functions_survive_their_store(self, harness: FunctionStoreHarness) -> None:
        """What was written is there when the store is opened again."""
        needs(self.features.reopening, "a store that can be opened again")
        version = await self.publish(harness.store(), "a")
        alias = await harness.store().put_alias(Alias(NAME, "live", "1"))
        await harness.store().put_provisioned(NAME, "live", {"count": 2})
        await harness.reopen()
        assert list(await harness.store().published(NAME)) == [version]
        assert list(await harness.store().aliases(NAME)) == [alias]
        assert dict(await harness.store().provisioned(NAME)) == {"live": {"count": 2}}
