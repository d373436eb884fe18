"""Where versions of functions are kept, and the keys of their variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.deployments import Deployment
    from streamfn.core.versions import Alias


@dataclass(frozen=True, slots=True)
class Published:
    """A published version of a function. It never changes."""

    deployment: Deployment
    """Its `version` is the number."""
    code_sha256: str
    """AWS's `CodeSha256`; empty where the code is not kept here."""
    layers: tuple[str, ...]
    """The same of each layer, in order."""
    description: str
    revision_id: str
    published_at: float
    """Epoch seconds."""

    @property
    def version(self) -> str:
        return self.deployment.version


class FunctionStore(Protocol):
    """Published versions and aliases of functions. Several processes may use it at the same time.

    What is written is durable when its call returns. Everything raises OSError where the store cannot be
    used; then nothing was done.
    """

    async def publish(
        self,
        deployment: Deployment,
        *,
        code_sha256: str = "",
        layers: Sequence[str] = (),
        description: str = "",
        revision_id: str | None = None,
    ) -> Published:
        """A new version with the next number, or the last one published if nothing else than the description
        has changed since. Numbers grow and are never used again, whatever is deleted.

        Raises PreconditionFailed if `revision_id` is given and is not that of the newest version there is.
        """

    async def published(self, function: str) -> Sequence[Published]:
        """The versions of a function, as they were published, in the order of their numbers."""

    async def delete_version(self, function: str, version: str) -> bool:
        """Whether it was there. Raises ConfigurationError while an alias points to it."""

    async def put_alias(self, alias: Alias, revision_id: str | None = None) -> Alias:
        """Makes an alias, or replaces it; as it is stored, with a new revision id if anything has changed.

        Raises ConfigurationError in Lambda's words for an alias that cannot be, or whose versions are not
        there; PreconditionFailed if `revision_id` is given and is not that of the alias.
        """

    async def aliases(self, function: str) -> Sequence[Alias]:
        """The aliases of a function, by name."""

    async def delete_alias(self, function: str, name: str, revision_id: str | None = None) -> bool:
        """Whether it was there. Raises PreconditionFailed as `put_alias`."""

    async def put_provisioned(
        self, function: str, qualifier: str, setting: Mapping[str, object] | None
    ) -> None:
        """Keeps what is to be provisioned for a version or an alias, as JSON; None takes it away. It goes
        with its version or alias. Raises ConfigurationError where there is none of that name.
        """

    async def provisioned(self, function: str) -> Mapping[str, Mapping[str, object]]:
        """What is to be provisioned, by qualifier."""

    async def functions(self) -> Sequence[str]:
        """The names of functions that have versions or aliases."""

    def changes(self) -> int:
        """Another number after each change, of whichever process; below 0 when it cannot be told now. Cheap,
        and made to be asked often.
        """


class Key(Protocol):
    """A key that environment variables are encrypted with where they are stored."""

    @property
    def name(self) -> str:
        """Which key it is: the address of the key, never the key."""

    async def seal(self, plain: bytes) -> bytes:
        """Encrypted and authenticated. Raises OSError where the key is out of reach."""

    async def unseal(self, sealed: bytes) -> bytes:
        """What was sealed with this key. Raises ConfigurationError for what was not, or was changed; OSError
        where the key is out of reach.
        """
