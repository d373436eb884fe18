"""The tables of docs/configuration.md, made from the models. Run it to write them there anew."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic.alias_generators import to_pascal
from pydantic.fields import FieldInfo

from streamfn.config import (
    FIFO,
    KAFKA,
    QUEUE,
    STREAM,
    EventInvokeConfig,
    EventSourceMapping,
    FunctionConfig,
    Kind,
)
from streamfn.config.aws import AwsForms
from streamfn.config.fields import NotYet, Seconds, Whole
from streamfn.config.meanings import FUNCTION, INVOKING, MAPPING

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
KINDS = (KAFKA, STREAM, QUEUE, FIFO)

BEYOND = frozenset(
    {
        "adaptive_concurrency",
        "batch",
        "circuit_breaker",
        "each",
        "credentials",
        "facts",
        "idle_timeout",
        "scaling_rate",
        "strict_runtime",
        "network",
        "region",
        "dead_letters",
        "filter",
        "maximum_receive_count",
        "name",
        "on_position_lost",
        "ordering",
        "retry_backoff",
        "retry_delay",
        "retry_delays",
        "revoke_grace",
        "sequenced",
        "sequenced_limit",
        "when_destination_fails",
    }
)
"""What Lambda does not have."""


def options() -> str:
    """Every option of a mapping."""
    lines = [
        "| option | Kafka | stream | queue | FIFO queue | range | AWS | meaning |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, info in EventSourceMapping.model_fields.items():
        both = f"`{info.alias}`<br>`{name}`"
        defaults = " | ".join(_default(name, kind) for kind in KINDS)
        aws = "beyond" if name in BEYOND else "yes"
        lines.append(f"| {both} | {defaults} | {_range(info)} | {aws} | {MAPPING[name]} |")
    return "\n".join(lines)


def invoking() -> str:
    """Every option of asynchronous invocation."""
    lines = ["| option | default | range | AWS | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, info in EventInvokeConfig.model_fields.items():
        default = "required" if info.is_required() else _shown(info.default)
        aws = "beyond" if name in BEYOND else "yes"
        both = f"`{info.alias}`<br>`{name}`"
        lines.append(f"| {both} | {default} | {_range(info)} | {aws} | {INVOKING[name]} |")
    return "\n".join(lines)


def functions() -> str:
    """Every option of a function."""
    lines = ["| option | default | range | AWS | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, info in FunctionConfig.model_fields.items():
        default = "" if info.default_factory is not None else _shown(info.default)
        aws = "beyond" if name in BEYOND else "yes"
        lines.append(
            f"| `{info.alias}`<br>`{name}` | {default} | {_range(info)} | {aws} | {FUNCTION[name]} |"
        )
    return "\n".join(lines)


def forms() -> str:
    """AWS's own forms of them, and what is not there yet."""
    lines = ["| form | |", "| --- | --- |"]
    for name, info in AwsForms.model_fields.items():
        refused = any(isinstance(mark, NotYet) for mark in info.metadata)
        lines.append(f"| `{info.alias or to_pascal(name)}` | {'not yet' if refused else 'taken'} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its tables made anew."""
    for name, made in (
        ("options", options()),
        ("forms", forms()),
        ("invoking", invoking()),
        ("functions", functions()),
    ):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def _default(name: str, kind: Kind) -> str:
    if name in ("function", "source"):
        return "required"
    if name not in kind.takes:
        return "-"
    if name == "name":
        return ""
    known: dict[str, Any] = {
        "batch_size": kind.batch_size,
        "maximum_batching_window_in_seconds": kind.window,
        "ordering": kind.ordering,
        "starting_position": "TRIM_HORIZON",
        "maximum_concurrency": 10,
        "consumer_group_id": "",
    }
    return _shown(known.get(name, EventSourceMapping.default(name)))


def _shown(value: Any) -> str:
    match value:
        case None | () | "":
            return ""
        case {}:
            return ""
        case bool():
            return str(value).lower()
        case Enum():
            return f"`{value.value}`"
        case int() | float():
            return f"{value:,.15g}"
        case str():
            return f"`{value}`"
        case tuple():
            return f"`{', '.join(map(_shown, value))}`"
        case _:
            return f"`{value.first:g}, {value.factor:g}, {value.cap:g}`"


def _range(info: FieldInfo) -> str:
    marks = [*info.metadata]
    for part in get_args(info.annotation):
        marks += getattr(part, "__metadata__", ())
    for mark in marks:
        if isinstance(mark, Whole | Seconds):
            endless = "-1, " if isinstance(mark, Whole) and mark.or_infinite else ""
            return f"{endless}{mark.low:g} to {mark.high:,.0f}"
    return ""


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
