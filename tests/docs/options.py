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

MEANING = {
    "function": "The function, by name. Required; in Python it is the first argument.",
    "qualifier": "A version, by its number, or an alias, which is followed. Else `$LATEST`. AWS: behind the "
    "function's name.",
    "circuit_breaker": "`true`, or how: the function is not called for a while when it fails again and again "
    "([semantics.md](semantics.md#circuit-breakers)).",
    "source": "What is read: a URI, or in Python a source object. Required. AWS: `EventSourceArn`, or "
    "`SelfManagedEventSource` with `Topics`.",
    "name": "Unique, and part of the consumer group: another name begins anew. Else `function-source`.",
    "enabled": "Off: it waits until it is resumed.",
    "batch_size": "Most records of one invocation.",
    "maximum_batching_window_in_seconds": "Longest wait for a batch to fill. With 0 whatever is there goes.",
    "parallelization_factor": "Batches of one shard in flight at a time, split by key.",
    "starting_position": "Where a new group begins: `TRIM_HORIZON`, `LATEST`, `AT_TIMESTAMP` (not DynamoDB).",
    "starting_position_timestamp": "With `AT_TIMESTAMP`: epoch seconds or ISO 8601.",
    "on_failure": "Where records go that are given up. AWS: `DestinationConfig.OnFailure.Destination`.",
    "maximum_record_age_in_seconds": "Older records are given up. -1: never.",
    "maximum_retry_attempts": "Tries after the first. -1: without end (10 for Kafka with `OnFailure`).",
    "bisect_batch_on_function_error": "Split a failed batch in two until the bad record is alone.",
    "function_response_types": "`[ReportBatchItemFailures]`: the function's answer names what failed.",
    "filters": "Event patterns, objects or JSON text, of which a record has to fit one; at most ten. What "
    "fits none counts as done. AWS: `FilterCriteria`.",
    "filter": "A predicate of a record; what it refuses counts as done. Python only. With patterns as well, "
    "both have to take a record.",
    "consumer_group_id": "The group whose checkpoints are used. Else `app.mapping`.",
    "tags": "Kept, and given no meaning.",
    "source_access_configurations": "How Kafka is signed in to, by secrets ([api.md](api.md)).",
    "ordering": "Which records wait for which: `shard`, `key` or `none`. Streams and Kafka only.",
    "maximum_concurrency": "Batches in flight: of a queue in all (AWS: `ScalingConfig`); of a shard with "
    "ordering `key` or `none`, which is beyond AWS.",
    "minimum_pollers": "Pollers that wait while the queue is idle, 2 or more; else 1. AWS: "
    "`ProvisionedPollerConfig`, of which either option is enough: 2 and 200 stand for the other.",
    "maximum_pollers": "2 or more, with ten batches in flight for each. Not with `MaximumConcurrency`.",
    "when_destination_fails": "`block`: send until it is taken. `drop`: what AWS does, counted and logged.",
    "on_position_lost": "When records were removed unread: `fail`, `trim_horizon` or `latest`.",
    "revoke_grace": "Seconds that batches in flight have when their shard goes to another worker.",
    "retry_backoff": "`{First, Factor, Cap}`: seconds between tries of a stream.",
    "retry_delay": "Seconds until a failed message comes again. Else its visibility timeout decides.",
    "maximum_receive_count": "Receives after which a message that fails is kept as a dead letter, and "
    "removed. Else the queue's own redrive policy decides.",
    "dead_letters": "Every record given up is also kept there, whole, as a dead letter: a URI, or in Python "
    "a destination; `true`: `local:queue/dead-letters`. Else as the app has it.",
    "sequenced": "With ordering `key`: once a record of a key is given up, later records of that key are "
    "parked behind it and released in order after its redrive.",
    "sequenced_limit": "Records parked at most.",
}

INVOKING = {
    "function": "The function, by name or ARN; a qualifier behind it counts. Under a function it is known.",
    "qualifier": "For a version, by its number, or an alias alone. Else `$LATEST`.",
    "maximum_retry_attempts": "Tries after the first, for function errors. AWS takes 0 to 2.",
    "maximum_event_age_in_seconds": "Events that would be older at their next try are given up.",
    "on_success": "Where the record of a success goes. AWS: `DestinationConfig.OnSuccess.Destination`.",
    "on_failure": "Where the record of a failure goes. AWS: `DestinationConfig.OnFailure.Destination`.",
    "dead_letter_queue": "Takes the event alone, with the reason in attributes. AWS: "
    "`DeadLetterConfig.TargetArn`.",
    "retry_delays": "Seconds from each function error to its retry; the last one holds for all that follow.",
    "dead_letters": "Where events given up are kept, whole: a URI, or in Python a destination; `true`: "
    "`local:queue/dead-letters`; `false`: nowhere. Else as the app has it, or `true` where there is neither "
    "`OnFailure` nor `DeadLetterQueue`.",
    "when_destination_fails": "`drop`: after four tries it is counted, logged and kept as a dead letter. "
    "`block`: send until it is taken.",
}


FUNCTION = {
    "code_uri": "A folder, a zip, or what runs elsewhere: `http://...`, `lambda:NAME`, `docker:IMAGE`. SAM.",
    "inline_code": "The source of a Python or Node.js function. SAM's.",
    "runtime": "`python3.12`, `nodejs20.x`, `provided.al2023`, … Required of a package.",
    "handler": "`module:name` in this process; of a package as on Lambda, such as `app.handler`.",
    "layers": "Folders or zips, at most five, merged in order.",
    "environment": "Variables. AWS: `Environment.Variables`.",
    "kms_key_arn": "The key of variables that are stored: `file:PATH`, `env:NAME`, or a KMS key.",
    "timeout": "Seconds of one invocation; 3 for what is deployed, 60 in this process.",
    "memory_size": "MB. 128 to 10,240 for what is deployed, and enforced; else only told.",
    "ephemeral_storage": "MB of `/tmp`. AWS: `EphemeralStorage.Size`.",
    "reserved_concurrency": "Invocations at a time, kept for it and its limit; 0 switches it off. AWS: "
    "`ReservedConcurrentExecutions`.",
    "provisioned_concurrency": "Environments of `$LATEST` that are kept initialised; AWS: of versions.",
    "maximum_concurrency": "Invocations of one environment at a time, where its runtime can.",
    "aliases": "By name: `function_version`, `additional_version_weights`, `provisioned_concurrency`.",
    "auto_publish_alias": "The alias that follows `$LATEST`: a version is published at each change. SAM's.",
    "description": "Of the versions that are published.",
    "batch": "In this process: called with the `Batch`.",
    "each": "In this process: called record by record with this model.",
    "network": "`none`, or a network namespace of the machine.",
    "log_format": "`Text` or `JSON`. AWS: `LoggingConfig.LogFormat`.",
    "region": "What it is told as its region.",
    "strict_runtime": "Whether an interpreter of another minor version is refused; else it is warned of.",
    "credentials": "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` that it gets.",
    "scaling_rate": "Environments that are added in ten seconds at most.",
    "idle_timeout": "Seconds after which an environment that nobody used is ended.",
    "adaptive_concurrency": "`gradient`, `aimd`, or options of theirs.",
    "event_invoke_config": "In files: options of asynchronous invocation, or a list of sets of them.",
    "dead_letter_config": "Where events go that it could not process. AWS: `DeadLetterConfig.TargetArn`.",
    "logging_config": "AWS's form of `LogFormat`; levels and group are kept and shown.",
    "role": "Kept and shown.",
    "architectures": "Kept and shown.",
    "package_type": "Kept and shown.",
    "vpc_config": "Kept and shown: it reaches what the machine reaches.",
    "tracing_config": "Kept and shown.",
    "image_config": "Of `docker:IMAGE`: `Command`, `EntryPoint`, `WorkingDirectory` instead of its own.",
    "snap_start": "Kept and shown: environments start without snapshots.",
    "tags": "Names and values.",
    "file_system_configs": "Not yet.",
    "code_signing_config_arn": "Not yet.",
    "tenancy_config": "Not yet.",
    "capacity_provider_config": "Not yet.",
    "durable_config": "Not yet.",
    "facts": "More that is kept with it and its versions, and shown by the API.",
}


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
        lines.append(f"| {both} | {defaults} | {_range(info)} | {aws} | {MEANING[name]} |")
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
