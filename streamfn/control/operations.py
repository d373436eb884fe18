"""All operations that are served, by AWS's names, and what of them comes back on start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamfn.control.account import AccountSettings
from streamfn.control.concurrency import FunctionConcurrency, ProvisionedConcurrency
from streamfn.control.event_invoke_configs import EventInvokeConfigs
from streamfn.control.function_settings import FunctionSettings
from streamfn.control.functions import Functions
from streamfn.control.invocations import Invocations
from streamfn.control.mappings import EventSourceMappings
from streamfn.control.policies import FunctionPolicies, LayerPolicies
from streamfn.control.tags import Tags
from streamfn.control.urls import FunctionUrls

if TYPE_CHECKING:
    from streamfn.control.plane import Operations, Plane


class Operating:
    """The operations of one plane."""

    def __init__(self, plane: Plane) -> None:
        self._functions = Functions(plane)
        self._concurrency = FunctionConcurrency(plane)
        self._event_invoke_configs = EventInvokeConfigs(plane, self._functions)
        self._mappings = EventSourceMappings(plane)
        self._served = (
            self._functions,
            self._concurrency,
            self._event_invoke_configs,
            self._mappings,
            AccountSettings(plane),
            FunctionPolicies(plane),
            FunctionSettings(plane),
            FunctionUrls(plane),
            Invocations(plane),
            LayerPolicies(plane),
            ProvisionedConcurrency(plane),
            Tags(plane),
        )

    def operations(self) -> Operations:
        """All that are served. What the service model has beyond them is answered as not supported."""
        return {name: each for part in self._served for name, each in part.operations().items()}

    async def restore(self) -> None:
        """Brings back what is stored: functions before all that hangs on them, mappings last.

        What cannot be brought back is logged and shown in its state.
        """
        await self._functions.restore()
        await self._concurrency.restore()
        await self._event_invoke_configs.restore()
        await self._mappings.restore()
