"""What is kept elsewhere and fetched when it is needed: objects of a bucket, and secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

Take: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Takes the next piece of an object. What it raises ends the fetching."""


class NoSuchBucket(FileNotFoundError):
    """Not only the object: the whole bucket is not there."""


class Bucket(Protocol):
    """A bucket to read from."""

    async def fetch(self, key: str, version: str | None, take: Take) -> None:
        """Gives an object, or one version of it, piece by piece: all of it when this returns. Raises
        FileNotFoundError where there is none, and NoSuchBucket where there is no bucket; OSError where it
        cannot be had now or broke off, ConfigurationError where only a person can help, and whatever `take`
        raises.
        """


class Secret(Protocol):
    """One secret, by its name."""

    async def value(self) -> str:
        """Its present text. Raises OSError where it cannot be had now, ConfigurationError where only a person
        can help. No error repeats it.
        """
