"""streamfn: AWS Lambda's event source mappings without AWS."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamfn.app import App as App
    from streamfn.app import MappingStatus as MappingStatus
    from streamfn.core.records import Batch as Batch
    from streamfn.core.records import Record as Record
    from streamfn.errors import ConfigurationError as ConfigurationError
    from streamfn.errors import InvalidPattern as InvalidPattern
    from streamfn.errors import StreamfnError as StreamfnError
    from streamfn.errors import TooManyRequests as TooManyRequests
    from streamfn.matching import compile_pattern as compile_pattern
    from streamfn.matching import matches as matches
    from streamfn.matching import validate_pattern as validate_pattern

__version__ = "0.1.0"

_HOMES = {
    "App": "streamfn.app",
    "Batch": "streamfn.core.records",
    "ConfigurationError": "streamfn.errors",
    "InvalidPattern": "streamfn.errors",
    "MappingStatus": "streamfn.app",
    "Record": "streamfn.core.records",
    "StreamfnError": "streamfn.errors",
    "TooManyRequests": "streamfn.errors",
    "compile_pattern": "streamfn.matching",
    "matches": "streamfn.matching",
    "validate_pattern": "streamfn.matching",
}

__all__ = [
    "App",
    "Batch",
    "ConfigurationError",
    "InvalidPattern",
    "MappingStatus",
    "Record",
    "StreamfnError",
    "TooManyRequests",
    "__version__",
    "compile_pattern",
    "matches",
    "validate_pattern",
]


def __getattr__(name: str) -> object:
    """Public names are imported at first use, so that a command's help need not wait for the engine."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
