"""Lambda's API as botocore's service model has it: its operations, their shapes, its errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from streamfn.errors import MissingExtra

SERVICE: Final = "lambda"

NUMBERS: Final = ("integer", "long", "float", "double")

_LATER: Final[Mapping[str, Mapping[str, Any]]] = {
    "KafkaEventSourceMappingConsumptionMode": {"type": "string", "enum": ["Stream", "Queue"]},
}
_LATER_MEMBERS: Final[Mapping[str, Mapping[str, str]]] = {
    "SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "KafkaEventSourceMappingConsumptionMode"},
}
"""What the model that is installed may be too old for. What nobody knows of is ignored, and these ask for
something that must not be overlooked.
"""

_CLASSES: Final = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}
"""Java's classes of characters, as far as the model has them: letters, numbers, separators."""


@dataclass(slots=True, eq=False)
class Shape:
    """A type of the model, with what its values must hold to."""

    name: str
    kind: str
    """`structure`, `list`, `map`, `string`, `blob`, `boolean`, `timestamp`, or one of the `NUMBERS`."""
    members: dict[str, Member] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    payload: str | None = None
    """The member that is the body as it is, where one is."""
    element: Shape = field(init=False)
    """Of lists, and of the values of maps; others have none."""
    key: Shape = field(init=False)
    """Of maps."""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    """As the model writes it, and as messages quote it."""
    matcher: re.Pattern[str] | None = None
    enum: tuple[str, ...] = ()
    sensitive: bool = False
    event_stream: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A member of a structure, and where it stands in a message."""

    name: str
    shape: Shape
    location: str
    """`uri`, `querystring`, `header`, `statusCode`, or empty: in the body."""
    wire_name: str
    """What it is called there; headers in small letters."""


@dataclass(frozen=True, slots=True, eq=False)
class OperationModel:
    """One operation of the API."""

    name: str
    method: str
    path: str
    """With the names of members in braces, and with a query where that tells two operations apart."""
    status: int
    input: Shape
    output: Shape


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """All operations by name, and of each error what its message is called: `message` or `Message`."""

    operations: Mapping[str, OperationModel]
    message_names: Mapping[str, str]


def document() -> Mapping[str, Any]:
    """The service model as botocore ships it. Raises MissingExtra where botocore is not installed."""
    try:
        from botocore.loaders import create_loader
    except ImportError as error:
        raise MissingExtra(
            "the Lambda API needs botocore, for its service model", fix="pip install streamfn[api]"
        ) from error
    model: Mapping[str, Any] = create_loader().load_service_model(SERVICE, "service-2")
    return model


@cache
def service_model() -> ServiceModel:
    """Lambda's API, read once. Raises MissingExtra where botocore is not installed."""
    model = document()
    shapes = _Shapes(_with_later(model["shapes"]))
    operations = {name: _operation(name, found, shapes) for name, found in model["operations"].items()}
    errors = {name: found for name, found in model["shapes"].items() if found.get("exception")}
    names = {
        name: "Message" if "Message" in found["members"] else "message" for name, found in errors.items()
    }
    return ServiceModel(operations, names)


def _with_later(shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {**_LATER, **shapes}
    for name, members in _LATER_MEMBERS.items():
        later = {member: {"shape": shape} for member, shape in members.items()}
        found[name] = {**shapes[name], "members": {**later, **shapes[name]["members"]}}
    return found


def _operation(name: str, found: Mapping[str, Any], shapes: _Shapes) -> OperationModel:
    http = found["http"]
    return OperationModel(
        name,
        http["method"],
        http["requestUri"],
        http.get("responseCode", 200),
        shapes.get(found["input"]["shape"]) if "input" in found else Shape(f"{name}Request", "structure"),
        shapes.get(found["output"]["shape"]) if "output" in found else Shape(f"{name}Response", "structure"),
    )


def _matcher(pattern: str) -> re.Pattern[str]:
    """The pattern in Python's words. The model has Java's: digits and spaces are those of ASCII there."""
    if r"\p{" not in pattern:
        return re.compile(pattern, re.ASCII)
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


class _Shapes:
    """Shapes by name. Each is made once, so that one may hold itself."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        self._made: dict[str, Shape] = {}

    def get(self, name: str) -> Shape:
        if name in self._made:
            return self._made[name]
        found = self._found[name]
        shape = self._made[name] = Shape(
            name,
            found["type"],
            required=tuple(found.get("required", ())),
            payload=found.get("payload"),
            minimum=found.get("min"),
            maximum=found.get("max"),
            pattern=found.get("pattern", ""),
            matcher=_matcher(found["pattern"]) if "pattern" in found else None,
            enum=tuple(found.get("enum", ())),
            sensitive=found.get("sensitive", False),
            event_stream=found.get("eventstream", False),
        )
        shape.members.update({key: self._member(key, each) for key, each in found.get("members", {}).items()})
        if "key" in found:
            shape.key = self.get(found["key"]["shape"])
        if "member" in found or "value" in found:
            shape.element = self.get((found.get("member") or found["value"])["shape"])
        return shape

    def _member(self, name: str, found: Mapping[str, Any]) -> Member:
        location = found.get("location", "")
        wire_name = found.get("locationName", name)
        if location == "header":
            wire_name = wire_name.lower()
        return Member(name, self.get(found["shape"]), location, wire_name)
