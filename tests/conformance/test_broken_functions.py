"""The suites notice what is broken in stores of functions and in keys. Each test says what it is for."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
from anyio import lowlevel

from streamfn.errors import ConfigurationError
from streamfn.ports import Key
from streamfn.stores.keys import Aes, LocalKey
from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import FunctionStoreSuite, KeyHarness, KeySuite
from streamfn.testing.functions_store import MemoryFunctionStore
from tests.conformance.broken import assert_noticed, breaks
from tests.conformance.test_memory import MemoryFunctionStoreHarness

WAYS = (AssertionError, pytest.fail.Exception, ExceptionGroup, LookupError, ValueError, ConfigurationError)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


STORES: list[Any] = []
KEYS: list[Any] = []

publish = MemoryFunctionStore.publish
published = MemoryFunctionStore.published
put_alias = MemoryFunctionStore.put_alias
delete_version = MemoryFunctionStore.delete_version
delete_alias = MemoryFunctionStore.delete_alias
put_provisioned = MemoryFunctionStore.put_provisioned
changes = MemoryFunctionStore.changes


@breaks(STORES, MemoryFunctionStore, "publish", "test_nothing_new_makes_no_version")
async def publish_looks_at_the_description(self: Any, deployment: Any, **more: Any) -> Any:
    code = more.pop("code_sha256", "") + more.get("description", "")
    return await publish(self, deployment, code_sha256=code, **more)


@breaks(STORES, MemoryFunctionStore, "publish", "test_whatever_changes_makes_a_version")
async def publish_gives_any_that_is_the_same(self: Any, deployment: Any, **more: Any) -> Any:
    for known in self._versions[deployment.function].values():
        same = replace(deployment, version=known.version)
        if (known.deployment, known.code_sha256) == (same, more.get("code_sha256", "")):
            return known
    return await publish(self, deployment, **more)


@breaks(STORES, MemoryFunctionStore, "publish", "test_whatever_changes_makes_a_version")
async def publish_knows_no_layers(self: Any, deployment: Any, *, layers: Any = (), **more: Any) -> Any:
    return await publish(self, deployment, **more)


@breaks(STORES, MemoryFunctionStore, "publish", "test_a_version_comes_back_as_it_was_published")
async def publish_forgets_the_variables(self: Any, deployment: Any, **more: Any) -> Any:
    return await publish(self, replace(deployment, environment={}), **more)


@breaks(STORES, MemoryFunctionStore, "publish", "test_a_number_is_never_used_again")
async def publish_counts_what_is_there(self: Any, deployment: Any, **more: Any) -> Any:
    self._last[deployment.function] = len(self._versions[deployment.function])
    return await publish(self, deployment, **more)


@breaks(STORES, MemoryFunctionStore, "publish", "test_who_publishes_on_what_has_changed_fails")
async def publish_ignores_the_revision(
    self: Any, deployment: Any, *, revision_id: Any = None, **more: Any
) -> Any:
    return await publish(self, deployment, **more)


@breaks(STORES, MemoryFunctionStore, "publish", "test_of_many_publishers_each_has_a_number")
async def publish_races(self: Any, deployment: Any, **more: Any) -> Any:
    number = self._last[deployment.function] + 1
    await lowlevel.checkpoint()
    made = await publish(self, deployment, **more)
    return replace(made, deployment=replace(made.deployment, version=str(number)))


@breaks(STORES, MemoryFunctionStore, "published", "test_numbers_are_in_order_beyond_nine")
async def published_in_the_order_of_texts(self: Any, function: str) -> Any:
    return sorted(await published(self, function), key=lambda one: one.version)


@breaks(STORES, MemoryFunctionStore, "published", "test_functions_are_apart")
async def published_of_all(self: Any, function: str) -> Any:
    return [one for versions in self._versions.values() for one in versions.values()]


@breaks(STORES, MemoryFunctionStore, "functions", "test_functions_are_apart")
async def functions_that_are_gone(self: Any) -> Any:
    return sorted({*self._versions, *self._aliases})


@breaks(STORES, MemoryFunctionStore, "delete_version", "test_a_version_in_use_is_not_deleted")
async def delete_what_is_in_use(self: Any, function: str, version: str) -> bool:
    return self._deleted(self._versions[function], function, version)


@breaks(STORES, MemoryFunctionStore, "delete_version", "test_a_number_is_never_used_again")
async def delete_always(self: Any, function: str, version: str) -> bool:
    await delete_version(self, function, version)
    return True


@breaks(STORES, MemoryFunctionStore, "put_alias", "test_an_alias_is_replaced")
async def put_alias_always_changes(self: Any, alias: Any, revision_id: Any = None) -> Any:
    self._aliases[alias.function].pop(alias.name, None)
    return await put_alias(self, alias)


@breaks(STORES, MemoryFunctionStore, "put_alias", "test_an_alias_comes_back_as_it_was_put")
async def put_alias_forgets_the_move(self: Any, alias: Any, revision_id: Any = None) -> Any:
    return await put_alias(self, replace(alias, shift=None), revision_id)


@breaks(
    STORES,
    MemoryFunctionStore,
    "_check",
    "test_who_changes_an_alias_that_has_changed_fails",
    "test_of_two_who_change_an_alias_one_succeeds",
)
def check_nothing(known: Any, revision_id: Any) -> None:
    """Any revision will do."""


@breaks(STORES, MemoryFunctionStore, "put_alias", "test_an_alias_that_cannot_be_is_refused")
async def put_any_alias(self: Any, alias: Any, revision_id: Any = None) -> Any:
    made = replace(alias, revision_id="x")
    self._aliases[alias.function][alias.name] = made
    return made


@breaks(STORES, MemoryFunctionStore, "aliases", "test_an_alias_comes_back_as_it_was_put")
async def aliases_as_they_came(self: Any, function: str) -> Any:
    return list(self._aliases[function].values())


@breaks(STORES, MemoryFunctionStore, "_deleted", "test_provisioning_goes_with_what_it_is_for")
def deleted_leaves_what_was_provisioned(self: Any, kept: Any, function: str, name: str) -> bool:
    return kept.pop(name, None) is not None


@breaks(STORES, MemoryFunctionStore, "put_provisioned", "test_provisioning_goes_with_what_it_is_for")
async def put_provisioned_for_nobody(self: Any, function: str, qualifier: str, setting: Any) -> None:
    self._versions[function].setdefault(qualifier, None)
    await put_provisioned(self, function, qualifier, setting)


@breaks(STORES, MemoryFunctionStore, "changes", "test_each_change_can_be_seen")
def changes_whenever_asked(self: Any) -> int:
    self._changes += 1
    return changes(self)


@breaks(STORES, MemoryFunctionStore, "changes", "test_each_change_can_be_seen")
def changes_of_versions_alone(self: Any) -> int:
    return sum(len(versions) for versions in self._versions.values())


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), STORES)
async def test_a_broken_store_of_functions_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    static = isinstance(inspect.getattr_static(target, attribute), staticmethod)
    monkeypatch.setattr(target, attribute, staticmethod(instead) if static else instead)
    suite, harness = FunctionStoreSuite(), MemoryFunctionStoreHarness()
    run = getattr(suite, test)
    marks = {mark.name: mark for mark in getattr(run, "pytestmark", [])}
    if "parametrize" in marks:
        # One of its cases is enough.
        cases = marks["parametrize"].args[1]
        with pytest.raises(WAYS):
            for case in cases:
                await run(MemoryFunctionStoreHarness(), case)
        return
    await assert_noticed(suite, harness, test)


class LocalHarness(KeyHarness):
    def key(self) -> Key:
        return LocalKey(bytes(32), "env:KEY")

    def another(self) -> Key:
        return LocalKey(b"x" * 32, "env:OTHER")


unseal = LocalKey.unseal


@breaks(KEYS, LocalKey, "seal", "test_what_is_sealed_cannot_be_read")
async def seal_nothing(self: Any, plain: bytes) -> bytes:
    return self._header + plain


@breaks(KEYS, LocalKey, "seal", "test_what_is_sealed_cannot_be_read")
async def seal_the_same_to_the_same(self: Any, plain: bytes) -> bytes:
    nonce = bytes(12)
    return self._header + nonce + self._aes._cipher.encrypt(nonce, plain, self._header)


@breaks(KEYS, LocalKey, "unseal", "test_what_is_sealed_can_be_unsealed")
async def unseal_texts_alone(self: Any, sealed: bytes) -> bytes:
    return (await unseal(self, sealed)).rstrip(b"\0")


@breaks(KEYS, LocalKey, "unseal", "test_what_was_changed_is_refused")
async def unseal_whatever_its_head(self: Any, sealed: bytes) -> bytes:
    return await unseal(self, self._header + sealed[len(self._header) :])


@breaks(KEYS, Aes, "unseal", "test_what_was_changed_is_refused")
def unseal_gives_nothing(self: Any, sealed: bytes, header: bytes) -> bytes:
    return b""


@breaks(
    KEYS, LocalKey, "unseal", "test_what_was_changed_is_refused", "test_what_another_key_sealed_is_refused"
)
async def unseal_does_not_raise(self: Any, sealed: bytes) -> bytes:
    try:
        return await unseal(self, sealed)
    except ConfigurationError:
        return b""


@breaks(KEYS, LocalHarness, "another", "test_a_key_has_a_name", "test_what_another_key_sealed_is_refused")
def another_that_is_the_same(self: Any) -> Key:
    return LocalKey(bytes(32), "env:KEY")


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), KEYS)
async def test_a_broken_key_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    with pytest.raises(WAYS):
        await getattr(KeySuite(), test)(LocalHarness())
