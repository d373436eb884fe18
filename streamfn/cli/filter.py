"""`streamfn filter`: the lines that an event pattern matches, and of a single event why it does not."""

from __future__ import annotations

import sys
import zipfile
import zlib
from base64 import b64decode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from streamfn.cli import CLEAN
from streamfn.cli.reading import opened
from streamfn.core.events import DYNAMODB_FILTERING, KAFKA_FILTERING, KINESIS_FILTERING, SQS_FILTERING
from streamfn.core.filtering import DataKind, FilterCriteria, asked_kind, asked_kinds, kind_of_data
from streamfn.core.patterns import Predicate, compile_rules
from streamfn.core.patterns.explaining import Reason, explain
from streamfn.core.rendering import decoded
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from streamfn.cli.reading import Bytes
    from streamfn.core.events import FilterForm

NOTHING: Final = 1
"""The exit code where no event matches."""

Event: TypeAlias = tuple[str, bytes, Any]
"""File and line, the JSON, and what it says."""


def filter_lines(options: argparse.Namespace) -> int:
    """Prints the lines that match. 0: some do; 1: none; 2: the pattern or a line is not valid."""
    trial = _trial(text_of_pattern(options.pattern), options.source)
    events = matched = 0
    reasons: tuple[Reason, ...] = ()
    with opened(options.file) as source:
        for where, line, event in trial.events(_lines(source.stream, options.file)):
            events += 1
            if trial.matches(where, event):
                matched += 1
                if not options.json:
                    _print(line)
            elif events == 1:
                reasons = trial.why_not(event)
    if events != 1 or matched:
        reasons = ()
    if options.json:
        why_not = [asdict(reason) for reason in reasons]
        _print(orjson.dumps({"events": events, "matched": matched, "why_not": why_not}))
    elif not matched:
        _tell(events, reasons)
    sys.stdout.buffer.flush()
    return CLEAN if matched else NOTHING


@dataclass(frozen=True, slots=True)
class _Plain:
    """A pattern on events as they are."""

    pattern: str
    predicate: Predicate

    def events(self, lines: Iterator[Event]) -> Iterator[Event]:
        return lines

    def matches(self, where: str, event: Any) -> bool:
        return self.predicate(event)

    def why_not(self, event: Any) -> tuple[Reason, ...]:
        if not isinstance(event, dict):
            return (Reason("the event", "an object", _kind_of_json(event)),)
        return explain(self.pattern, event)


@dataclass(frozen=True, slots=True)
class _OfSource:
    """A pattern on records of events, as a mapping of that source filters them."""

    pattern: str
    source: str
    form: FilterForm
    criteria: FilterCriteria

    def events(self, lines: Iterator[Event]) -> Iterator[Event]:
        """The records, one by one, of what may be whole events."""
        for where, line, event in lines:
            if not isinstance(event, dict):
                raise self._no_record(where)
            match event:
                case {"Records": [*records]}:
                    pass
                case {"records": {**parts}}:
                    records = [record for part in parts.values() if isinstance(part, list) for record in part]
                case _:
                    yield where, line, event
                    continue
            for record in records:
                yield where, orjson.dumps(record), record

    def matches(self, where: str, event: Any) -> bool:
        try:
            data = _DATA[self.source][1](event)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise self._no_record(where) from None
        return self.criteria.test(data)(self.form.placed(event, data))

    def why_not(self, event: Any) -> tuple[Reason, ...]:
        data = _DATA[self.source][1](event)
        kind = kind_of_data(data)
        reasons = {
            reason: asked_kind(reason.path, self.form)
            for reason in explain(self.pattern, self.form.placed(event, data))
        }
        here = [reason for reason, asked in reasons.items() if asked in (None, kind)]
        if self.form.ignores_other_kinds:
            return tuple(here)
        kinds = asked_kinds(self.pattern, self.form)
        others = kinds - {kind}
        if not others or (kind in kinds and len(here) == len(reasons) > 0):
            return tuple(here)
        wanted = " or ".join(sorted(other.value for other in others))
        return (Reason(self.form.paths[0], wanted, kind.value), *here)

    def _no_record(self, where: str) -> ConfigurationError:
        return ConfigurationError(
            f"no record of {self.source}",
            where=where,
            fix=f"give records as a function gets them, with {self.form.paths[-1]} in them",
        )


def _trial(pattern: str, source: str | None) -> _Plain | _OfSource:
    """Raises InvalidPattern, and ConfigurationError for a pattern that the source does not take."""
    if source is None:
        return _Plain(pattern, compile_rules(pattern))
    form = _DATA[source][0]
    if not form.takes_text and DataKind.TEXT in asked_kinds(pattern, form):
        raise ConfigurationError(
            f"data of {source} is matched as JSON only",
            field=form.paths[0],
            fix=f'write an object below it, such as {{"{form.paths[0]}": {{"kind": ["a"]}}}}',
        )
    return _OfSource(pattern, source, form, FilterCriteria([pattern], form))


_DATA: Final[dict[str, tuple[FilterForm, Callable[[Any], Any]]]] = {
    "sqs": (SQS_FILTERING, lambda record: decoded(record["body"].encode(), orjson.loads)),
    "kinesis": (KINESIS_FILTERING, lambda record: _unpacked(record["kinesis"]["data"])),
    "dynamodb": (DYNAMODB_FILTERING, lambda record: dict(record["dynamodb"])),
    "kafka": (
        KAFKA_FILTERING,
        lambda record: None if record["value"] is None else _unpacked(record["value"]),
    ),
}
"""By source, how patterns speak of a record as delivered, and its data."""


def _unpacked(text: str) -> Any:
    return decoded(b64decode(text, validate=True), orjson.loads)


def text_of_pattern(pattern: str) -> str:
    """The pattern itself, or what stands in the file behind an @."""
    if not pattern.startswith("@"):
        return pattern
    try:
        return Path(pattern[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"cannot be read: {reason}", where=pattern[1:]) from None


def _lines(stream: Bytes, file: str) -> Iterator[Event]:
    """The events of a file: one a line, or one over many lines. Raises ConfigurationError with the line."""
    number, begun = 0, False
    try:
        for number, raw in enumerate(stream, 1):
            line = raw.strip()
            if not line:
                continue
            where = f"{'standard input' if file == '-' else file}:{number}"
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if begun or (whole := _over_lines(line + b"\n" + stream.read())) is None:
                    raise ConfigurationError(f"not JSON: {error}", where=where) from None
                yield where, orjson.dumps(whole), whole
                return
            begun = True
            yield where, line, event
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"cannot be read from here on: {error}", where=f"{file}:{number + 1}"
        ) from None


def _over_lines(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _print(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    if sys.stdout.isatty():
        sys.stdout.buffer.flush()


def _tell(events: int, reasons: tuple[Reason, ...]) -> None:
    if events == 1:
        sys.stderr.write("streamfn: the event does not match\n")
        sys.stderr.writelines(f"  {reason}\n" for reason in reasons)
    else:
        sys.stderr.write(f"streamfn: none of {events:,} events matches\n")


def _kind_of_json(event: object) -> str:
    return "an array" if isinstance(event, list) else orjson.dumps(event).decode()
