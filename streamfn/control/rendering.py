"""An operation's result, or its refusal, as the answer on the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from streamfn.control.answers import request_id
from streamfn.control.eventstream import CONTENT_TYPE, events
from streamfn.control.messages import HttpResponse
from streamfn.control.service import service_model

if TYPE_CHECKING:
    from streamfn.control.errors import ApiError
    from streamfn.control.plane import Result
    from streamfn.control.service import Member, OperationModel, Shape

_Write: TypeAlias = Callable[["Shape", Any], Any]

REQUEST_ID: Final = "$RequestId"
"""The key of a result that holds what `x-amzn-RequestId` shall be; without, one is made."""

_JSON: Final = "application/json"
_RETRY_AFTER: Final = "retryAfterSeconds"
_FIRST_SERVER_ERROR: Final = 500


class ResponseRenderer:
    """What one operation's results look like."""

    def __init__(self, operation: OperationModel) -> None:
        members = operation.output.members.values()
        self._status = operation.status
        self._shape = operation.output
        self._status_name = next((member.name for member in members if member.location == "statusCode"), None)
        self._headers = [(m.name, m.wire_name) for m in members if m.location == "header"]
        self._payload = operation.output.members.get(operation.output.payload or "")
        self._body = [member for member in members if not member.location]

    def render(self, result: Result) -> HttpResponse:
        """The answer. Members that are None are left out."""
        status = result.get(self._status_name) if self._status_name else None
        headers = [("x-amzn-RequestId", result.get(REQUEST_ID) or request_id())]
        for name, wire_name in self._headers:
            if (value := result.get(name)) is not None:
                headers.append((wire_name, str(value)))
        status = self._status if status is None else status
        if self._payload is not None:
            return _with_payload(self._payload, status, headers, result.get(self._payload.name))
        if not self._body:
            return HttpResponse(status, headers)
        return HttpResponse(
            status, [*headers, ("Content-Type", _JSON)], _json(_structure(self._shape, result))
        )


def _with_payload(member: Member, status: int, headers: list[tuple[str, str]], value: Any) -> HttpResponse:
    if not member.shape.event_stream:
        return HttpResponse(status, [*headers, ("Content-Type", _JSON)], value or b"")
    body = b"" if value is None else events(value)
    return HttpResponse(status, [*headers, ("Content-Type", CONTENT_TYPE)], body)


def refusal(error: ApiError) -> HttpResponse:
    """The answer that says what is wrong, its message under the name that the error's shape has for it."""
    name = service_model().message_names.get(error.code, "message")
    kind = "Server" if error.status >= _FIRST_SERVER_ERROR else "User"
    headers = [("x-amzn-RequestId", request_id()), ("x-amzn-ErrorType", error.code), ("Content-Type", _JSON)]
    members = dict(error.members)
    if (retry_after := members.pop(_RETRY_AFTER, None)) is not None:
        headers.append(("Retry-After", str(retry_after)))
    return HttpResponse(error.status, headers, _json({"Type": kind, name: error.message, **members}))


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # The name of a file, in a message, need not be Unicode.
        return json.dumps(value, ensure_ascii=False).encode(errors="replace")


def _structure(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    members = _members(shape)
    found = {}
    for name, each in value.items():
        if each is not None and (member := members.get(name)) is not None:
            wire_name, within, write = member
            found[wire_name] = each if write is None else write(within, each)
    return found


@cache
def _members(shape: Shape) -> dict[str, tuple[str, Shape, _Write | None]]:
    """The members of a structure that stand in the body; those without a function are written as they are."""
    found = [member for member in shape.members.values() if not member.location]
    return {member.name: (member.wire_name, member.shape, _writer(member.shape)) for member in found}


def _writer(shape: Shape) -> _Write | None:
    if shape.kind == "list" and _writer(shape.element) is None:
        return None
    return _WRITERS.get(shape.kind)


def _list(shape: Shape, value: Sequence[Any]) -> list[Any]:
    write = _WRITERS[shape.element.kind]
    return [write(shape.element, each) for each in value]


def _map(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    write = _writer(shape.element)
    return dict(value) if write is None else {key: write(shape.element, each) for key, each in value.items()}


def _blob(_: Shape, value: bytes) -> str:
    return base64.b64encode(value).decode()


_WRITERS: Final[Mapping[str, _Write]] = {"blob": _blob, "list": _list, "map": _map, "structure": _structure}
