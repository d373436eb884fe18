"""TARGET: the app that a command works on: a module, a Python file, a `streamfn.yaml` or a template."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from streamfn.app import App
    from streamfn.config import Endpoint, EventInvokeConfig, EventSourceMapping
    from streamfn.config.file import AppFile, LoggingEntry
    from streamfn.ports import Destination, Source


class ImportFailed(ConfigurationError):
    """The user's code cannot be imported. `trace` is the part of the traceback that is theirs."""

    def __init__(self, problem: str, *, where: str, trace: str) -> None:
        super().__init__(problem, where=where)
        self.trace = trace


OF_MAPPINGS: Final = ("on_failure", "dead_letters")
OF_EVENTS: Final = ("on_success", "on_failure", "dead_letter_queue", "dead_letters")
"""Options that name destinations."""


@dataclass(frozen=True, slots=True)
class Target:
    """An app, and how its file wants to log."""

    app: App
    logging: LoggingEntry | None = None
    not_honoured: Sequence[str] = ()
    """Of a template: what it asks for that is not done, a sentence each."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a template is told from outside."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    endpoints: Sequence[Endpoint] = ()
    region: str = "us-east-1"
    account: str = "000000000000"


def load_all(options: argparse.Namespace) -> Target:
    """The app that a command line names, with what else it says of it; without a TARGET one that is empty.

    Raises ConfigurationError.
    """
    from streamfn.config import Settings
    from streamfn.config.endpoints import read_endpoints

    endpoints: tuple[Endpoint, ...] = ()
    if options.endpoints is not None:
        endpoints = read_endpoints(Path(options.endpoints), os.environ)
    if options.target is None:
        from streamfn.app import App

        loaded = Target(App(state_dir=options.state_dir or ".streamfn"))
    else:
        given = Given(_pairs(options.parameter), endpoints, options.region, options.account)
        loaded = load(options.target, options.state_dir, given)
    app = loaded.app
    # First, for the first that fits holds.
    app.endpoints = (*endpoints, *app.endpoints)
    app.settings = Settings.parse(options.settings, app.settings)
    if options.secrets is not None:
        app.secrets = Path(options.secrets)
    return loaded


def load(
    target: str,
    state_dir: str | None = None,
    given: Given | None = None,
) -> Target:
    """The app that a TARGET names: `module:app`, `path/to/file.py[:app]`, `streamfn.yaml` or a template.

    Imports the user's code and opens nothing.

    Raises ConfigurationError, with what the user can do about it, for all that may be wrong with it.
    """
    path, attribute = _split(target)
    if _is_template(path):
        loaded = _from_template(path, given or Given())
    elif given is not None and given.parameters:
        raise ConfigurationError("goes with a template", field="--parameter", fix="leave it out")
    elif path.suffix in (".yaml", ".yml"):
        loaded = _from_yaml(path)
    elif path.suffix == ".py" or "/" in target:
        loaded = Target(_pick(_import_file(path), attribute, target))
    else:
        loaded = Target(_pick(_import_module(str(path), target), attribute, target))
    if state_dir is not None:
        loaded.app.state_dir = Path(state_dir)
    return loaded


def source_at(app: App, mapping: EventSourceMapping) -> tuple[Source | None, tuple[ConfigurationError, ...]]:
    """The source of a mapping, not connected, or what is wrong with it."""
    try:
        return app.source_of(mapping)[0], ()
    except ConfigurationError as error:
        return None, tuple(mapping.located(error, "source").errors)


def destination_at(
    app: App, config: EventSourceMapping | EventInvokeConfig, option: str
) -> tuple[Destination | None, tuple[ConfigurationError, ...]]:
    """The destination that an option names, not connected, or what is wrong with it; neither where it names
    none.
    """
    try:
        return app.destination_of(getattr(config, option)), ()
    except ConfigurationError as error:
        return None, tuple(config.located(error, option).errors)


def verify(app: App) -> None:
    """Raises ConfigurationErrors with the problems of all mappings and functions; starting would tell of the
    first.
    """
    from streamfn.config import ConfigurationErrors

    found: list[ConfigurationError] = []
    for mapping in app.declared.values():
        found += source_at(app, mapping)[1]
        for option in OF_MAPPINGS:
            found += destination_at(app, mapping, option)[1]
    for config in app.event_invoke_configs.values():
        for option in OF_EVENTS:
            found += destination_at(app, config, option)[1]
    if found:
        raise ConfigurationErrors(found)


def _split(target: str) -> tuple[Path, str]:
    name, colon, attribute = target.rpartition(":")
    return (Path(name), attribute) if colon and name else (Path(target), "")


def _import_module(name: str, target: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(
            f"{name!r} is neither a module nor a file",
            where=target,
            fix="name module:app, path/to/file.py or streamfn.yaml",
        )
    # As for `python -m`: the working folder comes first.
    _at_front(Path.cwd())
    return _importing(name, target, name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise ConfigurationError(
            problem, where=str(path), fix="name module:app, path/to/file.py or streamfn.yaml"
        )
    if path.suffix != ".py":
        raise ConfigurationError(
            "not a Python file", where=str(path), fix="name a .py file, or streamfn.yaml"
        )
    # A file of a package is imported as part of it, so that its relative imports work.
    path = path.resolve()
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _at_front(folder)
    name = ".".join(parts)
    found = sys.modules.get(name)
    if found is not None and getattr(found, "__file__", None) != str(path):
        raise ConfigurationError(
            f"another module is called {name!r}: {getattr(found, '__file__', 'built in')}",
            where=str(path),
            fix="give the file another name",
        )
    return _importing(name, str(path), name)


def _importing(name: str, where: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ConfigurationError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise ConfigurationError(
                f"there is no module {missing!r}", where=where, fix="start from its folder, or install it"
            ) from None
        raise _failed(error, where) from error
    except (Exception, SystemExit) as error:
        raise _failed(error, where) from error


def _failed(error: BaseException, where: str) -> ImportFailed:
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parent.parent)
    theirs = [
        f
        for f in frames
        if not (f.filename.startswith(("<frozen importlib", ours)) or "/importlib/" in f.filename)
    ]
    last = theirs[-1] if theirs else None
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    elif last is not None:
        where = f"{last.filename}:{last.lineno}"
    said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    trace = (
        "".join(["Traceback (most recent call last):\n", *traceback.format_list(theirs)]) if theirs else ""
    )
    trace += "".join(traceback.format_exception_only(error))
    return ImportFailed(f"cannot be imported: {said}", where=where, trace=trace)


def _pick(module: ModuleType, attribute: str, target: str) -> App:
    from streamfn.app import App

    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    listed = ", ".join(sorted(apps)) or "none"
    if not attribute:
        if len({id(app) for app in apps.values()}) == 1:
            return next(iter(apps.values()))
        problem = "has no App" if not apps else f"has more than one App: {listed}"
        fix = "write app = streamfn.App() in it" if not apps else f"name one: {target}:{min(apps)}"
        raise ConfigurationError(problem, where=target, fix=fix)
    value: Any = module
    for name in attribute.split("."):
        if not hasattr(value, name):
            near = get_close_matches(attribute, apps, n=1)
            fix = f"did you mean {near[0]}?" if near else f"name one of its Apps: {listed}"
            raise ConfigurationError(f"{module.__name__} has no {attribute!r}", where=target, fix=fix)
        value = getattr(value, name)
    if not isinstance(value, App):
        raise ConfigurationError(
            f"{attribute!r} is no App but of type {type(value).__name__}",
            where=target,
            fix=f"name one of its Apps: {listed}",
        )
    return value


def _at_front(folder: Path) -> None:
    path = str(folder.resolve())
    if path in sys.path:
        sys.path.remove(path)
    sys.path.insert(0, path)


# ------------------------------------------------------------------------------------- streamfn.yaml


def _from_yaml(path: Path) -> Target:
    from streamfn.config.file import load as load_file

    if not path.is_file():
        raise ConfigurationError(
            "no such file", where=str(path), fix="name module:app, a .py file or streamfn.yaml"
        )
    _at_front(path.parent)
    return _of_file(load_file(path))


def _of_file(file: AppFile) -> Target:
    """The app that a file describes."""
    from streamfn.app import App
    from streamfn.config.errors import ConfigurationErrors

    found: list[ConfigurationError] = []
    app = App(
        name=file.name,
        state_dir=file.state_dir,
        dead_letters=file.dead_letters,
        concurrent_executions=file.concurrent_executions,
        function_logs=file.logging.functions,
        endpoints=file.endpoints,
        settings=file.settings,
        secrets=file.secrets,
    )
    for name in file.functions:
        try:
            _declare(app, file, name)
        except ImportFailed:
            raise
        except ConfigurationError as error:
            found.append(error)
    if found:
        raise ConfigurationErrors(found)
    for mapping in file.mappings:
        app.declared[mapping.name] = mapping
    for config in file.event_invoke_configs:
        app.event_invoke_configs[config.key] = config
    return Target(app, file.logging)


# -------------------------------------------------------------------------------------------- templates


_SERVERS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_SQS")
"""Variables that say where queues and streams are."""


def _is_template(path: Path) -> bool:
    if path.suffix in (".json", ".template"):
        return True
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    from streamfn.config.file import is_template

    return is_template(path)


def _from_template(path: Path, given: Given) -> Target:
    from streamfn import addressing, templates
    from streamfn.config.endpoints import LOCAL

    elsewhere = any(name in os.environ for name in _SERVERS)

    def is_local(text: str) -> bool:
        """Its own queues and streams are the embedded broker's, unless somebody says where they are."""
        arn = addressing.arn_of(text)
        found = None if arn is None else addressing.found_for(arn, given.endpoints)
        return not elsewhere if found is None else found.url == LOCAL

    stack = templates.Stack(region=given.region, account=given.account)
    template = templates.load(path, given.parameters, stack).localised(is_local)
    loaded = _of_file(template)
    return replace(loaded, not_honoured=[str(each) for each in template.not_honoured])


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"{text!r} is no parameter", field="--parameter", fix="write NAME=VALUE")
        pairs[name] = value
    return pairs


def _declare(app: App, file: AppFile, name: str) -> None:
    entry = file.functions[name]
    if entry.is_deployed:
        app.deploy_config(name, entry)
        return
    handler = _referenced(entry.handler, file, name, "handler")
    if not callable(handler):
        raise ConfigurationError(
            f"{entry.handler} is not a function but of type {type(handler).__name__}",
            field=f"functions.{name}.handler",
            where=file.place("functions", name, "handler"),
        )
    each = _referenced(entry.each, file, name, "each") if entry.each else None
    app.function(
        name=name,
        timeout=entry.seconds,
        reserved_concurrency=entry.reserved_concurrency,
        batch=entry.batch,
        each=each,
        memory_size=entry.memory_size,
    )(handler)
    if entry.adaptive_concurrency is not None:
        app.adaptive[name] = entry.adaptive_concurrency.policy()


def _referenced(reference: str, file: AppFile, name: str, option: str) -> Any:
    module_name, _, attribute = reference.partition(":")
    where, field = file.place("functions", name, option), f"functions.{name}.{option}"
    try:
        value: Any = _importing(module_name, where, module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except AttributeError:
        names = _names_of(sys.modules[module_name].__dict__)
        near = get_close_matches(attribute, names, n=1)
        raise ConfigurationError(
            f"{module_name} has no {attribute!r}",
            field=field,
            where=where,
            fix=f"did you mean {module_name}:{near[0]}?"
            if near
            else f"it has: {', '.join(names) or 'nothing'}",
        ) from None
    except ImportFailed:
        raise
    except ConfigurationError as error:
        if error.where != where:
            raise
        raise ConfigurationError(error.problem, field=field, where=where, fix=error.fix) from None
    return value


def _names_of(module: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, value in module.items() if callable(value) and not name.startswith("_"))[:20]
