"""One execution environment, and what is known of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from streamfn.engine.signal import Signal

if TYPE_CHECKING:
    from streamfn.ports import Environment, Runtime


class Generation:
    """The environments of one runtime, which is closed when they are gone and no more will be made."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.current = True
        self.environments = 0
        """Those that were not left yet."""


class Held:
    """One environment, from before it is made until it is left."""

    __slots__ = (
        "began_at", "capacity", "environment", "generation", "idle_since", "in_use", "invocations",
        "provisioned", "reason", "scope", "shelf", "shelved", "signal", "until", "worn",
    )  # fmt: skip

    def __init__(
        self, generation: Generation, shelf: list[Held], began_at: float, *, provisioned: bool
    ) -> None:
        self.generation = generation
        self.provisioned = provisioned
        self.shelf = shelf
        """Where it stands while it can take an invocation."""
        self.shelved = False
        self.environment: Environment
        self.capacity = 0
        """0 while it is being made."""
        self.in_use = 0
        self.invocations = 0
        self.began_at = began_at
        self.idle_since = math.inf
        self.until = math.inf
        """When its life is over."""
        self.worn = False
        """Its life is over, and it serves until another has taken its place."""
        self.reason = ""
        """Why it is to go, if it is."""
        self.signal = Signal()
        self.scope = anyio.CancelScope()
