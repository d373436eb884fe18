"""Making the app run what is stored: every step may be the last one before a power failure.

What is wanted of a mapping is stored first. Then the app is brought there, from wherever it is: after a
restart that is from nothing, so nothing else has to be remembered. Mappings that are switched off are not
known to the app, and cost no task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from streamfn.config import EventSourceMapping
from streamfn.control.mapping_documents import NOT_STARTED, options
from streamfn.control.mapping_rules import refused
from streamfn.core.lifecycle import MappingState
from streamfn.core.policies import Backoff
from streamfn.errors import ConfigurationError, StreamfnError
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.control.plane import Params, Plane

KIND: Final = "mapping"
"""Of their documents, in the resources."""

_AGAIN: Final = Backoff(first=1.0, factor=2.0, cap=15.0)
"""Seconds between tries to start a mapping, while its options do not go with its source for example."""

_PATIENCE: Final = 10.0
"""Seconds that a mapping which begins at LATEST has for its first shard before it is told to be Enabled."""

_LOOK: Final = 0.02
"""Seconds between two looks at whether it has one."""


class MappingStates:
    """What mappings are doing, and what is being done to them."""

    def __init__(self, plane: Plane, gone: Callable[[str, Params], None]) -> None:
        self._plane = plane
        self._gone = gone
        """Told of each mapping that was deleted."""
        self._changes: dict[str, MappingState] = {}
        """What is under way."""
        self._running: dict[str, Params] = {}
        """The documents that the app runs by."""
        self._problems: dict[str, str] = {}
        """Why mappings that should run do not."""
        self._turns: dict[str, object] = {}
        """Who may try again: whoever changed the mapping last."""

    def begin(self, uuid: str, change: MappingState) -> bool:
        """Whether nothing else is under way; then nothing else may be, until `carry_out` or `give_up`."""
        if uuid in self._changes:
            return False
        self._changes[uuid] = change
        return True

    def give_up(self, uuid: str) -> None:
        """Nothing is under way any more."""
        self._changes.pop(uuid, None)

    def state(self, uuid: str, document: Params, name: str = "") -> MappingState:
        """`State` of a mapping as it is shown. `name`: what the app calls it, where that is not its UUID."""
        if document.get("Deleting"):
            return MappingState.DELETING
        if (change := self._changes.get(uuid)) is not None:
            return change
        if not document["Enabled"]:
            return MappingState.DISABLED
        status = self._plane.app.mapping_status(name or uuid)
        if status is None or status.state == MappingState.CREATING.value:
            # It has been told to, or will be as soon as it can.
            return MappingState.ENABLED
        return MappingState(status.state)

    def result(self, uuid: str, name: str = "") -> str | None:
        """What came of its last records, if anything is known."""
        if (problem := self._problems.get(uuid)) is not None:
            return problem
        status = self._plane.app.mapping_status(name or uuid)
        return None if status is None else status.last_processing_result

    async def carry_out(self, uuid: str) -> None:
        """Has the app do what is stored, and tries again for as long as that cannot be done.

        Ends early where the mapping is changed again: whoever does so carries on.
        """
        turn = self._turns[uuid] = object()
        try:
            await anyio.sleep(self._plane.settings.mapping.transition_delay)
            if done := await self.settle(uuid):
                await self._begun(uuid)
        finally:
            self.give_up(uuid)
        tries = 0
        while not done:
            tries += 1
            await anyio.sleep(_AGAIN.delay(tries))
            done = self._turns.get(uuid) is not turn or await self.settle(uuid)
        if self._turns.get(uuid) is turn:
            del self._turns[uuid]

    async def _begun(self, uuid: str) -> None:
        """Waits until a mapping that is to read what comes from now on would: whoever sees that it is Enabled
        may send the first record. Not for ever, as its source may be away or its shards be others'.
        """
        document = self._plane.resources.get(KIND, uuid) or {}
        if not document.get("Enabled") or document.get("StartingPosition") != "LATEST":
            return
        with anyio.move_on_after(_PATIENCE):
            while not self._reads(uuid):  # noqa: ASYNC110 - shards come without a word to us
                await anyio.sleep(_LOOK)

    def _reads(self, uuid: str) -> bool:
        status = self._plane.app.mapping_status(uuid)
        return status is None or status.shards > 0 or status.last_processing_result.startswith("PROBLEM")

    async def settle(self, uuid: str) -> bool:
        """Has the app do what is stored, from wherever it is. Whether it does now."""
        async with self._plane.changing(f"mapping/{uuid}"):
            try:
                await self._settle(uuid)
            except (OSError, StreamfnError) as error:
                logger()[0].warning("event source mapping %s does not run: %s", uuid, error)
                told = refused(error).message if isinstance(error, ConfigurationError) else f"{error}"
                self._problems[uuid] = f"{NOT_STARTED} {told}"
                return False
            except Exception as error:  # noqa: BLE001 - one mapping that breaks is no reason to end all others
                logger()[0].error("event source mapping %s does not run", uuid, exc_info=error)
                self._problems[uuid] = f"{NOT_STARTED} {type(error).__name__}"
                return False
            self._problems.pop(uuid, None)
            return True

    async def _settle(self, uuid: str) -> None:
        app, resources = self._plane.app, self._plane.resources
        document = resources.get(KIND, uuid)
        wanted = document if document and document["Enabled"] and not document.get("Deleting") else None
        if uuid in app.declared and (wanted is None or not _same(self._running.get(uuid), wanted)):
            await app.remove_mapping(uuid)
            self._running.pop(uuid, None)
        if wanted is not None and uuid not in app.declared:
            # Its function may be deleted: it stays, and its batches wait (recorded).
            await app.add_mapping(EventSourceMapping.load(options(wanted)), missing_function=True)
            self._running[uuid] = wanted
        elif wanted is not None:
            # Others may have paused it.
            await app.resume(uuid)
        if document is not None and document.get("Deleting"):
            await resources.remove(KIND, uuid)
            self._gone(uuid, document)


def _same(running: Params | None, wanted: Params) -> bool:
    """Whether what runs is what is wanted, whatever is told of it beside."""
    return running is not None and options(running) == options(wanted)
