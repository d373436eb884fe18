"""An API whose operations only take notes, to look at what is before and behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamfn.control.api import LambdaApi
from streamfn.control.plane import Identity
from tests.control.calling import Calls, botocore_model


class Notes:
    """All operations of the API: each notes what it is given, and gives or raises what it is told."""

    def __init__(self, result: Mapping[str, Any] | Exception | None = None) -> None:
        self.given: list[tuple[str, Mapping[str, Any]]] = []
        self.result = result
        names = botocore_model().operation_names
        self.calls = Calls(LambdaApi({name: self._operation(name) for name in names}, Identity()))

    def _operation(self, name: str) -> Any:
        async def operation(params: Mapping[str, Any]) -> Mapping[str, Any]:
            self.given.append((name, params))
            if isinstance(self.result, Exception):
                raise self.result
            return self.result or {}

        return operation
