"""The JSON schema of `streamfn.yaml`, out of the models that check it: both spellings, with what fields say.

Editors complete and check by it. It takes all that `streamfn check` takes; what depends on more than one
option is left to that.
"""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from streamfn.config.aws import AwsForms
from streamfn.config.endpoints import Endpoint
from streamfn.config.errors import spelled
from streamfn.config.fields import NotYet, Seconds, Share, Times, Whole
from streamfn.config.file import _Top  # the file as it is written
from streamfn.config.function import AliasEntry, FunctionConfig
from streamfn.config.invoking import EventInvokeConfig, InvokeForms
from streamfn.config.kinds import FIFO, KAFKA, QUEUE, STREAM, Kind
from streamfn.config.mapping import EventSourceMapping
from streamfn.config.meanings import BY_MODEL
from streamfn.config.provisioning import ProvisionedEntry
from streamfn.config.settings import Settings

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE: Final[Schema] = {"type": "string", "pattern": r"\$\{"}
"""`${NAME}` may stand for any single value."""
_DEFS: Final = "#/$defs/"
_TEXT: Final[Schema] = {"type": "string"}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_VARIABLES: Final[Schema] = {
    "anyOf": [
        _TEXTS,
        {"type": "object", "properties": {"Variables": _TEXTS}, "required": ["Variables"]},
        {"type": "object", "properties": {"variables": _TEXTS}, "required": ["variables"]},
    ]
}
_SIZE: Final[Schema] = {"type": "object", "minProperties": 1, "maxProperties": 1}


def schema() -> Schema:
    """The schema of the whole file."""
    return _Walk().file()


class _Walk:
    """Goes through models, and collects what it finds below `$defs`."""

    def __init__(self) -> None:
        self._defs: dict[str, Schema] = {}
        self._known: dict[type[BaseModel], str] = {}

    def file(self) -> Schema:
        top = self._object(_Top, (_Top,), both=False)
        properties = top["properties"]
        properties["functions"]["additionalProperties"] = {
            "anyOf": [
                {"type": "string", "description": "module:name, in this process"},
                self.ref(FunctionConfig),
            ]
        }
        properties["event_source_mappings"]["items"] = self.ref(EventSourceMapping)
        properties["endpoints"]["items"] = self.ref(Endpoint)
        self.ref(Settings)
        self._defs["Settings"]["properties"] |= {
            name: {"$ref": f"{_DEFS}Number", "default": value, "description": BY_MODEL["Settings"][name]}
            for name, value in Settings().values().items()
            if "." in name
        }
        self._defs["Number"] = {"anyOf": [{"type": "number", "minimum": 0}, _VARIABLE]}
        properties["settings"] = {"description": properties["settings"].get("description", "")} | self.ref(
            Settings
        )
        head = {"$schema": DIALECT, "title": "streamfn.yaml"}
        return head | top | {"$defs": dict(sorted(self._defs.items()))}

    # ------------------------------------------------------------------------------------------ models

    def ref(self, model: type[BaseModel]) -> Schema:
        name = self._known.get(model)
        if name is None:
            name = model.__name__
            if name in self._defs:
                name = f"{model.__module__.rpartition('.')[2]}.{name}"
            self._known[model] = name
            self._defs[name] = {}
            both = model.model_config.get("alias_generator") is not None
            self._defs[name] = self._object(model, (model, *_MORE.get(model, ())), both=both)
        return {"$ref": f"{_DEFS}{name}"}

    def _object(self, model: type[BaseModel], models: tuple[type[BaseModel], ...], *, both: bool) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[Schema] = []
        for each in models:
            told = {**_descriptions(each), **BY_MODEL.get(each.__name__, {})}
            for name, info in each.model_fields.items():
                found = self._field(each, name, info)
                if found is None:
                    continue
                if meaning := _said(each, name, told.get(name, "")):
                    found = {"description": meaning} | found
                if (default := _default(info)) is not None:
                    found = found | {"default": default}
                names = _names(name, info, both)
                if name == "function" and both:
                    names.append("function_name")
                properties |= dict.fromkeys(names, found)
                if info.is_required() and model is not EventInvokeConfig:  # which stands below its function
                    names += [*_ALSO.get((each.__name__, name), ())]
                    required.append({"anyOf": [{"required": [spelling]} for spelling in names]})
        made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if description := inspect.getdoc(model):
            made["description"] = " ".join(description.split("\n\n")[0].split())
        return made | ({"allOf": required} if required else {})

    def _field(self, model: type[BaseModel], name: str, info: FieldInfo) -> Schema | None:
        """None: what cannot be written in a file."""
        if (own := _OVERRIDES.get((model.__name__, name))) is not None:
            return own(self)
        if any(isinstance(each, NotYet) for each in info.metadata):
            return {"description": "Not supported yet."}
        return self.type(info.annotation, info.metadata)

    # ------------------------------------------------------------------------------------------- types

    def type(self, annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> Schema | None:
        origin = get_origin(annotation)
        if origin is Annotated:
            inner, *more = get_args(annotation)
            return self.type(inner, [*_flat(more), *metadata])
        if origin in (Union, types.UnionType):
            kinds = [
                found for each in get_args(annotation) if (found := self.type(each, metadata)) is not None
            ]
            return _any_of(kinds) if [kind for kind in kinds if kind != {"type": "null"}] else None
        if origin is Literal:
            return _any_of([{"enum": list(get_args(annotation))}, _VARIABLE])
        if origin in (tuple, list):
            items = self.type(get_args(annotation)[0]) or {}
            return {"type": "array", "items": items} | _limits(metadata, "Items")
        if origin in (dict, Mapping):
            inner = self.type(get_args(annotation)[1]) or {}
            # Keys are named by their owner.
            return {"type": "object", "additionalProperties": _scalar_text(inner)}
        return self._plain(annotation, metadata)

    def _plain(self, annotation: Any, metadata: list[Any] | tuple[Any, ...]) -> Schema | None:
        if annotation is Any:
            return {}
        if annotation is type(None):
            return {"type": "null"}
        if not isinstance(annotation, type):
            return None
        if issubclass(annotation, BaseModel):
            return self.ref(annotation)
        if issubclass(annotation, Enum):
            return _any_of([{"enum": [each.value for each in annotation]}, _VARIABLE])
        if annotation is bool:
            return _any_of([{"type": "boolean"}, _VARIABLE])
        if annotation is int or annotation is float:
            return _number("integer" if annotation is int else "number", metadata)
        if annotation is str:
            return _TEXT | _limits(metadata, "Length") | _pattern(metadata)
        return None  # an object of Python's


_MORE: Final[Mapping[type[BaseModel], tuple[type[BaseModel], ...]]] = {
    EventSourceMapping: (AwsForms,),
    EventInvokeConfig: (InvokeForms,),
}
"""AWS's forms, which are taken beside a model's own fields."""

_ALSO: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("EventSourceMapping", "source"): (
        "event_source_arn", "EventSourceArn", "self_managed_event_source", "SelfManagedEventSource",
    ),
}  # fmt: skip
"""What may stand for a required option."""


def _or_flag(walk: _Walk, name: str) -> Schema:
    model = FunctionConfig if name == "adaptive_concurrency" else EventSourceMapping
    inner = walk.type(model.model_fields[name].annotation) or {}
    return _any_of([{"type": "boolean"}, {"enum": ["aimd", "gradient"]}, inner])


def _provisioned(walk: _Walk) -> Schema:
    return _any_of([{"type": "integer", "minimum": 0}, walk.ref(ProvisionedEntry)])


def _one_or_more(inner: Schema) -> Schema:
    return _any_of([inner, {"type": "array", "items": inner}])


def _any_of(kinds: list[Schema]) -> Schema:
    flat = [single for kind in kinds for single in (kind["anyOf"] if set(kind) == {"anyOf"} else [kind])]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _number(kind: str, metadata: list[Any] | tuple[Any, ...]) -> Schema:
    found: Schema = {"type": kind}
    kinds: list[Schema] = [found]
    for each in metadata:
        if isinstance(each, Whole | Seconds | Times):
            found |= {"minimum": each.low, "maximum": each.high}
            if isinstance(each, Whole) and each.or_infinite:
                kinds.append({"const": -1})
        elif isinstance(each, Share):
            found |= {"exclusiveMinimum": 0, "maximum": 1}
        else:
            limits = {"minimum": getattr(each, "ge", None), "maximum": getattr(each, "le", None)}
            found |= {name: value for name, value in limits.items() if value is not None}
    return _any_of([*kinds, _VARIABLE])


def _limits(metadata: list[Any] | tuple[Any, ...], what: str) -> Schema:
    found: Schema = {}
    for each in metadata:
        for ours, theirs in (("min_length", f"min{what}"), ("max_length", f"max{what}")):
            if (value := getattr(each, ours, None)) is not None:
                found[theirs] = value
    return found


def _pattern(metadata: list[Any] | tuple[Any, ...]) -> Schema:
    patterns = [pattern for each in metadata if (pattern := getattr(each, "pattern", None)) is not None]
    return {"anyOf": [{"pattern": patterns[0]}, _VARIABLE]} if patterns else {}


def _scalar_text(inner: Schema) -> Schema:
    return {"type": ["string", "number", "boolean"]} if inner.get("type") == "string" else inner


def _flat(metadata: list[Any]) -> Iterator[Any]:
    """With what stands inside of pydantic's `Field`."""
    for each in metadata:
        if isinstance(each, FieldInfo):
            yield from each.metadata
        else:
            yield each


_LINK: Final = re.compile(r" \(\[[^]]*\]\([^)]*\)\)")
"""Of Markdown, which leads nowhere in an editor."""


def _said(model: type[BaseModel], name: str, meaning: str) -> str:
    """What a field means, with the defaults that depend on the kind of source."""
    text = _LINK.sub("", meaning)
    if model is not EventSourceMapping or name not in _BY_KIND:
        return text
    kinds = {"Kafka": KAFKA, "streams": STREAM, "queues": QUEUE, "FIFO queues": FIFO}
    values = {
        kind: _plain_value(_BY_KIND[name](facts)) for kind, facts in kinds.items() if name in facts.takes
    }
    return f"{text} Default: {', '.join(f'{kind} {value}' for kind, value in values.items())}."


_BY_KIND: Final[Mapping[str, Callable[[Kind], Any]]] = {
    "batch_size": lambda kind: kind.batch_size,
    "maximum_batching_window_in_seconds": lambda kind: f"{kind.window:g} s",
    "ordering": lambda kind: kind.ordering,
}


def _plain_value(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _default(info: FieldInfo) -> Any:
    """What holds where nothing is written; None: nothing does, or it depends."""
    value = _plain_value(None if info.is_required() else info.default)
    return value if isinstance(value, bool | int | float) or (isinstance(value, str) and value) else None


def _names(name: str, info: FieldInfo, both: bool) -> list[str]:
    if not both:
        return [info.alias or name]
    names = [name, info.alias or spelled((name,))]
    return list(dict.fromkeys(names))


@cache
def _descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """What stands below the fields of a model, and of those that it is made of."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= dict(_below(each))
    return found


def _below(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    body = ast.parse(dedent(inspect.getsource(model))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for statement, after in pairwise(statements):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield statement.target.id, " ".join(after.value.value.split())


_OVERRIDES: Final[Mapping[tuple[str, str], Callable[[_Walk], Schema]]] = {
    ("AliasEntry", "function_version"): lambda _: {"type": ["string", "integer"]},
    ("AwsForms", "topics"): lambda _: {"type": "array", "items": _TEXT, "maxItems": 1},
    ("Endpoint", "account"): lambda _: {"type": ["string", "integer"]},
    ("EventSourceMapping", "circuit_breaker"): lambda walk: _or_flag(walk, "circuit_breaker"),
    ("EventSourceMapping", "filters"): lambda _: {"type": "array", "items": {"type": ["object", "string"]}},
    ("EventSourceMapping", "qualifier"): lambda _: {"type": ["string", "integer", "null"]},
    ("EventSourceMapping", "starting_position_timestamp"): lambda _: {"type": ["number", "string"]},
    ("EventInvokeConfig", "qualifier"): lambda _: {"type": ["string", "integer", "null"]},
    ("Filter", "pattern"): lambda _: {"type": ["object", "string"]},
    ("FunctionConfig", "adaptive_concurrency"): lambda walk: _or_flag(walk, "adaptive_concurrency"),
    ("FunctionConfig", "aliases"): lambda walk: {
        "type": "object",
        "additionalProperties": _any_of([{"type": ["string", "integer"]}, walk.ref(AliasEntry)]),
    },
    ("FunctionConfig", "credentials"): lambda _: _VARIABLES,
    ("FunctionConfig", "environment"): lambda _: _VARIABLES,
    ("FunctionConfig", "ephemeral_storage"): lambda _: _any_of(
        [_number("integer", [Whole(512, 10_240)]), _SIZE]
    ),
    ("FunctionConfig", "event_invoke_config"): lambda walk: _one_or_more(walk.ref(EventInvokeConfig)),
    ("FunctionConfig", "provisioned_concurrency"): _provisioned,
    ("AliasEntry", "provisioned_concurrency"): _provisioned,
}
"""What validators take beyond the type of their field."""
