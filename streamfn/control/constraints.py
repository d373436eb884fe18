"""Whether an input holds to its shape; where it does not, AWS's words for what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamfn.control.errors import ApiError, invalid
from streamfn.control.naming import LONGEST_NAME, reference_of
from streamfn.control.service import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamfn.control.plane import Params
    from streamfn.control.service import Member, OperationModel, Shape

_NULL: Final = "Member must not be null"
_SHOWN: Final = 10_000
"""Characters from which a value that is too long is not held against its pattern, too."""
_ENUM_ORDERS: Final = {"EventSourcePosition": ("LATEST", "AT_TIMESTAMP", "TRIM_HORIZON")}
"""As recorded, where it is another order than `_in_aws_order` gives."""
_RUNTIME_OF_CODE: Final = ("CreateFunction", "UpdateFunctionConfiguration")
"""Operations whose `Runtime` is checked later than all else, and refused in words of its own."""


class Constraints:
    """What the members of one operation's input must hold to."""

    def __init__(self, operation: OperationModel) -> None:
        self._operation = operation.name
        self._required = [operation.input.members[name] for name in operation.input.required]
        # As recorded: what the query says is named before what the path says.
        self._members = sorted(operation.input.members.values(), key=lambda member: member.location == "uri")
        self._runtime: Shape | None = None
        if operation.name in _RUNTIME_OF_CODE:
            runtime = operation.input.members["Runtime"]
            self._members.remove(runtime)
            self._runtime = runtime.shape

    def check(self, params: Params) -> None:
        """Raises ApiError: ValidationException that names all that is wrong, InvalidParameterValueException
        for what the model does not say.
        """
        found = [_said(None, member.name, _NULL) for member in self._required if member.name not in params]
        for member in self._members:
            value = params.get(member.name)
            if value is not None:
                found += _violations(member.shape, value, _camel(member))
        if found:
            raise ApiError("ValidationException", _detected(found))
        if self._runtime is not None:
            _check_runtime(self._runtime, params.get("Runtime"))
        if self._operation == "CreateFunction":
            _check_new_name(params["FunctionName"])


def _check_runtime(shape: Shape, runtime: str | None) -> None:
    if runtime is not None and runtime not in shape.enum:
        raise invalid(
            f"Value {runtime} at 'runtime' failed to satisfy constraint: {_of_enum(shape)} or be a valid ARN"
        )


def _check_new_name(name: str) -> None:
    """A name of a new function is shorter than what the pattern allows for its ARN."""
    bare = reference_of(name).name
    if len(bare) > LONGEST_NAME:
        raise invalid(_detected([_said(bare, "functionName", _at_most(LONGEST_NAME))]))


def _detected(found: Sequence[str]) -> str:
    """The message of a ValidationException."""
    return f"{len(found)} validation error{'s' * (len(found) > 1)} detected: {'; '.join(found)}"


def _said(value: Any, at: str, constraint: str, *, sensitive: bool = False) -> str:
    at = at[:1].lower() + at[1:]
    if value is None:
        shown = "Value null"
    elif sensitive or isinstance(value, bytes):
        shown = "Value"
    else:
        shown = f"Value '{_text(value)}'"
    return f"{shown} at '{at}' failed to satisfy constraint: {constraint}"


def _text(value: Any) -> str:
    """A value as Java writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_text(each)}" for key, each in value.items()) + "}"
    return str(value)


def _camel(member: Member) -> str:
    return member.name[:1].lower() + member.name[1:]


def _violations(shape: Shape, value: Any, at: str) -> Iterator[str]:
    match shape.kind:
        case "structure":
            yield from _of_structure(shape, value, at)
        case "list":
            yield from _of_list(shape, value, at)
        case "map":
            yield from _of_map(shape, value, at)
        case _:
            for constraint in _broken(shape, value):
                yield _said(value, at, constraint, sensitive=shape.sensitive)


def _of_structure(shape: Shape, value: Any, at: str) -> Iterator[str]:
    for name in shape.required:
        if name not in value:
            yield _said(None, f"{at}.{_camel(shape.members[name])}", _NULL)
    for name, each in value.items():
        member = shape.members[name]
        yield from _violations(member.shape, each, f"{at}.{_camel(member)}")


def _of_list(shape: Shape, value: Any, at: str) -> Iterator[str]:
    for constraint in _broken(shape, value):
        yield _said(value, at, constraint)
    element = shape.element
    if element.kind in _NESTED:
        for number, each in enumerate(value, 1):
            yield from _violations(element, each, f"{at}.{number}.member")
    elif any(any(_broken(element, each)) for each in value):
        yield _said(
            value, at, f"Member must satisfy constraint: [{_all(element)}]", sensitive=element.sensitive
        )


def _of_map(shape: Shape, value: Any, at: str) -> Iterator[str]:
    for constraint in _broken(shape, value):
        yield _said(value, at, constraint, sensitive=shape.sensitive)
    key, element = shape.key, shape.element
    secret = shape.sensitive or key.sensitive or element.sensitive
    if any(any(_broken(key, each)) for each in value):
        yield _said(value, at, f"Map keys must satisfy constraint: [{_all(key)}]", sensitive=secret)
    if element.kind in _NESTED:
        for name, each in value.items():
            yield from _violations(element, each, f"{at}.{name}.member")
    elif any(any(_broken(element, each)) for each in value.values()):
        yield _said(value, at, f"Map value must satisfy constraint: [{_all(element)}]", sensitive=secret)


_NESTED: Final = ("structure", "list", "map")


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints of one shape itself that a value does not hold to."""
    if shape.enum:
        if value not in shape.enum:
            yield _of_enum(shape)
        return
    sized = value if isinstance(value, int | float) else len(value)
    if shape.maximum is not None and sized > shape.maximum:
        yield _at_most(shape.maximum, shape.kind)
        if sized > _SHOWN:
            return
    if shape.minimum is not None and sized < shape.minimum:
        yield _at_least(shape.minimum, shape.kind)
    if shape.matcher is not None and shape.matcher.fullmatch(value) is None:
        yield f"Member must satisfy regular expression pattern: {shape.pattern}"


def _all(shape: Shape) -> str:
    """All constraints of the members of a list or a map: AWS names them where one is broken."""
    said = [_of_enum(shape)] if shape.enum else []
    if shape.maximum is not None:
        said.append(_at_most(shape.maximum, shape.kind))
    if shape.minimum is not None:
        said.append(_at_least(shape.minimum, shape.kind))
    if shape.pattern:
        said.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    return ", ".join([*said, _NULL])


def _at_most(limit: float, kind: str = "string") -> str:
    return f"Member must have {_measure(kind)} less than or equal to {_number(limit, kind)}"


def _at_least(limit: float, kind: str) -> str:
    return f"Member must have {_measure(kind)} greater than or equal to {_number(limit, kind)}"


def _number(limit: float, kind: str) -> str:
    return str(float(limit)) if kind in ("float", "double") else f"{limit:.15g}"


def _measure(kind: str) -> str:
    return "value" if kind in NUMBERS else "length"


def _of_enum(shape: Shape) -> str:
    names = _ENUM_ORDERS.get(shape.name) or _in_aws_order(shape.enum)
    return f"Member must satisfy enum value set: [{', '.join(names)}]"


def _in_aws_order(names: Sequence[str]) -> list[str]:
    """Messages name the values as a hash set of Java's holds them."""
    places = 16
    while len(names) > places * 3 // 4:
        places *= 2
    return sorted(names, key=lambda name: _java_hash(name) & (places - 1))


def _java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value ^ (value >> 16)
