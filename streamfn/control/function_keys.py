"""Keys of what belongs to a function, or to a version or an alias of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamfn.core.deployments import LATEST

if TYPE_CHECKING:
    from streamfn.control.naming import FunctionReference


def key_of(function: FunctionReference) -> str:
    """`NAME`, or `NAME:QUALIFIER`. `$LATEST` is the function itself."""
    return function.name if function.qualifier in {None, LATEST} else f"{function.name}:{function.qualifier}"
