"""What every key for environment variables does."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest

from streamfn.errors import ConfigurationError
from streamfn.testing.conformance.features import Has, Pace, needs
from streamfn.testing.conformance.harness import Harness

if TYPE_CHECKING:
    from streamfn.ports import Key

PLAIN = b"PASSWORD\0correct horse battery staple"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFeatures(Pace):
    """A key."""

    unreachable: Has = True
    """The harness can give a key that nobody answers for."""


class KeyHarness(Harness, Protocol):
    """A place with two keys."""

    @abstractmethod
    def key(self) -> Key:
        """The key. Each call gives another object for it, as another process would have."""

    @abstractmethod
    def another(self) -> Key:
        """Another key of the same kind."""

    def unreachable(self) -> Key:
        """A key at an address where nobody answers."""
        pytest.fail("the feature `unreachable` needs this")


class KeySuite:
    """All that is promised of a `Key`. Subclass it with `features` and a fixture `harness`."""

    features: ClassVar[KeyFeatures] = KeyFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> KeyHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def test_what_is_sealed_can_be_unsealed(self, harness: KeyHarness) -> None:
        """Key.seal and Key.unseal: what comes back is what was sealed, of any length, elsewhere too."""
        for plain in (b"", b"\0", PLAIN, bytes(range(256)) * 64):
            assert await harness.key().unseal(await harness.key().seal(plain)) == plain

    async def test_what_is_sealed_cannot_be_read(self, harness: KeyHarness) -> None:
        """Key.seal: encrypted, and each time another text, so that equal values are not seen to be."""
        key = harness.key()
        sealed = {await key.seal(PLAIN) for _ in range(10)}
        assert len(sealed) == 10
        assert not any(b"horse" in one for one in sealed)

    async def test_what_was_changed_is_refused(self, harness: KeyHarness) -> None:
        """Key.unseal: authenticated, so every changed byte and every missing one is noticed."""
        key = harness.key()
        sealed = await key.seal(PLAIN)
        for place in range(0, len(sealed), 3):
            changed = bytearray(sealed)
            changed[place] ^= 1
            with pytest.raises(ConfigurationError):
                await key.unseal(bytes(changed))
        for cut in (sealed[:-1], sealed[:20], sealed[:1], b"", sealed + b"x", PLAIN):
            with pytest.raises(ConfigurationError):
                await key.unseal(cut)

    async def test_what_another_key_sealed_is_refused(self, harness: KeyHarness) -> None:
        """Key.unseal: of what was sealed with this key, and no other."""
        sealed = await harness.another().seal(PLAIN)
        with pytest.raises(ConfigurationError):
            await harness.key().unseal(sealed)

    async def test_a_key_has_a_name(self, harness: KeyHarness) -> None:
        """Key.name: which key it is, by its address; the same for the same key."""
        assert harness.key().name == harness.key().name
        assert harness.key().name != harness.another().name

    async def test_a_key_out_of_reach_raises(self, harness: KeyHarness) -> None:
        """Key.seal and Key.unseal raise OSError where the key is out of reach."""
        needs(self.features.unreachable, "a key that nobody answers for")
        sealed = await harness.key().seal(PLAIN)
        key = harness.unreachable()
        async with harness.within(self.features.patience):
            with pytest.raises(OSError, match=r"."):
                await key.seal(PLAIN)
            with pytest.raises(OSError, match=r"."):
                await key.unseal(sealed)
