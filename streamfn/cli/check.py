"""`streamfn check`: is the configuration right, can functions run, and can every end be reached?"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import orjson

from streamfn.cli import BAD_CONFIGURATION, CLEAN, logs, target
from streamfn.cli.table import table
from streamfn.errors import ConfigurationError, StreamfnError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from streamfn.app import App
    from streamfn.config import EventInvokeConfig, EventSourceMapping
    from streamfn.ports import Destination, Source

    Config: TypeAlias = EventSourceMapping | EventInvokeConfig

_WIDEST: Final = 60
"""Characters of a name in the table: a filter's is its whole pattern."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one end of a mapping, or of a function."""

    mapping: str
    role: str
    name: str
    ok: bool = True
    problem: str = ""
    field: str = ""
    where: str = ""
    fix: str = ""

    @property
    def result(self) -> str:
        """One line: `ok`, or what is wrong, where, and what to do."""
        if self.ok:
            return "ok"
        return str(ConfigurationError(self.problem, field=self.field, where=self.where, fix=self.fix))


def check(options: argparse.Namespace) -> int:
    """Looks at all of an app and tells of everything that is wrong. 2: something is."""
    logs.configure("warning")
    try:
        loaded = target.load_all(options)
    except ConfigurationError as error:
        if not options.json:
            raise
        findings = _wrong("", "configuration", options.target, [error])
    else:
        for sentence in loaded.not_honoured:
            sys.stderr.write(f"streamfn: not honoured: {sentence}\n")
        findings = asyncio.run(_look(loaded.app, options.timeout))
    if options.json:
        sys.stdout.write(orjson.dumps([asdict(finding) for finding in findings]).decode() + "\n")
    elif not findings:
        sys.stdout.write(f"{options.target}: nothing is declared that could be reached\n")
    else:
        rows = [(one.mapping, one.role, _short(one.name), one.result) for one in findings]
        sys.stdout.write(table(("MAPPING", "WHAT", "NAME", "RESULT"), rows))
    return CLEAN if all(finding.ok for finding in findings) else BAD_CONFIGURATION


def _short(name: str) -> str:
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 3]}..."


async def _look(app: App, wait: float) -> list[Finding]:
    names = (*app.declared, *app.deployments, *app.event_invoke_configs)
    found: dict[str, list[Finding]] = {name: [] for name in names}
    async with anyio.create_task_group() as tasks:
        for name in app.deployments:
            tasks.start_soon(_look_at_function, app, name, wait, found[name])
        for mapping in app.declared.values():
            tasks.start_soon(_look_at, app, mapping, wait, found[mapping.name])
        for key, config in app.event_invoke_configs.items():
            tasks.start_soon(_look_at_destinations, app, key, config, target.OF_EVENTS, wait, found[key])
    return [finding for findings in found.values() for finding in findings]


async def _look_at(app: App, mapping: EventSourceMapping, wait: float, findings: list[Finding]) -> None:
    if mapping.function not in app.functions:
        known = ", ".join(sorted(app.functions)) or "none is declared"
        error = ConfigurationError("Function does not exist", fix=f"take one of: {known}")
        errors = mapping.located(error, "function").errors
        findings += _wrong(mapping.name, "function", mapping.function, errors)
    source, problems = target.source_at(app, mapping)
    if source is not None:
        errors = await _reach(source, mapping, "source", wait)
        findings += _wrong(mapping.name, "source", source.name, errors)
        findings += (Finding(mapping.name, "filter", pattern) for pattern in mapping.filters)
    else:
        # Behind the question mark may stand a password.
        named = mapping.source.partition("?")[0] if isinstance(mapping.source, str) else mapping.source.name
        findings += _wrong(mapping.name, "source", named, problems)
    await _look_at_destinations(app, mapping.name, mapping, target.OF_MAPPINGS, wait, findings)


async def _look_at_function(app: App, name: str, wait: float, findings: list[Finding]) -> None:
    code = app.deployments[name].code_uri or "inline code"
    errors: list[ConfigurationError] = []
    try:
        with anyio.fail_after(wait):
            await app.check_function(name)
    except ConfigurationError as error:
        errors.append(error)
    except TimeoutError:
        errors.append(ConfigurationError(f"no answer within {wait:g} s", fix=_REACHABLE))
    except (OSError, StreamfnError) as error:
        errors.append(ConfigurationError(f"{error}" or type(error).__name__, fix=_REACHABLE))
    findings += _wrong(name, "function", code.partition("?")[0], errors)


async def _look_at_destinations(
    app: App, name: str, config: Config, options: Iterable[str], wait: float, findings: list[Finding]
) -> None:
    for option in options:
        role = option.replace("_", " ")
        destination, problems = target.destination_at(app, config, option)
        if problems:
            findings += _wrong(name, role, str(getattr(config, option)).partition("?")[0], problems)
        if destination is not None:
            try:
                errors = await _reach(destination, config, option, wait)
            finally:
                with anyio.move_on_after(wait, shield=True):
                    await destination.close()
            findings += _wrong(name, role, destination.name, errors)


async def _reach(
    end: Source | Destination, config: Config, option: str, wait: float
) -> tuple[ConfigurationError, ...]:
    """What stands in the way of reaching an end; nothing when it answers."""
    try:
        with anyio.fail_after(wait):
            await end.check()
    except ConfigurationError as error:
        found = error
    except TimeoutError:
        found = ConfigurationError(f"no answer within {wait:g} s", fix=_REACHABLE)
    except (OSError, StreamfnError) as error:
        found = ConfigurationError(f"{error}" or type(error).__name__, fix=_REACHABLE)
    else:
        return ()
    return config.located(found, option).errors


_REACHABLE = "see that it runs, and that this machine may reach it"


def _wrong(mapping: str, role: str, name: str, errors: Iterable[ConfigurationError]) -> list[Finding]:
    """A finding for each error, or that all is well."""
    from streamfn.config import problems

    singles = [single for error in errors for single in problems(error)]
    return [Finding(mapping, role, name, False, e.problem, e.field, e.where, e.fix) for e in singles] or [
        Finding(mapping, role, name)
    ]
