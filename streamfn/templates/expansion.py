"""What is done with a template first: AWS::Include, and the loops of AWS::LanguageExtensions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from streamfn.config.errors import ConfigurationErrors, Places, plain
from streamfn.errors import ConfigurationError
from streamfn.templates.language import Scope
from streamfn.templates.parameters import text
from streamfn.templates.reading import read, section

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LOOP: Final = "Fn::ForEach::"
_INCLUDE: Final = "AWS::Include"
_SECTIONS: Final = ("Conditions", "Resources", "Outputs")


def expanded(
    template: Mapping[str, Any], scope: Scope, folder: Path, places: Places
) -> tuple[dict[str, Any], Places]:
    """The template with local files included and loops unrolled, and its places: what a loop makes has the
    line of the loop. Raises ConfigurationErrors.
    """
    lines = dict(places.lines)
    try:
        whole = _included(_as_inside(template), scope, folder)
        scope = Scope(scope.parameters, section(whole, "Mappings"), section(whole, "Conditions"))
        for name in _SECTIONS:
            if isinstance(whole.get(name), dict):
                whole[name] = _section(name, whole[name], scope, places, lines)
    except ConfigurationErrors:
        raise
    except ConfigurationError as error:
        where = error.where or places.where
        raise ConfigurationErrors([ConfigurationError(error.problem, where=where, fix=error.fix)]) from None
    return whole, Places(places.where, lines)


def _section(
    name: str, written: dict[str, Any], scope: Scope, places: Places, lines: dict[tuple[str | int, ...], int]
) -> dict[str, Any]:
    """One section, unrolled. `lines`: is told where it was made."""
    result: dict[str, Any] = {}
    for key, value in written.items():
        try:
            made = _unrolled({key: value}, scope)
        except ConfigurationError as error:
            where = places.of((name, key))
            raise ConfigurationError(error.problem, where=where, fix=error.fix) from None
        if key.startswith(_LOOP) and (line := lines.get((plain(name), plain(key)))) is not None:
            lines |= {(plain(name), plain(each)): line for each in made}
        result |= made
    return result


def _as_inside(template: Mapping[str, Any]) -> dict[str, Any]:
    """With a file that the whole template includes named as further inside."""
    given = template.get("Transform")
    for transform in given if isinstance(given, list) else [given]:
        if isinstance(transform, dict) and transform.get("Name") == _INCLUDE:
            return {**template, "Fn::Transform": transform}
    return dict(template)


def _included(node: Any, scope: Scope, folder: Path) -> Any:
    """With `Fn::Transform` of AWS::Include replaced by the file, beside what stands with it."""
    if isinstance(node, list):
        return [_included(item, scope, folder) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {name: _included(value, scope, folder) for name, value in node.items()}
    transform = inner.get("Fn::Transform")
    if not isinstance(transform, dict) or transform.get("Name") != _INCLUDE:
        return inner
    location = text(scope.value((transform.get("Parameters") or {}).get("Location", "")))
    if not location or location.startswith("s3://"):
        raise ConfigurationError(
            f"AWS::Include of {location or 'nothing'}: only local files are included",
            fix="name a file beside the template",
        )
    del inner["Fn::Transform"]
    included = _included(read(folder / location).data, scope, folder)
    if not isinstance(included, dict):
        if inner:
            raise ConfigurationError(f"{location} is no set of names and values")
        return included
    return included | inner


def _unrolled(node: Any, scope: Scope) -> Any:
    """With every `Fn::ForEach::NAME: [variable, [values], {key: body}]` written out."""
    if isinstance(node, list):
        return [_unrolled(item, scope) for item in node]
    if not isinstance(node, dict):
        return node
    result: dict[str, Any] = {}
    for name, value in node.items():
        if name.startswith(_LOOP):
            result |= _loop(name, value, scope)
        else:
            result[name] = _unrolled(value, scope)
    return result


def _loop(name: str, arguments: Any, scope: Scope) -> dict[str, Any]:
    if (
        not isinstance(arguments, list)
        or len(arguments) != 3
        or not isinstance(arguments[0], str)
        or not isinstance(arguments[2], dict)
    ):
        raise ConfigurationError(f"{name} takes a variable, a list of values, and what is repeated")
    variable, values, body = arguments
    values = scope.value(values)
    if not isinstance(values, list):
        raise ConfigurationError(f"{name} needs a list of values")
    result: dict[str, Any] = {}
    for value in values:
        result |= _unrolled(_filled(body, variable, text(value)), scope)
    return result


def _filled(node: Any, variable: str, value: str) -> Any:
    """With a loop's variable replaced, in names and in values; `&{X}` leaves letters and digits."""
    if isinstance(node, list):
        return [_filled(item, variable, value) for item in node]
    if isinstance(node, dict):
        if node == {"Ref": variable}:
            return value
        return {
            _words(name, variable, value): _filled(inner, variable, value) for name, inner in node.items()
        }
    return _words(node, variable, value) if isinstance(node, str) else node


def _words(words: str, variable: str, value: str) -> str:
    letters = re.sub(r"[^A-Za-z0-9]", "", value)
    return words.replace(f"${{{variable}}}", value).replace(f"&{{{variable}}}", letters)
