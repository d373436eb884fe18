"""CloudFormation's intrinsic functions, evaluated. Pure.

The rules are those of the CloudFormation User Guide: intrinsic-function-reference, and
pseudo-parameter-reference.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streamfn.errors import ConfigurationError
from streamfn.templates.parameters import InAws, text


class OnlyAws(ConfigurationError):
    """A value that only AWS can tell."""


class _NoValue:
    """What `AWS::NoValue` stands for: the property is not there."""


NO_VALUE: Final = _NoValue()
_VARIABLE: Final = re.compile(r"\$\{(!?)\s*([^${}]*?)\s*\}")
_DYNAMIC: Final = re.compile(r"\{\{resolve:[^}]*\}\}")
Attribute = Callable[[str, str], Any]
"""The value of an attribute of a resource: its logical name, the attribute; `Ref` asks for the attribute
`Ref`. Raises OnlyAws, or KeyError where there is no such resource.
"""


@dataclass(frozen=True)
class Scope:
    """What expressions may speak of."""

    parameters: Mapping[str, Any]
    """Pseudo parameters too."""
    mappings: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    attribute: Attribute | None = None
    """None: resources are not known yet."""

    def value(self, node: Any) -> Any:
        """An expression with all functions in it evaluated; `NO_VALUE` where nothing is to be.

        Raises ConfigurationError for what is wrong, and OnlyAws for what cannot be known here.
        """
        if isinstance(node, list):
            return [value for item in node if (value := self.value(item)) is not NO_VALUE]
        if isinstance(node, str) and (found := _DYNAMIC.search(node)):
            raise OnlyAws(f"{found.group()} is a value that AWS keeps", fix="write the value itself")
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if (work := _FUNCTIONS.get(name)) is not None:
                return work(self, argument)
            if name.startswith("Fn::"):
                raise ConfigurationError(f"{name} is no intrinsic function that is known here")
        values = ((name, self.value(inside)) for name, inside in node.items())
        return {name: value for name, value in values if value is not NO_VALUE}

    def condition(self, name: str, seen: tuple[str, ...] = ()) -> bool:
        """Whether a condition of the template holds."""
        if name in seen:
            raise ConfigurationError(f"the condition {name} refers to itself")
        if name not in self.conditions:
            raise ConfigurationError(f"the template has no condition {name}")
        return self.holds(self.conditions[name], (*seen, name))

    def holds(self, node: Any, seen: tuple[str, ...] = ()) -> bool:
        """Whether an expression of a condition holds."""
        if isinstance(node, dict) and len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Condition":
                return self.condition(text(argument), seen)
            parts = argument if isinstance(argument, list) and argument else [argument]
            if name == "Fn::Equals":
                left, right = self.arguments(name, argument, 2)
                return bool(_plain(left) == _plain(right))
            if name == "Fn::And":
                return all(self.holds(part, seen) for part in parts)
            if name == "Fn::Or":
                return any(self.holds(part, seen) for part in parts)
            if name == "Fn::Not":
                return not self.holds(parts[0], seen)
        value = self.value(node)
        if text(value) in ("true", "false"):
            return text(value) == "true"
        raise ConfigurationError(f"{json.dumps(node)} is no condition")

    def chosen(self, node: dict[str, Any]) -> Any:
        """What `Fn::If` or `Ref` stands for, with nothing inside of it evaluated."""
        ((name, argument),) = node.items()
        return self.branch(argument) if name == "Fn::If" else _ref(self, argument)

    # -------------------------------------------------------------------------------------- inside

    def named(self, name: str) -> Any:
        """What `Ref` gives for a name."""
        if name not in self.parameters:
            return self.attribute_of(name, "Ref")
        value = self.parameters[name]
        if isinstance(value, InAws):
            problem = f"the parameter {name} has its value in AWS, by its type {value.kind}"
            raise OnlyAws(problem, fix=f"give --parameter {name}=VALUE")
        return value

    def attribute_of(self, resource: str, attribute: str) -> Any:
        if self.attribute is None:
            raise OnlyAws(f"{resource} is a resource, which is not known where this stands")
        try:
            return self.attribute(resource, attribute)
        except KeyError:
            raise ConfigurationError(
                f"the template has no parameter and no resource {resource}",
                fix="declare it, or correct the name",
            ) from None

    def branch(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) != 3:
            raise ConfigurationError("Fn::If takes a condition and two values")
        name, then, otherwise = argument
        return then if self.condition(text(name)) else otherwise

    def arguments(self, name: str, argument: Any, count: int) -> list[Any]:
        if not isinstance(argument, list) or len(argument) != count:
            raise ConfigurationError(f"{name} takes a list of {count} values")
        values = [self.value(each) for each in argument]
        return [None if value is NO_VALUE else value for value in values]


def _ref(scope: Scope, argument: Any) -> Any:
    if argument == "AWS::NoValue":
        return NO_VALUE
    return scope.named(text(scope.value(argument)))


def _get_att(scope: Scope, argument: Any) -> Any:
    if isinstance(argument, str):
        argument = argument.partition(".")[::2]
    if not isinstance(argument, list | tuple) or len(argument) < 2:
        raise ConfigurationError("Fn::GetAtt takes a resource and an attribute")
    resource, *attribute = (text(scope.value(part)) for part in argument)
    return scope.attribute_of(resource, ".".join(attribute))


def _sub(scope: Scope, argument: Any) -> Any:
    template, own = (argument, {}) if isinstance(argument, str) else _pair(argument)
    own = {name: scope.value(value) for name, value in own.items()}

    def variable(match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal:
            return f"${{{name}}}"
        if name in own:
            return text(own[name])
        if name in scope.parameters or "." not in name:
            return _joined(scope.named(name))
        return text(scope.attribute_of(*name.split(".", 1)))

    return scope.value(_VARIABLE.sub(variable, template))


def _pair(argument: Any) -> tuple[str, dict[str, Any]]:
    match argument:
        case [str() as template, dict() as own]:
            return template, own
        case _:
            raise ConfigurationError("Fn::Sub takes text, or text and its own variables")


def _join(scope: Scope, argument: Any) -> Any:
    delimiter, parts = scope.arguments("Fn::Join", argument, 2)
    return text(delimiter).join(map(text, _list("Fn::Join", parts)))


def _split(scope: Scope, argument: Any) -> Any:
    delimiter, whole = scope.arguments("Fn::Split", argument, 2)
    return text(whole).split(text(delimiter))


def _select(scope: Scope, argument: Any) -> Any:
    index, parts = scope.arguments("Fn::Select", argument, 2)
    parts = _list("Fn::Select", parts)
    if not text(index).isdecimal() or int(index) >= len(parts):
        raise ConfigurationError(f"Fn::Select cannot take item {index} of {len(parts)}")
    return parts[int(index)]


def _if(scope: Scope, argument: Any) -> Any:
    return scope.value(scope.branch(argument))


def _find_in_map(scope: Scope, argument: Any) -> Any:
    arguments = scope.value(argument)
    if not isinstance(arguments, list) or len(arguments) not in (3, 4):
        raise ConfigurationError("Fn::FindInMap takes the name of a mapping and two keys")
    name, first, second = map(text, arguments[:3])
    value = scope.mappings.get(name)
    for key in (first, second):
        value = value.get(key) if isinstance(value, dict) else None
    if value is not None:
        return scope.value(value)
    if len(arguments) == 4 and isinstance(arguments[3], dict) and "DefaultValue" in arguments[3]:
        return arguments[3]["DefaultValue"]
    raise ConfigurationError(f"the template has no mapping {name}.{first}.{second}")


def _base64(scope: Scope, argument: Any) -> Any:
    return base64.b64encode(text(scope.value(argument)).encode()).decode()


def _length(scope: Scope, argument: Any) -> Any:
    return len(_list("Fn::Length", scope.value(argument)))


def _to_json(scope: Scope, argument: Any) -> Any:
    return json.dumps(scope.value(argument), separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Values are equal where their texts are."""
    return [text(each) for each in value] if isinstance(value, list) else text(value)


def _joined(value: Any) -> str:
    return ",".join(map(text, value)) if isinstance(value, list) else text(value)


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigurationError(f"{name} needs a list, not {value!r}")
    return value


def _refuse(name: str, why: str) -> Callable[[Scope, Any], Any]:
    def work(_scope: Scope, argument: Any) -> Any:
        raise OnlyAws(f"{name} {json.dumps(argument)}: {why}", fix="take a parameter in its place")

    return work


def _logical(name: str) -> Callable[[Scope, Any], Any]:
    return lambda scope, argument: scope.holds({name: argument})


_FUNCTIONS: Final[Mapping[str, Callable[[Scope, Any], Any]]] = {
    "Ref": _ref,
    "Fn::GetAtt": _get_att,
    "Fn::Sub": _sub,
    "Fn::Join": _join,
    "Fn::Split": _split,
    "Fn::Select": _select,
    "Fn::If": _if,
    "Fn::FindInMap": _find_in_map,
    "Fn::Base64": _base64,
    "Fn::Length": _length,
    "Fn::ToJsonString": _to_json,
    "Fn::Equals": _logical("Fn::Equals"),
    "Fn::And": _logical("Fn::And"),
    "Fn::Or": _logical("Fn::Or"),
    "Fn::Not": _logical("Fn::Not"),
    "Fn::ImportValue": _refuse("Fn::ImportValue", "exports of other stacks are in AWS"),
    "Fn::GetAZs": _refuse("Fn::GetAZs", "availability zones are in AWS"),
    "Fn::Cidr": _refuse("Fn::Cidr", "networks are made in AWS"),
    "Fn::Transform": _refuse("Fn::Transform", "macros run in AWS"),
}
