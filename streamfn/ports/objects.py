"""What is kept elsewhere and fetched when it is needed: objects of a bucket, and secrets."""

from __future__ import annotations

from typing import Protocol


class Bucket(Protocol):
    """A bucket to read from."""

    async def fetch(self, key: str, version: str | None, limit: int) -> bytes:
        """An object, or one version of it. Raises FileNotFoundError where there is none, OSError where it
        cannot be had now, ConfigurationError where only a person can help, also above `limit` bytes.
        """


class Secret(Protocol):
    """One secret, by its name."""

    async def value(self) -> str:
        """Its present text. Raises OSError where it cannot be had now, ConfigurationError where only a person
        can help. No error repeats it.
        """
