"""An app as a SAM or CloudFormation template.

Options that AWS does not have are kept under `Metadata: Streamfn`, which AWS leaves alone and `load` reads
back. What has no form in AWS at all is left out, and told of.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qs

from streamfn.config.errors import spelled
from streamfn.fetching import S3
from streamfn.templates.embedded import QUEUE, Embedded, embedded
from streamfn.templates.ends import (
    consumer_of,
    destination,
    lost_options,
    service,
    source_options,
    topic_beside,
)
from streamfn.templates.sam import TRANSFORM

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streamfn.config import EventInvokeConfig, EventSourceMapping, FunctionConfig

METADATA: Final = "Streamfn"
Form = Literal["sam", "cloudformation"]


@dataclass(frozen=True, slots=True)
class Exported:
    """A template, and what of the app is not in it: one sentence each."""

    template: dict[str, Any]
    left_out: tuple[str, ...]


def exported(
    form: Form,
    functions: Mapping[str, FunctionConfig],
    mappings: Sequence[EventSourceMapping],
    configs: Sequence[EventInvokeConfig],
    in_process: Collection[str] = (),
) -> Exported:
    """The template of an app. `functions`: what runs in environments of its own. `in_process`: the others."""
    work = _Export(form, functions)
    work.left_out += [
        f"function {name}: runs in this process, so AWS has no code of it" for name in in_process
    ]
    for name, config in functions.items():
        work.function(name, config)
    for mapping in mappings:
        work.mapping(mapping)
    for each in configs:
        work.event_invoke_config(each)
    if form == "cloudformation" and work.logical:
        work.role()
    head: dict[str, Any] = {"AWSTemplateFormatVersion": "2010-09-09"}
    if form == "sam":
        head["Transform"] = TRANSFORM
    return Exported(head | {"Resources": work.resources}, tuple(work.left_out))


_PLAIN: Final = ("description", "handler", "memory_size", "runtime", "timeout")
_AS_GIVEN: Final = (
    "architectures",
    "image_config",
    "package_type",
    "snap_start",
    "tracing_config",
    "vpc_config",
)
_OF_FUNCTION: Final = frozenset(
    {*_PLAIN, *_AS_GIVEN, "aliases", "auto_publish_alias", "code_uri", "dead_letter_config", "environment"}
    | {
        "ephemeral_storage",
        "event_invoke_config",
        "facts",
        "inline_code",
        "layers",
        "log_format",
        "logging_config",
    }
    | {"region", "reserved_concurrency", "role", "tags"}
)
_NEVER: Final = frozenset({"credentials", "kms_key_arn"})
"""Secrets, and keys that AWS does not have."""
_SAME: Final = (
    "batch_size", "bisect_batch_on_function_error", "enabled", "function_response_types",
    "maximum_batching_window_in_seconds", "maximum_record_age_in_seconds", "maximum_retry_attempts",
    "parallelization_factor", "source_access_configurations", "starting_position",
    "starting_position_timestamp",
)  # fmt: skip
_OF_MAPPING: Final = frozenset(
    {*_SAME, "consumer_group_id", "filters", "function", "name", "on_failure", "qualifier", "source", "tags"}
)
_OF_CONFIG: Final = frozenset(
    {"function", "qualifier", "maximum_retry_attempts", "maximum_event_age_in_seconds"}
    | {"on_success", "on_failure", "dead_letter_queue"}
)
_MANAGED: Final = {
    "sqs": "AWSLambdaSQSQueueExecutionRole",
    "kinesis": "AWSLambdaKinesisExecutionRole",
    "dynamodb": "AWSLambdaDynamoDBExecutionRole",
    "kafka": "AWSLambdaMSKExecutionRole",
}
_BASIC: Final = "AWSLambdaBasicExecutionRole"
_ROLE: Final = "FunctionRole"


@dataclass
class _Export:
    form: Form
    functions: Mapping[str, FunctionConfig]
    resources: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    logical: dict[str, str] = field(default_factory=dict)
    """Functions that are in the template, and their logical names."""
    layers: dict[str, str] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    """The logical names of aliases that are in the template, by function and name."""
    brokers: dict[tuple[str, str], str] = field(default_factory=dict)
    """The logical names of queues and streams that are in the template, by kind and name."""
    policies: dict[str, None] = field(default_factory=lambda: {_BASIC: None})

    def __post_init__(self) -> None:
        for name, config in self.functions.items():
            if config.runs_elsewhere and not (config.code_uri or "").startswith("docker:"):
                self.left_out.append(f"function {name}: {config.code_uri} is no code that AWS could run")
            else:
                self.logical[name] = _free(name, self.logical.values())

    # -------------------------------------------------------------------------------------- functions

    def function(self, name: str, config: FunctionConfig) -> None:
        if name not in self.logical:
            return
        given = config.model_fields_set
        dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True)
        wanted = {spelled((each,)) for each in (*_PLAIN, *_AS_GIVEN) if each in given}
        properties: dict[str, Any] = {"FunctionName": name}
        properties |= {key: value for key, value in dumped.items() if key in wanted}
        if config.timeout is not None:
            # AWS knows whole seconds only.
            properties["Timeout"] = math.ceil(config.timeout)
        properties |= self._code(config)
        if config.environment:
            properties["Environment"] = {"Variables": dict(config.environment)}
        if "ephemeral_storage" in given:
            properties["EphemeralStorage"] = {"Size": config.ephemeral_storage}
        if config.reserved_concurrency is not None:
            properties["ReservedConcurrentExecutions"] = config.reserved_concurrency
        if config.layers:
            properties["Layers"] = [{"Ref": self._layer(path)} for path in config.layers]
        if config.log_format != "Text" or config.logging_config:
            properties["LoggingConfig"] = dumped.get("LoggingConfig") or {"LogFormat": config.log_format}
        if config.tags:
            properties["Tags"] = dict(config.tags) if self.form == "sam" else _pairs(config.tags)
        kind = "AWS::Serverless::Function" if self.form == "sam" else "AWS::Lambda::Function"
        if config.role or self.form == "cloudformation":
            properties["Role"] = config.role or {"Fn::GetAtt": [_ROLE, "Arn"]}
        if config.dead_letter_config and config.dead_letter_config.target_arn:
            self._dead_letters(properties, name, config.dead_letter_config.target_arn)
        self.left_out += [f"function {name}: {each} is not written down" for each in sorted(given & _NEVER)]
        self._put(
            self.logical[name], kind, properties, config, given - _OF_FUNCTION - _NEVER, f"function {name}"
        )
        self._aliases(name, config)

    def _code(self, config: FunctionConfig) -> dict[str, Any]:
        key = "CodeUri" if self.form == "sam" else "Code"
        if config.inline_code is not None:
            code = config.inline_code
            return {"InlineCode": code} if self.form == "sam" else {"Code": {"ZipFile": code}}
        uri = config.code_uri or ""
        if uri.startswith("docker:"):
            image = uri.removeprefix("docker:")
            own = {"ImageUri": image} if self.form == "sam" else {"Code": {"ImageUri": image}}
            return own | {"PackageType": "Image"}
        return {key: self._stored(uri)}

    def _stored(self, uri: str) -> str | dict[str, str]:
        """Code that lies in S3, or else its path."""
        if not uri.startswith(S3):
            return uri
        place, _, query = uri.removeprefix(S3).partition("?")
        bucket, _, key = place.partition("/")
        version = parse_qs(query).get("versionId", [""])[0]
        if self.form == "sam":
            return {"Bucket": bucket, "Key": key} | ({"Version": version} if version else {})
        return {"S3Bucket": bucket, "S3Key": key} | ({"S3ObjectVersion": version} if version else {})

    def _layer(self, path: str) -> str:
        if path not in self.layers:
            logical = _free(f"{path.rstrip('/').rpartition('/')[2]}-layer", self._taken())
            self.layers[path] = logical
            kind = "AWS::Serverless::LayerVersion" if self.form == "sam" else "AWS::Lambda::LayerVersion"
            self.resources[logical] = {
                "Type": kind,
                "Properties": {"ContentUri" if self.form == "sam" else "Content": self._stored(path)},
            }
        return self.layers[path]

    def _dead_letters(self, properties: dict[str, Any], name: str, target: Any) -> None:
        arn = self._destination(target)
        if arn is None:
            self.left_out.append(f"function {name}: its dead-letter queue {target} has no ARN")
        elif self.form == "sam":
            kind = "SNS" if service(arn) == "sns" else "SQS"
            properties["DeadLetterQueue"] = {"Type": kind, "TargetArn": arn}
        else:
            properties["DeadLetterConfig"] = {"TargetArn": arn}

    def _aliases(self, name: str, config: FunctionConfig) -> None:
        published = config.auto_publish_alias
        aliases = dict(config.aliases)
        function = {"Ref": self.logical[name]}
        for alias in dict.fromkeys([*([published] if published else []), *aliases]):
            entry = aliases.get(alias)
            version: Any = entry.function_version if entry else None
            if version is None and alias != published:
                self.left_out.append(f"alias {name}:{alias}: it says no version")
                continue
            extra = self._provisioned(
                f"alias {name}:{alias}", entry.provisioned_concurrency if entry else None
            )
            if version is None and self.form == "sam":
                own = self.resources[self.logical[name]]["Properties"]
                own |= {"AutoPublishAlias": alias} | extra
                # What SAM's translator calls it.
                self.aliases[name, alias] = f"{self.logical[name]}Alias{alias}"
                continue
            if version is None:
                made = _free(f"{self.logical[name]}-version", self._taken())
                self.resources[made] = {
                    "Type": "AWS::Lambda::Version",
                    "Properties": {"FunctionName": function},
                }
                version = {"Fn::GetAtt": [made, "Version"]}
            properties = {"FunctionName": function, "Name": alias, "FunctionVersion": version} | extra
            if entry and entry.additional_version_weights:
                weights = [
                    {"FunctionVersion": number, "FunctionWeight": share}
                    for number, share in entry.additional_version_weights.items()
                ]
                properties["RoutingConfig"] = {"AdditionalVersionWeights": weights}
            logical = _free(f"{self.logical[name]}-alias-{alias}", self._taken())
            self.aliases[name, alias] = logical
            self.resources[logical] = {"Type": "AWS::Lambda::Alias", "Properties": properties}

    def _provisioned(self, what: str, provisioned: Any) -> dict[str, Any]:
        if provisioned is None:
            return {}
        if provisioned.schedule or provisioned.maximum is not None:
            self.left_out.append(f"{what}: when its provisioned concurrency changes is left out")
        number = max(provisioned.number, provisioned.minimum)
        return {"ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": number}}

    # --------------------------------------------------------------------------------------- mappings

    def mapping(self, mapping: EventSourceMapping) -> None:
        what = f"mapping {mapping.name}"
        if mapping.function not in self.logical:
            self.left_out.append(f"{what}: its function {mapping.function} is left out")
            return
        source = self._source(what, mapping)
        if source is None:
            self.left_out.append(f"{what}: {mapping.source} is no source of AWS")
            return
        if mapping.filter is not None:
            self.left_out.append(f"{what}: its filter is Python")
        given = mapping.model_fields_set
        dumped = mapping.model_dump(mode="json", include=given & set(_SAME), by_alias=True, exclude_none=True)
        properties = {"FunctionName": self._target(mapping.function, mapping.qualifier)} | source | dumped
        kind = self._service(source.get("EventSourceArn", ""))
        is_queue = kind == "sqs"
        if not is_queue and mapping.starting_position is None:
            # AWS wants it said.
            properties["StartingPosition"] = "TRIM_HORIZON"
        beyond = set(given - _OF_MAPPING - {"filter"})
        if is_queue and (mapping.maximum_concurrency or 0) >= 2:
            properties["ScalingConfig"] = {"MaximumConcurrency": mapping.maximum_concurrency}
            beyond.discard("maximum_concurrency")
        if pollers := {"minimum_pollers", "maximum_pollers"} & given:
            values = {spelled((name,)): getattr(mapping, name) for name in sorted(pollers)}
            properties["ProvisionedPollerConfig"] = {k: v for k, v in values.items() if v is not None}
            beyond -= pollers
        if mapping.filters:
            properties["FilterCriteria"] = {"Filters": [{"Pattern": each} for each in mapping.filters]}
        beside = topic_beside(mapping.on_failure, mapping.source)
        if (target := beside or self._end(what, mapping.on_failure)) is not None:
            properties["DestinationConfig"] = {"OnFailure": {"Destination": target}}
        if mapping.tags:
            properties["Tags"] = _pairs(mapping.tags)
        logical = _free(mapping.name, self._taken())
        if logical != mapping.name:
            beyond.add("name")
        if policy := _MANAGED.get(kind):
            self._needs(mapping.function, policy)
        self._put(logical, "AWS::Lambda::EventSourceMapping", properties, mapping, beyond, what)

    def _source(self, what: str, mapping: EventSourceMapping) -> dict[str, Any] | None:
        """The properties that say what a mapping reads; None: AWS has no such source."""
        uri = mapping.source
        lost = lost_options(uri)
        source = source_options(uri, mapping.consumer_group_id)
        if isinstance(uri, str) and (found := embedded(uri)) is not None:
            lost = found.lost
            source = {"EventSourceArn": self._broker(found)}
        elif source is not None and (consumer := consumer_of(uri)) is not None:
            lost.remove("consumer")
            source["EventSourceArn"] = self._consumer(consumer, source["EventSourceArn"])
        if source is not None:
            self.left_out += [f"{what}: {name} of its source is left out" for name in lost]
        return source

    def _broker(self, found: Embedded) -> dict[str, Any]:
        """The ARN of a queue or a stream of the embedded broker, which the template makes then."""
        logical = self.brokers.get((found.kind, found.name))
        if logical is None:
            named = {"QueueName" if found.kind == QUEUE else "Name": found.name}
            word = "queue" if found.kind == QUEUE else "stream"
            logical = _free(f"{found.name.removesuffix('.fifo')}-{word}", self._taken())
            self.brokers[found.kind, found.name] = logical
            self.resources[logical] = {"Type": found.kind, "Properties": named}
        properties = self.resources[logical]["Properties"]
        properties |= found.properties
        if found.dead_letter:
            fifo = {"FifoQueue": True} if found.dead_letter.endswith(".fifo") else {}
            target = self._broker(Embedded(QUEUE, found.dead_letter, dict(fifo)))
            redrive = {"deadLetterTargetArn": target, "maxReceiveCount": found.receives}
            properties["RedrivePolicy"] = redrive
        return {"Fn::GetAtt": [logical, "Arn"]}

    def _consumer(self, name: str, stream: Any) -> dict[str, Any]:
        """The ARN of a consumer that the template registers."""
        logical = _free(f"{name}-consumer", self._taken())
        properties = {"ConsumerName": name, "StreamARN": stream}
        self.resources[logical] = {"Type": "AWS::Kinesis::StreamConsumer", "Properties": properties}
        return {"Fn::GetAtt": [logical, "ConsumerARN"]}

    def _service(self, end: Any) -> str:
        """The service of AWS behind a source."""
        match end:
            case {"Fn::GetAtt": [str(logical), _]}:
                return "sqs" if self.resources[logical]["Type"] == QUEUE else "kinesis"
            case _:
                return service(end)

    def _destination(self, target: Any) -> Any:
        """A destination as the template names it; None: AWS has no such thing."""
        found = embedded(target) if isinstance(target, str) else None
        if found is None:
            return destination(target, self.logical)
        return self._broker(found) if found.kind == QUEUE else None

    def _target(self, function: str, qualifier: str | None) -> Any:
        logical = self.logical[function]
        if qualifier and (alias := self.aliases.get((function, qualifier))):
            # A reference, so that the alias is there before what follows it.
            return {"Ref": f"{logical}.Alias" if alias not in self.resources else alias}
        return {"Fn::Sub": f"${{{logical}.Arn}}:{qualifier}"} if qualifier else {"Ref": logical}

    def _end(self, what: str, target: Any) -> Any:
        if target is None:
            return None
        arn = self._destination(target)
        if arn is None:
            self.left_out.append(f"{what}: its destination {target} has no ARN")
        return arn

    def _needs(self, function: str, policy: str) -> None:
        self.policies[policy] = None
        properties = self.resources[self.logical[function]]["Properties"]
        if self.form == "sam" and "Role" not in properties:
            known = properties.setdefault("Policies", [])
            known += [] if policy in known else [policy]

    # ------------------------------------------------------------------------- asynchronous invocation

    def event_invoke_config(self, config: EventInvokeConfig) -> None:
        what = f"asynchronous invocation of {config.key}"
        if config.function not in self.logical:
            self.left_out.append(f"{what}: the function is left out")
            return
        given = config.model_fields_set
        logical = self.logical[config.function]
        if config.dead_letter_queue is not None:
            self._dead_letters(
                self.resources[logical]["Properties"], config.function, config.dead_letter_queue
            )
            if not given - {"function", "dead_letter_queue", "qualifier"}:
                return
        properties: dict[str, Any] = {
            "FunctionName": {"Ref": logical},
            "Qualifier": config.qualifier or "$LATEST",
        }
        if "maximum_retry_attempts" in given:
            properties["MaximumRetryAttempts"] = config.maximum_retry_attempts
        if "maximum_event_age_in_seconds" in given:
            properties["MaximumEventAgeInSeconds"] = config.maximum_event_age_in_seconds
        ends = {"OnSuccess": config.on_success, "OnFailure": config.on_failure}
        found = {name: arn for name, end in ends.items() if (arn := self._end(what, end)) is not None}
        if found:
            properties["DestinationConfig"] = {name: {"Destination": arn} for name, arn in found.items()}
        name = _free(f"{logical}-{config.qualifier or ''}-events", self._taken())
        self._put(name, "AWS::Lambda::EventInvokeConfig", properties, config, given - _OF_CONFIG, what)
        if alias := self.aliases.get((config.function, config.qualifier or "")):
            self.resources[name]["DependsOn"] = alias

    # ----------------------------------------------------------------------------------------- inside

    def _put(
        self,
        logical: str,
        kind: str,
        properties: dict[str, Any],
        config: Any,
        beyond: Collection[str],
        what: str,
    ) -> None:
        resource: dict[str, Any] = {"Type": kind, "Properties": properties}
        if beyond:
            kept = config.model_dump(mode="json", by_alias=True, include=set(beyond), exclude_none=True)
            resource["Metadata"] = {METADATA: kept}
            self.left_out += [
                f"{what}: {name} is for streamfn only, and kept as metadata"
                for name in kept
                if name != "Name"
            ]
        self.resources[logical] = resource

    def role(self) -> None:
        """The role of all functions that have none of their own."""
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        arn = "arn:${AWS::Partition}:iam::aws:policy/service-role/"
        self.resources[_ROLE] = {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
                "ManagedPolicyArns": [{"Fn::Sub": arn + policy} for policy in self.policies],
            },
        }

    def _taken(self) -> set[str]:
        return {*self.resources, *self.logical.values(), _ROLE}


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _free(name: str, taken: Collection[str]) -> str:
    """A logical name: letters and digits, and nobody else's."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    logical = "".join(word[0].upper() + word[1:] for word in words) or "Resource"
    number, free = 2, logical
    while free in taken:
        free, number = f"{logical}{number}", number + 1
    return free
