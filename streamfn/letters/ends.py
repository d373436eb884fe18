"""Where letters are sent and records fetched from, opened as they are asked for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import anyio

from streamfn import plugins
from streamfn.errors import ConfigurationError, SourceError
from streamfn.letters.sending import Delivery, deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamfn.ports import Destination, LetterFetcher, Message

_PATIENCE = 10.0
"""Seconds that connections have to close."""


class Ends:
    """Destinations and fetchers of one run. One that cannot be reached is not tried again in it.

    `resolve` says where a URI or an ARN leads.
    """

    def __init__(self, options: Mapping[str, object], resolve: Callable[[str], str] = str) -> None:
        self._options = options
        self._resolve = resolve
        self._destinations: dict[str, Destination] = {}
        self._fetchers: dict[str, LetterFetcher] = {}
        self._lost: dict[str, str] = {}

    async def check(self, uri: str) -> None:
        """Proves that a destination can be reached. Raises ConfigurationError, SourceError, OSError."""
        await self._destination(uri).check()

    async def send(self, uri: str, messages: Sequence[Message]) -> Delivery:
        """What became of the messages. Never raises for what is wrong with the destination."""
        if uri not in self._lost:
            try:
                delivery = await deliver(self._destination(uri), messages)
            except ConfigurationError as error:
                self._lost[uri] = str(error)
            else:
                if delivery.out_of_reach is not None:
                    self._lost[uri] = delivery.out_of_reach
                return delivery
        reason = self._lost[uri]
        return Delivery(dict.fromkeys(range(len(messages)), reason), reason)

    async def fetch(self, place: str, info: Mapping[str, Any]) -> Mapping[str, Any] | str:
        """The event, or why there is none."""
        try:
            if place not in self._fetchers:
                self._fetchers[place] = plugins.fetcher(self._resolve(place), self._options)
            event = await self._fetchers[place].fetch(info)
        except ConfigurationError as error:
            return str(error)
        except (OSError, SourceError) as error:
            return f"its records cannot be fetched from {place}: {error}"
        return event if event is not None else f"its records no longer exist in {place}"

    async def close(self) -> None:
        with anyio.move_on_after(_PATIENCE, shield=True):
            for destination in self._destinations.values():
                await destination.close()
            for fetcher in self._fetchers.values():
                await fetcher.close()

    def _destination(self, uri: str) -> Destination:
        if uri not in self._destinations:
            self._destinations[uri] = plugins.destination(self._resolve(uri), self._options)
        return self._destinations[uri]


def writable(source: str) -> bool:
    """Whether there are destinations of the source's kind."""
    try:
        return plugins.scheme_of(source) in _kinds()
    except ConfigurationError:
        return False


@cache
def _kinds() -> frozenset[str]:
    """Asked for each letter; what is installed does not change meanwhile."""
    return frozenset(plugins.kinds(plugins.DESTINATIONS))
