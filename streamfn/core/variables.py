"""Environment variables of functions: what Lambda takes, in its words. Pure.

No sentence has a value in it: they may be secrets.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT: Final = 4096
"""Bytes of all variables as JSON (AWS Lambda quotas)."""

RESERVED: Final = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)
"""Set by Lambda itself (Developer Guide: defined runtime environment variables)."""

_NAME: Final = re.compile(r"[a-zA-Z]([a-zA-Z0-9_])+")
_UNABLE: Final = (
    "Lambda was unable to configure your environment variables because the environment variables you have "
    "provided"
)


def check_variables(variables: Mapping[str, str]) -> None:
    """Raises ConfigurationError for what Lambda does not take."""
    reserved = sorted(RESERVED & variables.keys())
    if reserved:
        raise _refused(
            f"{_UNABLE} contains reserved keys that are currently not supported for modification. Reserved "
            f"keys used in this request: {', '.join(reserved)}",
            "remove them: they are set anyway",
        )
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise _refused(
                "1 validation error detected: Value at 'environment.variables' failed to satisfy "
                "constraint: Map keys must satisfy constraint: [Member must satisfy regular expression "
                f"pattern: {_NAME.pattern}]; {name!r} does not",
                "take two or more letters, digits and underscores, a letter first",
            )
        if "\0" in value:
            raise ConfigurationError(
                "holds a NUL, which no environment variable can", field=f"Environment.{name}", fix="remove it"
            )
    size = measured(variables)
    if size > LIMIT:
        raise _refused(
            f"{_UNABLE} exceeded the 4KB limit. String measured: {size} bytes",
            "keep large values in a file of the package or a layer",
        )


def measured(variables: Mapping[str, str]) -> int:
    """What counts against the limit: bytes of the variables as JSON."""
    text = json.dumps(dict(variables), separators=(",", ":"), ensure_ascii=False)
    return len(text.encode(errors="surrogatepass"))


def _refused(problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError(problem, field="Environment", fix=fix)
