"""Event source mappings and asynchronous invocation of a template, as streamfn's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from streamfn.config import ConfigurationErrors, EventInvokeConfig, EventSourceMapping, FunctionConfig
from streamfn.errors import ConfigurationError
from streamfn.templates.functions import function_of
from streamfn.templates.honouring import LEAVES_OUT
from streamfn.templates.parameters import text
from streamfn.templates.view import Resource, View

Functions = Mapping[str, tuple[Resource, FunctionConfig]]

_NOT_PASSED: Final = ("KmsKeyArn", "LoggingConfig", "MetricsConfig", "Tags", *LEAVES_OUT)
_NETWORK: Final = ("VPC_SUBNET", "VPC_SECURITY_GROUP")
"""Access that means nothing here, where the network is that of this machine."""
_NOT_YET: Final = "not supported yet"


def mappings(view: View) -> tuple[EventSourceMapping, ...]:
    """All mappings of known functions, each called by its logical name."""
    found = []
    consumers = _consumers(view)
    for resource in view.of_kind("AWS::Lambda::EventSourceMapping"):
        view.look(resource)
        name, _ = function_of(view, resource)
        if name and name not in view.functions:
            view.note(resource, "FunctionName", f"{name} is not in this template: the mapping is left out.")
        elif name and not _is_left_out(view, resource):
            mapping = _mapping(view, resource, consumers)
            found += [mapping] if mapping else []
    return tuple(found)


def _is_left_out(view: View, resource: Resource) -> bool:
    asked = [name for name in LEAVES_OUT if view.value(resource, name) not in (None, 0, "0", [], {})]
    for name in asked:
        view.note(resource, name, LEAVES_OUT[name])
    return bool(asked)


def _consumers(view: View) -> dict[str, str]:
    """The sources that stand for consumers of streams that the template makes, by their ARNs."""
    found = {}
    for resource in view.of_kind("AWS::Kinesis::StreamConsumer"):
        options = urlencode({"consumer": text(view.value(resource, "ConsumerName"))})
        source = f"{text(view.value(resource, 'StreamARN'))}?{options}"
        found[text(view.known.attribute(resource.logical, "ConsumerARN"))] = source
    return found


_ACCESS: Final = "SourceAccessConfigurations"


def _access(view: View, resource: Resource) -> dict[str, Any]:
    """The access to a source, without what is about networks, which may be known in AWS only."""
    given = resource.properties.get(_ACCESS)
    if isinstance(given, list):
        given = [each for each in given if not (isinstance(each, dict) and each.get("Type") in _NETWORK)]
    value = view.evaluated(resource, _ACCESS, given)
    return {_ACCESS: value} if value else {}


def _mapping(view: View, resource: Resource, consumers: Mapping[str, str]) -> EventSourceMapping | None:
    before = len(view.errors)
    options = view.values(resource, (*_NOT_PASSED, _ACCESS)) | _access(view, resource)
    if isinstance(arn := options.pop("EventSourceArn", None), str):
        if not arn.startswith("arn:"):
            error = ConfigurationError(f"{arn!r} is no ARN", fix="take the attribute Arn of the resource")
            view.wrong(resource, "EventSourceArn", error)
        options |= {"Source": consumers[arn]} if arn in consumers else {"EventSourceArn": arn}
    match options.get("SelfManagedEventSource"):
        case {"Endpoints": {"KafkaBootstrapServers": servers}}:
            # Lambda's API spells it its own way.
            options["SelfManagedEventSource"] = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers}}
        case _:
            pass
    options |= {"Tags": tags} if (tags := view.tags(resource)) else {}
    options |= {"Name": resource.logical} | resource.own
    try:
        return EventSourceMapping.load(options, resource.places)
    except ConfigurationErrors as error:
        lacking = [problem for problem in error.errors if problem.problem.endswith(_NOT_YET)]
        if len(view.errors) > before or len(lacking) < len(error.errors):
            view.refused(resource, error, before)
            return None
        for problem in lacking:
            sentence = "This is not supported yet: the mapping is left out."
            view.note(resource, problem.field, sentence, problem.field.partition(".")[0])
        return None


def event_invoke_configs(view: View, functions: Functions) -> tuple[EventInvokeConfig, ...]:
    """One for each function, version or alias that has its own; a dead-letter queue is one too."""
    bodies: dict[str, tuple[Resource, dict[str, Any]]] = {}
    for resource in view.of_kind("AWS::Lambda::EventInvokeConfig"):
        view.look(resource)
        name, qualifier = function_of(view, resource)
        if name not in view.functions:
            if name:
                view.note(resource, "FunctionName", f"{name} is not in this template: it is left out.")
            continue
        body = view.values(resource) | resource.own | {"FunctionName": name}
        qualifier = text(body.pop("Qualifier", None) or qualifier or "$LATEST")
        key = name if qualifier == "$LATEST" else f"{name}:{qualifier}"
        bodies[key] = resource, body if key == name else body | {"Qualifier": qualifier}
    for name, (resource, _) in functions.items():
        target = view.set_of(resource, "DeadLetterConfig").get("TargetArn")
        if target:
            there, body = bodies.get(name, (resource, {"FunctionName": name}))
            bodies[name] = there, body | {"DeadLetterConfig": {"TargetArn": target}}
    found = []
    for resource, body in bodies.values():
        try:
            found.append(EventInvokeConfig.load(body, resource.places))
        except ConfigurationErrors as error:
            view.wrong(resource, "", error)
    return tuple(found)


# ------------------------------------------------------------------------------------ queues and streams

_QUEUE: Final = {
    "VisibilityTimeout": "visibility_timeout",
    "DelaySeconds": "delay",
    "MessageRetentionPeriod": "retention",
}
"""Properties of queues that are seconds, and the options of embedded ones."""


def local_ends(view: View) -> dict[str, str]:
    """The `local:` URI, with its options, that stands for each queue and stream of the template, by ARN."""
    ends = {}
    for resource in view.of_kind("AWS::SQS::Queue"):
        view.look(resource)
        ends[_arn(view, resource)] = _local("queue", view, resource, _queue_options(view, resource))
    for resource in view.of_kind("AWS::Kinesis::Stream"):
        view.look(resource)
        ends[_arn(view, resource)] = _local("stream", view, resource, _stream_options(view, resource))
    return ends


def _arn(view: View, resource: Resource) -> str:
    return text(view.known.attribute(resource.logical, "Arn"))


def _local(kind: str, view: View, resource: Resource, options: Mapping[str, str]) -> str:
    query = f"?{urlencode(options)}" if options else ""
    return f"local:{kind}/{view.known.name(resource.logical)}{query}"


def _queue_options(view: View, resource: Resource) -> dict[str, str]:
    numbers = {theirs: view.number(resource, theirs, view.value(resource, theirs)) for theirs in _QUEUE}
    options = {_QUEUE[theirs]: text(value) for theirs, value in numbers.items() if value is not None}
    if (by_content := view.value(resource, "ContentBasedDeduplication")) is not None:
        options["content_based_deduplication"] = text(by_content)
    redrive = view.set_of(resource, "RedrivePolicy")
    if "maxReceiveCount" in redrive:
        options["max_receive_count"] = text(redrive["maxReceiveCount"])
    if "deadLetterTargetArn" in redrive:
        options["dead_letter"] = text(redrive["deadLetterTargetArn"]).rpartition(":")[2]
    return options


def _stream_options(view: View, resource: Resource) -> dict[str, str]:
    options = {}
    shards = view.number(resource, "ShardCount", view.value(resource, "ShardCount"))
    if shards is not None:
        options["shards"] = text(shards)
    hours = view.number(resource, "RetentionPeriodHours", view.value(resource, "RetentionPeriodHours"))
    if hours is not None:
        options["retention"] = text(hours * 3600)
    return options
