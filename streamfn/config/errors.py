"""Problems of a configuration: found together, told together, each with its place, its field and the fix."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_pascal, to_snake
from pydantic_core import PydanticCustomError

from streamfn.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Path = tuple[str | int, ...]
"""The way to a value: names as the models have them, and indexes of lists."""

_SPELLED = {
    "kms_key_arn": "KMSKeyArn",
    "kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "document_db_event_source_config": "DocumentDBEventSourceConfig",
    "function": "FunctionName",
    "uri": "URI",
}


class ConfigurationErrors(ConfigurationError):
    """All that is wrong with a configuration. `errors` holds one ConfigurationError for each problem."""

    def __init__(self, errors: Iterable[ConfigurationError]) -> None:
        # Two looks at the same thing may find the same: it is told once.
        told = {str(single): single for error in errors for single in problems(error)}
        self.errors: tuple[ConfigurationError, ...] = tuple(told.values())
        first = self.errors[0]
        super().__init__(first.problem, field=first.field, where=first.where, fix=first.fix)
        self.args = ("\n".join(map(str, self.errors)),)


def problems(error: ConfigurationError) -> tuple[ConfigurationError, ...]:
    """The single problems of an error: itself, or those it was made of."""
    return error.errors if isinstance(error, ConfigurationErrors) else (error,)


def located(error: ConfigurationError, places: Places, way: Path) -> ConfigurationErrors:
    """An error with place and field of the option behind it, where it has none of its own."""
    where, field = places.of(way), spelled(way)
    return ConfigurationErrors(
        MissingExtra(found.problem, field=field, where=where, fix=found.fix)
        if isinstance(found, MissingExtra)
        else ConfigurationError(
            found.problem, field=found.field or field, where=found.where or where, fix=found.fix
        )
        for found in problems(error)
    )


@dataclass(frozen=True, slots=True)
class Places:
    """Where the values of one document were written. All are equal: it does not tell two mappings apart."""

    where: str = field(default="", compare=False)
    """Of all whose line is not known: a file, or a file and the line of a call."""
    lines: Mapping[Path, int] = field(default_factory=dict, compare=False)

    def of(self, path: Path) -> str:
        """File and line of a value, or of the nearest thing around it that has one."""
        path = tuple(map(plain, path))
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return f"{self.where}:{line}"
        return self.where

    def under(self, path: Path) -> Places:
        """The places of one part of the document."""
        path = tuple(map(plain, path))
        size = len(path)
        lines = {own[size:]: line for own, line in self.lines.items() if own[:size] == path}
        around = next((self.lines[path[:n]] for n in range(size, -1, -1) if path[:n] in self.lines), None)
        if around is not None:
            lines.setdefault((), around)
        return Places(self.where, lines)


def plain(part: str | int) -> str | int:
    """One name for the two spellings of any option."""
    return to_snake(part) if isinstance(part, str) and part[:1].isupper() else part


def caller() -> str:
    """File and line of the code outside streamfn that called into it; empty where there is none."""
    frame = sys._getframe(1)  # noqa: SLF001 - the public way reads every source file of the stack
    while frame.f_globals.get("__name__", "").partition(".")[0] == "streamfn":
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return f"{_short(frame.f_code.co_filename)}:{frame.f_lineno}"


def _short(file: str) -> str:
    """As seen from the working folder, where it lies below."""
    inside = os.getcwd() + os.sep
    return file.removeprefix(inside)


def wrong(problem: str, fix: str = "") -> PydanticCustomError:
    """What a validator raises: the problem and its fix, in our own words."""
    return PydanticCustomError("streamfn", "{problem}", {"problem": problem, "fix": fix})


def spelled(path: Path) -> str:
    """A field in AWS's spelling: `DestinationConfig.OnFailure.Destination`, `FunctionResponseTypes[0]`."""
    text = ""
    raw = False
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = (
                part if raw and text else _SPELLED.get(part) or (to_pascal(part) if part.islower() else part)
            )
            text += f".{name}" if text else name
            raw = part == "tags"
    return text


def _pascal(name: str) -> str:
    return _SPELLED.get(name) or (to_pascal(name) if name.islower() else name)


def translate(
    error: ValidationError,
    model: type[BaseModel],
    places: Places,
    ways: Mapping[str, Path] | None = None,
    *,
    spell: bool = True,
) -> list[ConfigurationError]:
    """What pydantic found, in plain words. `ways`: where fields stand that were not written by their names.
    `spell`: fields in AWS's spelling, else as in the file.
    """
    found = []
    for item in error.errors(include_url=False):
        path = _named(item["loc"])
        problem, fix = _words(item, model, path)
        if ways and path and (way := ways.get(str(path[0]))):
            path = (*way, *path[1:])
        if not spell:
            name = _dotted(path)
        elif item["type"] == "extra_forbidden":
            # Not a name of ours, so it stands as it was written.
            name = ".".join(filter(None, (spelled(path[:-1]), str(path[-1]))))
        else:
            name = spelled(path)
        found.append(ConfigurationError(problem, field=name, where=places.of(path), fix=fix))
    return found


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean X?` without the blank in front, or nothing."""
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {matches[0]}?" if matches else ""


def one_of(words: Sequence[str]) -> str:
    """`a, b or c`"""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _named(loc: Path) -> Path:
    """The way without the parts that only say which member of a union was tried."""
    return tuple(part for part in loc if not (isinstance(part, str) and ("[" in part or part in _TRIED)))


_TRIED = frozenset({"str", "int", "float", "bool", "is-instance"})


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _words(item: Any, model: type[BaseModel], path: Path) -> tuple[str, str]:
    context = item.get("ctx", {})
    given = item.get("input")
    match item["type"]:
        case "streamfn":
            return context["problem"], context["fix"]
        case "extra_forbidden":
            return _extra(model, path)
        case "missing":
            return "is required", ""
        case "enum" | "literal_error":
            return f"must be {context['expected']}, not {_shown(given)}", ""
        case "greater_than" | "greater_than_equal":
            least = context.get("ge", context.get("gt"))
            more = "more than" if "gt" in context else "at least"
            return f"must be {more} {_number(least)}, not {_shown(given)}", ""
        case "less_than" | "less_than_equal":
            return f"must be at most {_number(context.get('le', context.get('lt')))}, not {_shown(given)}", ""
        case kind:
            if wanted := next((word for start, word in _WANTED.items() if kind.startswith(start)), None):
                return f"must be {wanted}, not {_shown(given)}", ""
            message: str = item["msg"]
            return message.removeprefix("Value error, "), ""


_WANTED = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_type": "text",
    "list_": "a list",
    "tuple_": "a list",
    "dict_": "a set of names and values",
    "model_": "a set of names and values",
    "callable": "a Python function",
}


def _extra(model: type[BaseModel], path: Path) -> tuple[str, str]:
    word = str(path[-1])
    inner: Any = model
    for part in path[:-1]:
        if isinstance(part, str):
            inner = _model_of(getattr(inner, "model_fields", {}).get(part)) or inner
    names = dict(getattr(inner, "model_fields", {}))
    names.update(getattr(inner, "also_takes", dict)() if inner is model else {})
    if word in names:
        return f"is given twice, as {spelled((word,))} and as {word}", "keep one of the two"
    pascal = [spelled((name,)) for name in names]
    hint = nearest(word, [*names, *pascal] if "_" in word or word.islower() else [*pascal, *names])
    if not hint and (same := [n for n in pascal if n.lower() == word.lower().replace("_", "")]):
        hint = f"did you mean {same[0]}?"
    return "unknown option", hint


def _model_of(info: Any) -> Any:
    """The model that a field holds, if it holds one."""
    annotation = getattr(info, "annotation", None)
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if hasattr(candidate, "model_fields"):
            return candidate
    return None


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
