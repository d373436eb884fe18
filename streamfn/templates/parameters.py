"""The parameters of a template: what was given for them, checked as CloudFormation checks it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamfn.config.errors import ConfigurationErrors, nearest
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.config.errors import Places

_LISTS: Final = ("CommaDelimitedList", "List<")
_STORED: Final = "AWS::SSM::Parameter::Value<"


@dataclass(frozen=True, slots=True)
class InAws:
    """Stands for the value of a parameter that AWS keeps, when nobody has given it."""

    kind: str
    """The type that was declared."""


Value = str | list[str] | InAws


def values(declared: Mapping[str, Any], given: Mapping[str, str], places: Places) -> dict[str, Value]:
    """The value of every parameter, as text or a list of texts: what was given, else its default.

    Of `AWS::SSM::Parameter::Value<...>` the value itself is given, not where AWS keeps it; else it is InAws.

    Raises ConfigurationErrors for parameters that have neither, for values that their declarations refuse
    (Type, AllowedValues, AllowedPattern, MinLength, MaxLength, MinValue, MaxValue), and for unknown names.
    """
    found: list[ConfigurationError] = []
    for name in given:
        if name not in declared:
            known = ", ".join(sorted(declared)) or "it has none"
            fix = nearest(name, declared) or f"known are: {known}"
            found.append(ConfigurationError(f"the template has no parameter {name}", field=name, fix=fix))
    result: dict[str, Value] = {}
    for name, declaration in declared.items():
        try:
            result[name] = _value(name, declaration, given)
        except ConfigurationError as error:
            where = places.of(("Parameters", name))
            found.append(ConfigurationError(error.problem, field=name, where=where, fix=error.fix))
    if found:
        raise ConfigurationErrors(found)
    return result


def text(value: Any) -> str:
    """A single value as CloudFormation writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _value(name: str, declaration: Any, given: Mapping[str, str]) -> Value:
    if not isinstance(declaration, dict):
        raise ConfigurationError("must be a set of names and values")
    kind = text(declaration.get("Type", "String"))
    if name in given:
        value = given[name]
    elif "Default" in declaration:
        default = declaration["Default"]
        value = ",".join(map(text, default)) if isinstance(default, list) else text(default)
    else:
        raise ConfigurationError("the parameter has no value", fix=f"give --parameter {name}=VALUE")
    if kind.startswith(_STORED):
        if name not in given:
            return InAws(kind)
        # What the declaration demands, it demands of the place.
        kind, declaration = kind.removeprefix(_STORED).removesuffix(">"), {}
    if not kind.startswith(_LISTS):
        _check(kind, value, declaration)
        return value
    parts = [part.strip() for part in value.split(",")] if value else []
    inner = kind.removeprefix("List<").removesuffix(">") if kind.startswith("List<") else "String"
    for part in parts:
        _check(inner, part, declaration)
    return parts


def _check(kind: str, value: str, rules: Mapping[str, Any]) -> None:
    if kind == "Number":
        try:
            number = float(value)
        except ValueError:
            raise _refused(rules, f"must be a number, not {value!r}") from None
        if (least := rules.get("MinValue")) is not None and number < float(least):
            raise _refused(rules, f"must be at least {least}, not {value}")
        if (most := rules.get("MaxValue")) is not None and number > float(most):
            raise _refused(rules, f"must be at most {most}, not {value}")
    allowed = [text(each) for each in rules.get("AllowedValues", ())]
    if allowed and value not in allowed:
        raise _refused(rules, f"must be one of {', '.join(allowed)}, not {value!r}")
    pattern = rules.get("AllowedPattern")
    if pattern is not None and not re.fullmatch(pattern, value):
        raise _refused(rules, f"must match {pattern}, not {value!r}")
    if (least := rules.get("MinLength")) is not None and len(value) < int(least):
        raise _refused(rules, f"must have at least {least} characters, not {len(value)}")
    if (most := rules.get("MaxLength")) is not None and len(value) > int(most):
        raise _refused(rules, f"must have at most {most} characters, not {len(value)}")


def _refused(rules: Mapping[str, Any], problem: str) -> ConfigurationError:
    return ConfigurationError(problem, fix=text(rules.get("ConstraintDescription", "")))
