"""A request read by its operation's shape: from the path, the query, the headers and the body."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from streamfn.control.errors import ApiError

if TYPE_CHECKING:
    from streamfn.control.routing import Query
    from streamfn.control.service import Member, OperationModel, Shape

_BITS: Final = {"integer": 31, "long": 63}
_NUMBER: Final = {"integer": "an Integer", "long": "a Long", "float": "a Float", "double": "a Double"}
_LAST_SECOND: Final = 253402300799.0
"""The end of the year 9999: what ISO 8601 can say."""


def serialization(message: str) -> ApiError:
    """SerializationException."""
    return ApiError("SerializationException", message)


class RequestParser:
    """What one operation takes out of a request."""

    def __init__(self, operation: OperationModel) -> None:
        members = operation.input.members
        path = operation.path.partition("?")[0]
        names = [part[1:].partition("}")[0] for part in path.split("/") if part.startswith("{")]
        in_path = {member.wire_name: member for member in members.values() if member.location == "uri"}
        self._path = [in_path[name] for name in names]
        self._query = [member for member in members.values() if member.location == "querystring"]
        self._headers = [member for member in members.values() if member.location == "header"]
        self._payload = members[operation.input.payload] if operation.input.payload else None
        self.headers = tuple(member.wire_name for member in self._headers)
        """The headers that it reads."""
        self.blob = self._payload.name if self._payload and self._payload.shape.kind == "blob" else None
        """The member that is the body as it came, where one is: the body says nothing of the others."""
        self._body = {
            member.wire_name: member
            for member in members.values()
            if not member.location and self._payload is None
        }

    def parse(
        self, values: Sequence[str], query: Query, headers: Mapping[str, str], body: bytes
    ) -> dict[str, Any]:
        """The input of the operation. What it does not know is ignored; null is as if left out.

        Raises ApiError: SerializationException naming the member whose type is wrong.
        """
        params: dict[str, Any] = {
            member.name: _from_text(member.shape, text, member.name)
            for member, text in zip(self._path, values, strict=True)
        }
        if query:
            self._parse_query(query, params)
        for member in self._headers:
            text = headers.get(member.wire_name)
            if text is not None:
                params[member.name] = _from_text(member.shape, text, member.name)
        if self._payload is not None:
            self._parse_payload(self._payload, body, params)
        elif self._body and body:
            params.update(_structure(self._body, _document(body), ""))
        return params

    def _parse_query(self, query: Query, params: dict[str, Any]) -> None:
        for member in self._query:
            texts = [value for name, value in query if name == member.wire_name]
            if not texts:
                continue
            if member.shape.kind == "list":
                element = member.shape.element
                params[member.name] = [_from_text(element, text, member.name) for text in texts]
            else:
                params[member.name] = _from_text(member.shape, texts[-1], member.name)

    def _parse_payload(self, member: Member, body: bytes, params: dict[str, Any]) -> None:
        if not body:
            return
        params[member.name] = (
            body if member.shape.kind == "blob" else _value(member.shape, _document(body), "")
        )


def _document(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise serialization(f"Could not parse request body into json: {error}") from error


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _value(shape: Shape, value: Any, at: str) -> Any:
    return _READERS[shape.kind](shape, value, at)


def _structure(members: Mapping[str, Member], value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, "a structure", at)
    found = {}
    for name, member in members.items():
        each = value.get(name)
        if each is not None:
            found[member.name] = _value(member.shape, each, f"{at}.{name}" if at else name)
    return found


def _a_structure(shape: Shape, value: Any, at: str) -> dict[str, Any]:
    return _structure({member.wire_name: member for member in shape.members.values()}, value, at)


def _list(shape: Shape, value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, "a list", at)
    return [_value(shape.element, each, f"{at}.{number}") for number, each in enumerate(value, 1)]


def _map(shape: Shape, value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, "a map", at)
    return {
        _text(key, at): _value(shape.element, each, f"{at}.{key}")
        for key, each in value.items()
        if each is not None
    }


def _string(_: Shape, value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a String", at)
    return _text(value, at)


def _text(value: str, at: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise serialization(f"The text is no Unicode at '{at}'") from error
    return value


def _number(shape: Shape, value: Any, at: str) -> int | float:
    wanted = _NUMBER[shape.kind]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, wanted, at)
    bits = _BITS.get(shape.kind, 1023)
    if not -(1 << bits) <= value < 1 << bits or (shape.kind in _BITS and value != int(value)):
        raise _wrong(value, wanted, at)
    return int(value) if shape.kind in _BITS else float(value)


def _boolean(_: Shape, value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, "a Boolean", at)
    return value


def _blob(_: Shape, value: Any, at: str) -> bytes:
    if not isinstance(value, str):
        raise _wrong(value, "a Blob", at)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise serialization(f"The text is no Base64 at '{at}'") from error


def _timestamp(_: Shape, value: Any, at: str) -> float:
    """Epoch seconds, from a number or from one of the forms that SDKs write dates in."""
    if isinstance(value, str):
        return _date(value, at)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LAST_SECOND:
        raise _wrong(value, "a Date", at)
    return float(value)


def _date(text: str, at: str) -> float:
    for read in (float, _iso, _rfc822):
        try:
            seconds = read(text)
        except (ValueError, OverflowError):
            continue
        if abs(seconds) <= _LAST_SECOND:
            return seconds
    raise serialization(f"STRING_VALUE can not be converted to a Date at '{at}'")


def _iso(text: str) -> float:
    date = datetime.fromisoformat(text)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _rfc822(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()


def _from_text(shape: Shape, text: str, at: str) -> Any:
    """A value from where everything is text: the path, the query or a header."""
    if shape.kind in _NUMBER:
        try:
            return _number(shape, float(text) if shape.kind in ("float", "double") else int(text), at)
        except ValueError as error:
            raise _wrong(text, _NUMBER[shape.kind], at) from error
    if shape.kind == "boolean":
        if text not in ("true", "false"):
            raise _wrong(text, "a Boolean", at)
        return text == "true"
    return text if shape.kind == "string" else _value(shape, text, at)


def _wrong(value: Any, wanted: str, at: str) -> ApiError:
    kind = "NULL_VALUE" if value is None else _TOKENS.get(type(value), "NUMBER_VALUE")
    return serialization(f"{kind} can not be converted to {wanted}" + (f" at '{at}'" if at else ""))


_TOKENS: Final = {
    bool: "BOOLEAN_VALUE",
    dict: "START_OF_STRUCTURE",
    list: "START_OF_LIST",
    str: "STRING_VALUE",
}
_READERS: Final[Mapping[str, Callable[[Shape, Any, str], Any]]] = {
    "blob": _blob,
    "boolean": _boolean,
    "double": _number,
    "float": _number,
    "integer": _number,
    "list": _list,
    "long": _number,
    "map": _map,
    "string": _string,
    "structure": _a_structure,
    "timestamp": _timestamp,
}
