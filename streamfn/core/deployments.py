"""What the execution environments of a function are made of: AWS's function configuration. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LATEST: Final = "$LATEST"
"""The one version that changes."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One version of a function that runs in environments of its own, not in this process."""

    function: str
    code: str
    """A folder with the code, unpacked; or the URI of what runs elsewhere: `http://...`, `docker:IMAGE`,
    `lambda:NAME`.
    """
    runtime: str = ""
    """AWS's identifier, such as `python3.12`; empty where the code is no folder."""
    handler: str = ""
    version: str = LATEST
    layers: str = ""
    """A folder with all layers merged, seen as `/opt`; empty for none."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables, in plain text: never logged, and never shown without being asked for."""
    timeout: float = 3.0
    """Seconds of one invocation."""
    memory_size: int = 128
    """MB."""
    ephemeral_storage: int = 512
    """MB of `/tmp`."""
    maximum_concurrency: int = 1
    """Invocations of one environment at a time (`AWS_LAMBDA_MAX_CONCURRENCY`)."""
    network: str = ""
    """`none`, or the name of a network namespace; empty: the machine's own."""
    region: str = "us-east-1"
    log_format: str = "Text"
    """`Text` or `JSON`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What is only kept and shown, such as `Role`, by AWS's names and as JSON has it."""
