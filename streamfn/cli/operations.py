"""What running workers do with functions when the command line asks them to."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.versions import Alias
from streamfn.shifting import Ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from streamfn.app import App


async def invoke(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """A synchronous invocation."""
    payload = str(request["payload"]).encode("utf-8", "surrogateescape")
    response = await app.invoke(str(request["name"]), payload)
    return {
        "payload": response.payload.decode("utf-8", "replace"),
        "function_error": response.function_error,
        "executed_version": response.executed_version,
        "request_id": response.request_id,
        "log_result": b64encode(response.log_result).decode(),
    }


async def functions(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """All functions, with versions, aliases and environments. Values of variables only with `values`."""
    return {"functions": app.functions_shown(values=bool(request.get("values")))}


async def publish(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """A new version of what `$LATEST` is now."""
    published = await app.deployed.publish(str(request["name"]), str(request.get("description", "")))
    return {"version": published.version, "code_sha256": published.code_sha256}


async def alias(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """Makes or changes an alias."""
    weights = {str(version): float(weight) for version, weight in request.get("weights", {}).items()}
    name, label = str(request["name"]), str(request["alias"])
    await app.deployed.put_alias(Alias(name, label, str(request["version"]), weights))
    return {"alias": label}


async def delete_alias(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """Removes an alias."""
    await app.deployed.delete_alias(str(request["name"]), str(request["alias"]))
    return {"alias": request["alias"]}


async def shift(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """Shifts an alias to another version step by step; returns when that is done, or rolled back."""
    ending = await app.deployed.shift(
        str(request["name"]),
        str(request["alias"]),
        str(request["to"]),
        str(request["type"]),
        float(request["max_error_rate"]),
    )
    return {"result": ending.value, "succeeded": ending is Ending.DONE}


async def endpoints(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """The endpoint map, with the secrets that are written in it: the socket is its owner's alone."""
    return {"endpoints": [entry.model_dump(exclude_none=True) for entry in app.endpoints]}


OPERATIONS: Final[Mapping[str, Callable[[App, Mapping[str, Any]], Awaitable[dict[str, Any]]]]] = {
    "invoke": invoke,
    "functions": functions,
    "publish": publish,
    "alias": alias,
    "delete_alias": delete_alias,
    "shift": shift,
    "endpoints": endpoints,
}
