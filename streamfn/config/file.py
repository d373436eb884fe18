"""`streamfn.yaml`: an app that is written down instead of programmed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamfn.config.document import Document, read
from streamfn.config.endpoints import Endpoint, endpoints_of
from streamfn.config.ends import DeadLetters
from streamfn.config.errors import ConfigurationErrors, Places, nearest, translate
from streamfn.config.fields import Whole
from streamfn.config.function import FunctionConfig
from streamfn.config.invoking import EventInvokeConfig
from streamfn.config.mapping import EventSourceMapping, canonical
from streamfn.config.settings import Settings
from streamfn.errors import ConfigurationError

_FORM = ConfigDict(extra="forbid", frozen=True)


class LoggingEntry(BaseModel):
    """How to log, unless the command line says otherwise."""

    model_config = _FORM

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] | None = None
    functions: Annotated[str, Field(min_length=1)] | None = None
    """A folder for the logs of deployed functions; else they are among the worker's lines."""


class _Top(BaseModel):
    """The file but for its functions and mappings, which are looked at one by one."""

    model_config = _FORM

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "streamfn"
    state_dir: Annotated[str, Field(min_length=1)] = ".streamfn"
    functions: dict[str, Any] = Field(default_factory=dict)
    event_source_mappings: list[Any] = Field(default_factory=list)
    dead_letters: DeadLetters = None
    concurrent_executions: Annotated[int, Whole(1, 1_000_000)] = 1000
    """Invocations at a time of all functions together: AWS's account limit."""
    logging: LoggingEntry = LoggingEntry()
    endpoints: list[Any] = Field(default_factory=list)
    """Which server stands behind which ARN; the first that fits."""
    secrets: Annotated[str, Field(min_length=1)] | None = None
    """A file of secrets by their ARN or name; else AWS Secrets Manager."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Delays that AWS fixes, in seconds."""


class AppFile(BaseModel):
    """All that a file says, checked as far as it can be without the sources."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    path: Path
    name: str
    state_dir: Path
    functions: Mapping[str, FunctionConfig]
    mappings: tuple[EventSourceMapping, ...]
    event_invoke_configs: tuple[EventInvokeConfig, ...]
    """One for each function, version or alias that has its own."""
    dead_letters: DeadLetters
    """Of all functions and mappings that say nothing."""
    concurrent_executions: int
    logging: LoggingEntry
    document: Any
    endpoints: tuple[Endpoint, ...] = ()
    secrets: Path | None = None
    settings: Settings = Settings()

    def place(self, *way: str | int) -> str:
        """File and line of a value."""
        document: Document = self.document
        return document.places.of(way)


def load(path: Path, environment: Mapping[str, str] = os.environ) -> AppFile:
    """The app that a file describes. Relative paths in it are taken from the working folder, as in Python.

    Raises ConfigurationErrors with all problems, each with its file, line, field and fix.
    """
    if is_template(path):
        problem = "is a SAM or CloudFormation template, and no streamfn.yaml"
        fix = "streamfn run and check take it as it is"
        raise ConfigurationErrors([ConfigurationError(problem, where=str(path), fix=fix)])
    document = read(path, environment, canonical)
    if not isinstance(document.data, dict):
        problem = "is empty" if document.data is None else "must be a set of names and values"
        fix = "write functions: and event_source_mappings:"
        raise ConfigurationErrors([ConfigurationError(problem, where=str(path), fix=fix)])
    try:
        top = _Top.model_validate(document.data)
    except ValidationError as error:
        raise ConfigurationErrors(translate(error, _Top, document.places, spell=False)) from None
    found: list[ConfigurationError] = []
    functions = {}
    for name, data in top.functions.items():
        if entry := _function(name, data, document.places, found):
            functions[name] = entry
    mappings = _mappings(top, document.places, found)
    configs = _event_invoke_configs(top, document.places, found)
    endpoints, settings = _endpoints(top, document.places, found), _settings(top, document.places, found)
    if found:
        raise ConfigurationErrors(sorted(found, key=_line))
    state_dir = Path(top.state_dir).expanduser()
    return AppFile(
        path=path,
        name=top.name,
        state_dir=state_dir,
        functions=functions,
        mappings=mappings,
        event_invoke_configs=configs,
        dead_letters=top.dead_letters,
        concurrent_executions=top.concurrent_executions,
        logging=top.logging,
        document=document,
        endpoints=endpoints,
        secrets=None if top.secrets is None else Path(top.secrets).expanduser(),
        settings=settings,
    )


def _endpoints(top: _Top, places: Places, found: list[ConfigurationError]) -> tuple[Endpoint, ...]:
    try:
        return endpoints_of(top.endpoints, places.under(("endpoints",)))
    except ConfigurationErrors as error:
        found += error.errors
        return ()


def _settings(top: _Top, places: Places, found: list[ConfigurationError]) -> Settings:
    try:
        return Settings.load(top.settings, places.under(("settings",)))
    except ConfigurationErrors as error:
        found += error.errors
        return Settings()


def _line(error: ConfigurationError) -> int:
    line = error.where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


def _function(name: str, data: Any, places: Places, found: list[ConfigurationError]) -> FunctionConfig | None:
    way = ("functions", canonical(name))
    field = f"functions.{name}"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        problem = f"{name!r} is no function's name: 1 to 64 letters, digits, - or _"
        found.append(ConfigurationError(problem, field=field, where=places.of(way)))
        return None
    try:
        entry = FunctionConfig.model_validate({"handler": data} if isinstance(data, str) else data)
    except ValidationError as error:
        inside = translate(error, FunctionConfig, places.under(way), spell=False)
        found += (_in(field, problem) for problem in inside)
        return None
    return entry


def _in(field: str, error: ConfigurationError) -> ConfigurationError:
    name = ".".join(filter(None, (field, error.field)))
    return ConfigurationError(error.problem, field=name, where=error.where, fix=error.fix)


def _mappings(top: _Top, places: Places, found: list[ConfigurationError]) -> tuple[EventSourceMapping, ...]:
    loaded: dict[str, EventSourceMapping] = {}
    for index, data in enumerate(top.event_source_mappings):
        inside = places.under(("event_source_mappings", index))
        if not isinstance(data, dict):
            problem = "must be a set of names and values"
            found.append(
                ConfigurationError(problem, field=f"event_source_mappings[{index}]", where=inside.of(()))
            )
            continue
        try:
            mapping = EventSourceMapping.load(data, inside)
        except ConfigurationErrors as error:
            found += error.errors
            continue
        if mapping.function not in top.functions:
            known = ", ".join(sorted(top.functions)) or "none is declared"
            fix = nearest(mapping.function, top.functions) or f"take one of: {known}"
            place = inside.of(("function",))
            found.append(
                ConfigurationError("Function does not exist", field="FunctionName", where=place, fix=fix)
            )
        if mapping.name in loaded:
            problem = f"a mapping named {mapping.name!r} is already declared"
            place = inside.of(("name",))
            found.append(
                ConfigurationError(problem, field="Name", where=place, fix="give one of them a name")
            )
        loaded[mapping.name] = mapping
    return tuple(loaded.values())


def _event_invoke_configs(
    top: _Top, places: Places, found: list[ConfigurationError]
) -> tuple[EventInvokeConfig, ...]:
    loaded: dict[str, EventInvokeConfig] = {}
    for name, field, data, inside in _sets(top, places):
        try:
            config = _event_invoke_config(name, data, field, inside)
        except ConfigurationErrors as error:
            found += error.errors
            continue
        if config.key in loaded:
            problem, fix = f"options of {config.key} are already declared", "give one of them a Qualifier"
            found.append(ConfigurationError(problem, field=field, where=inside.of(()), fix=fix))
        loaded[config.key] = config
    return tuple(loaded.values())


def _sets(top: _Top, places: Places) -> Iterator[tuple[str, str, Any, Places]]:
    """Every set of options below a function: the function, the field, the set and its places."""
    for name, entry in top.functions.items():
        written = entry.get("event_invoke_config") if isinstance(entry, dict) else None
        field, inside = f"functions.{name}.event_invoke_config", places.under(("functions", canonical(name)))
        inside = inside.under(("event_invoke_config",))
        if isinstance(written, list):
            for index, data in enumerate(written):
                yield name, f"{field}[{index}]", data, inside.under((index,))
        elif written is not None:
            yield name, field, written, inside


def _event_invoke_config(name: str, data: Any, field: str, places: Places) -> EventInvokeConfig:
    if not isinstance(data, dict):
        problem = "must be a set of names and values, or a list of such sets"
        raise ConfigurationErrors([ConfigurationError(problem, field=field, where=places.of(()))])
    named = any(canonical(key) == "function" for key in data)
    config = EventInvokeConfig.load(data if named else {"function": name, **data}, places)
    if config.function != name:
        problem = f"must be {name}, the function that it stands under, not {config.function}"
        where = places.of(("function",))
        raise ConfigurationErrors(
            [ConfigurationError(problem, field="FunctionName", where=where, fix="remove it")]
        )
    return config


_TEMPLATE = re.compile(rb"^[\"']?(AWSTemplateFormatVersion|Transform|Resources)[\"']?\s*:", re.MULTILINE)
"""Its tags (`!Sub`) are no YAML to others, so a template is known by its text."""


def is_template(path: Path) -> bool:
    """Whether a file is a SAM or CloudFormation template. Raises OSError where it cannot be read."""
    return path.is_file() and _TEMPLATE.search(path.read_bytes()) is not None
