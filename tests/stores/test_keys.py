"""Keys of this machine, and variables sealed with them."""

from __future__ import annotations

import builtins
import os
import stat
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn import plugins
from streamfn.errors import ConfigurationError, MissingExtra
from streamfn.ports import Key
from streamfn.stores.keys import LocalKey, own_key, seal_text, seal_variables, unseal_text, unseal_variables
from streamfn.testing.conformance import KeyFeatures, KeyHarness, KeySuite

KEY = bytes(range(32))


class LocalHarness(KeyHarness):
    def key(self) -> Key:
        return LocalKey(KEY, "env:KEY")

    def another(self) -> Key:
        return LocalKey(KEY[::-1], "env:OTHER")


class TestLocalKey(KeySuite):
    features: ClassVar[KeyFeatures] = KeyFeatures(unreachable="it is in this process")

    @pytest.fixture
    def harness(self) -> KeyHarness:
        return LocalHarness()


# ------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    "content",
    [KEY, b64encode(KEY), b64encode(KEY) + b"\n", KEY.hex().encode(), KEY.hex().upper().encode() + b"\r\n"],
    ids=["raw", "base64", "line", "hex", "upper"],
)
async def test_a_key_is_found_in_a_file_or_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "key").write_bytes(content)
    sealed = await LocalKey(KEY, "x").seal(b"plain")
    uris = [f"file:{tmp_path}/key"]
    if b"\0" not in content:
        monkeypatch.setenv("SOME_KEY", content.decode())
        uris.append("env:SOME_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri in [*uris, "file:~/key"]:
        key = plugins.key(uri, {})
        assert key.name == uri
        assert await key.unseal(sealed) == b"plain"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no key of 32 bytes"),
        (b"a password", "holds no key of 32 bytes"),
        (KEY + b"\n", "holds no key of 32 bytes"),
        (b64encode(KEY[:31]), "holds no key of 32 bytes"),
        (b"g" * 64, "holds no key of 32 bytes"),
        (None, "cannot be read: No such file"),
    ],
)
def test_other_keys_are_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as error:
        LocalKey.from_uri(f"file:{tmp_path}/key", {})
    assert error.value.field == "KMSKeyArn"
    assert not content or repr(content) not in str(error.value)


def test_a_variable_that_is_not_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="the environment variable SOME_KEY is not set. Fix: set"):
        LocalKey.from_uri("env:SOME_KEY", {})


def test_no_key_shows_itself() -> None:
    key = LocalKey(KEY, "env:KEY")
    assert repr(key) == "<LocalKey env:KEY>"


def test_without_cryptography_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **options: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(name=name)
        return real(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'streamfn\[process\]'"):
        LocalKey(KEY, "env:KEY")


# ------------------------------------------------------------------------------------------------ its own key


async def test_a_state_directory_makes_a_key_of_its_own(tmp_path: Path) -> None:
    key = own_key(tmp_path / "state")
    path = tmp_path / "state" / "keys" / "variables.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert await own_key(tmp_path / "state").unseal(await key.seal(b"plain")) == b"plain"
    with pytest.raises(ConfigurationError, match="was sealed with another key than file:"):
        await own_key(tmp_path / "other").unseal(await key.seal(b"plain"))


def test_of_many_who_make_it_all_have_the_same(tmp_path: Path) -> None:
    start = threading.Barrier(20)
    found: list[bytes] = []

    def make() -> None:
        start.wait()
        own_key(tmp_path)
        found.append((tmp_path / "keys" / "variables.key").read_bytes())

    threads = [threading.Thread(target=make) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_a_disk_that_is_full_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            own_key(tmp_path)
    assert list((tmp_path / "keys").iterdir()) == []
    own_key(tmp_path)


# ------------------------------------------------------------------------------------------------ variables

VARIABLES = {"TABLE": "orders", "PASSWORD": "Zürich ✓ \n'\"=", "EMPTY": "", "TRICKY": "sealed:v1:x"}


async def test_variables_come_back_as_they_were() -> None:
    key = LocalKey(KEY, "env:KEY")
    sealed = await seal_variables(VARIABLES, key)
    assert set(sealed) == set(VARIABLES)
    assert all(
        text.startswith("sealed:v1:") and text.isascii() and "=" not in text for text in sealed.values()
    )
    assert await unseal_variables(sealed, key) == VARIABLES


async def test_what_is_not_sealed_stays_as_it_is() -> None:
    plain = {"TABLE": "orders", "SEALED": "not sealed: at all"}
    assert await unseal_variables(plain, None) == plain
    key = LocalKey(KEY, "env:KEY")
    mixed = {**plain, "PASSWORD": (await seal_variables(VARIABLES, key))["PASSWORD"]}
    assert await unseal_variables(mixed, key) == {**plain, "PASSWORD": VARIABLES["PASSWORD"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sealed: {**sealed, "TABLE": sealed["PASSWORD"]}, "was sealed for PASSWORD"),
        (lambda sealed: {**sealed, "TABLE": sealed["TABLE"][:-4]}, "is changed or cut off"),
        (lambda sealed: {**sealed, "TABLE": sealed["TABLE"][:-1]}, "is changed or cut off"),
        (lambda sealed: {**sealed, "TABLE": "sealed:v1:"}, "was sealed with another key"),
        (lambda sealed: {**sealed, "TABLE": "sealed:v1:ä"}, "is changed or cut off"),
        (lambda sealed: {**sealed, "TABLE": "sealed:v2:xxxx"}, "begins with sealed: and is not sealed as"),
        (lambda sealed: {**sealed, "TABLE": "sealed:"}, "begins with sealed: and is not sealed as"),
    ],
)
async def test_the_variable_that_is_wrong_is_named(change: Any, said: str) -> None:
    key = LocalKey(KEY, "env:KEY")
    sealed = await seal_variables(VARIABLES, key)
    with pytest.raises(ConfigurationError, match=said) as error:
        await unseal_variables(change(sealed), key)
    assert error.value.field == "Environment.TABLE"
    assert error.value.fix
    assert "orders" not in str(error.value)


async def test_another_key_or_none_opens_nothing() -> None:
    sealed = await seal_variables({"TABLE": "orders"}, LocalKey(KEY, "env:KEY"))
    with pytest.raises(ConfigurationError, match="Environment.TABLE: was sealed with another key than env:B"):
        await unseal_variables(sealed, LocalKey(KEY[::-1], "env:B"))
    with pytest.raises(ConfigurationError, match="Environment.TABLE: is sealed, and no key is given. Fix: "):
        await unseal_variables(sealed, None)


@given(st.text(max_size=20), st.text(st.characters(), max_size=200))
async def test_any_text_comes_back(name: str, value: str) -> None:
    key = LocalKey(KEY, "env:KEY")
    name = name.replace("\0", "").encode(errors="ignore").decode()
    assert await unseal_text(name, await seal_text(name, value, key), key) == value
