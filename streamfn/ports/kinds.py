"""What packages offer by entry points: classes that make things out of URIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.ports.destinations import Destination
    from streamfn.ports.environments import Runtime
    from streamfn.ports.functions import Key
    from streamfn.ports.letters import LetterFetcher, LetterStore
    from streamfn.ports.sources import Source


@runtime_checkable
class SourceKind(Protocol):
    """What an entry point of the group `streamfn.sources` gives: a class with this constructor."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Source:
        """The source a URI names. Raises ConfigurationError naming the option and the fix."""


@runtime_checkable
class DestinationKind(Protocol):
    """What an entry point of the group `streamfn.destinations` gives."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Destination:
        """The destination a URI names. Raises ConfigurationError naming the option and the fix."""


@runtime_checkable
class RuntimeKind(Protocol):
    """What an entry point of the group `streamfn.runtimes` gives, by the scheme of a function's code."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Runtime:
        """The runtime that runs what a URI names; `deployment` among the options is the `Deployment` that it
        is the code of. Raises ConfigurationError naming the option and the fix.
        """


@runtime_checkable
class KeyKind(Protocol):
    """What an entry point of the group `streamfn.keys` gives."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Key:
        """The key that a URI names. Raises ConfigurationError naming the option and the fix."""


@runtime_checkable
class LetterStoreKind(Protocol):
    """What an entry point of the group `streamfn.letters` gives."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> LetterStore:
        """The store a URI names. Raises ConfigurationError naming the option and the fix."""


@runtime_checkable
class LetterFetcherKind(Protocol):
    """What an entry point of the group `streamfn.fetchers` gives."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> LetterFetcher:
        """Fetches from the source that a URI or an ARN names. Raises ConfigurationError."""
