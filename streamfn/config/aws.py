"""The forms of a CreateEventSourceMapping body that streamfn has shorter words for, and those it lacks.

`lift` turns the former into the options of `EventSourceMapping` and refuses the latter, so that a body of
AWS's loads as it is or says what of it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal
from pydantic_core import InitErrorDetails

from streamfn.config.errors import wrong
from streamfn.config.fields import NotYet, Whole
from streamfn.config.filters import ListOfFilters, PatternText

SPELLING: Final = ConfigDict(
    extra="forbid",
    frozen=True,
    alias_generator=to_pascal,
    populate_by_name=True,
    loc_by_alias=False,
    arbitrary_types_allowed=True,
)
"""Both spellings of one name, nothing unknown."""


class _Form(BaseModel):
    model_config = SPELLING


def _no_success(value: Any) -> Any:
    if value:
        raise wrong(
            "Unsupported DestinationConfig parameter for given event source mapping type.",
            "remove OnSuccess: an event source mapping has a destination for failures only",
        )
    return None


class OnFailure(_Form):
    destination: Any = None


class DestinationConfig(_Form):
    on_failure: OnFailure | None = None
    on_success: Annotated[Any, AfterValidator(_no_success)] = None


class ScalingConfig(_Form):
    maximum_concurrency: Annotated[int, Whole(2, 1000)] | None = None


class ProvisionedPollerConfig(_Form):
    minimum_pollers: Annotated[int, Whole(1, 200)] | None = None
    maximum_pollers: Annotated[int, Whole(1, 2000)] | None = None
    poller_group_name: Annotated[None, NotYet("")] = None


class Endpoints(_Form):
    kafka_bootstrap_servers: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=300)], ...], Field(min_length=1, max_length=10)
    ] = Field(alias="KAFKA_BOOTSTRAP_SERVERS")


class SelfManagedEventSource(_Form):
    endpoints: Endpoints


def _stream_mode(value: str) -> str:
    if value == "Queue":
        raise wrong("mode Queue: not supported yet", "remove it, or write Stream")
    return value


class KafkaConfig(_Form):
    """SelfManagedKafkaEventSourceConfig and AmazonManagedKafkaEventSourceConfig."""

    consumer_group_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    consumption_mode: Annotated[Literal["Stream", "Queue"], AfterValidator(_stream_mode)] = "Stream"
    schema_registry_config: Annotated[None, NotYet({})] = None


class Filter(_Form):
    pattern: PatternText


class FilterCriteria(_Form):
    filters: Annotated[tuple[Filter, ...], ListOfFilters] = ()


class AwsForms(_Form):
    """All options of AWS's that are no fields of `EventSourceMapping`."""

    event_source_arn: str | None = None
    self_managed_event_source: SelfManagedEventSource | None = None
    topics: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=249)], ...], Field(max_length=1)
    ] = ()
    amazon_managed_kafka_event_source_config: KafkaConfig | None = None
    self_managed_kafka_event_source_config: KafkaConfig | None = None
    destination_config: DestinationConfig | None = None
    scaling_config: ScalingConfig | None = None
    provisioned_poller_config: ProvisionedPollerConfig | None = None
    tumbling_window_in_seconds: Annotated[None, NotYet(0)] = None
    filter_criteria: FilterCriteria | None = None
    queues: Annotated[None, NotYet([])] = None
    document_db_event_source_config: Annotated[None, NotYet()] = Field(
        None, alias="DocumentDBEventSourceConfig"
    )
    metrics_config: Annotated[None, NotYet({}, {"Metrics": []}, {"metrics": []})] = None
    logging_config: Annotated[None, NotYet({})] = None
    kms_key_arn: Annotated[None, NotYet("")] = Field(None, alias="KMSKeyArn")


NAMES: Final = {
    spelling: name for name, info in AwsForms.model_fields.items() for spelling in (name, info.alias or name)
}
"""Every spelling of these options, and the name it stands for."""


def lift(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with AWS's forms turned into ours; those without any come back as they are.

    Raises pydantic's ValidationError with every problem of AWS's forms.
    """
    ours = {key: value for key, value in options.items() if key not in NAMES}
    theirs = {key: value for key, value in options.items() if key in NAMES}
    if theirs:
        forms = AwsForms.model_validate(theirs)
        for name, value, form in _lifted(forms):
            if _given(ours, name):
                raise _problem(f"is given twice, here and as {to_pascal(name)}", "keep one of the two", form)
            ours[name] = value
    return _same_cluster(ours)


def lift_what_loads(options: Mapping[str, Any]) -> tuple[dict[str, Any], ValidationError | None]:
    """As `lift`; where AWS's forms are wrong, the options without them, and what is wrong."""
    try:
        return lift(options), None
    except ValidationError as error:
        rest = {key: value for key, value in options.items() if key not in NAMES}
        sources = ("event_source_arn", "self_managed_event_source", "topics")
        if not _given(rest, "source") and any(NAMES.get(key) in sources for key in options):
            rest["source"] = "unknown:"
        return rest, error


def _lifted(forms: AwsForms) -> list[tuple[str, Any, str]]:
    """Option, value, and the form it came from."""
    found: list[tuple[str, Any, str]] = []
    if (source := _source(forms)) is not None:
        found.append(("source", *source))
    on_failure = forms.destination_config and forms.destination_config.on_failure
    # AWS removes a destination by the empty string.
    if on_failure and on_failure.destination not in (None, ""):
        found.append(("on_failure", on_failure.destination, "destination_config"))
    if forms.scaling_config and forms.scaling_config.maximum_concurrency is not None:
        found.append(("maximum_concurrency", forms.scaling_config.maximum_concurrency, "scaling_config"))
    for name in ("minimum_pollers", "maximum_pollers"):
        pollers: int | None = getattr(forms.provisioned_poller_config, name, None)
        if pollers is not None:
            found.append((name, pollers, "provisioned_poller_config"))
    if forms.filter_criteria and forms.filter_criteria.filters:
        patterns = [one.pattern for one in forms.filter_criteria.filters]
        found.append(("filters", patterns, "filter_criteria"))
    for form in ("self_managed_kafka_event_source_config", "amazon_managed_kafka_event_source_config"):
        kafka: KafkaConfig | None = getattr(forms, form)
        if kafka and kafka.consumer_group_id is not None:
            found.append(("consumer_group_id", kafka.consumer_group_id, form))
    return found


def _source(forms: AwsForms) -> tuple[str, str] | None:
    brokers, arn = forms.self_managed_event_source, forms.event_source_arn
    if brokers is not None:
        if not forms.topics:
            raise _problem("is required with SelfManagedEventSource", "name one topic", "topics")
        servers = ",".join(brokers.endpoints.kafka_bootstrap_servers)
        # Together with the ARN of an MSK cluster, events look as MSK's do.
        query = f"?event_source_arn={quote(arn, safe=':/')}" if arn else ""
        return f"kafka://{servers}/{forms.topics[0]}{query}", "self_managed_event_source"
    if arn is None:
        if forms.topics:
            raise _problem(
                "needs the brokers of the topic",
                "give SelfManagedEventSource, or a source kafka://…",
                "topics",
            )
        return None
    if _is_msk(arn):
        if not forms.topics:
            raise _problem("is required with an MSK cluster", "name one topic", "topics")
        # Which brokers it has is looked up in the endpoint map when the mapping is planned.
        return f"{arn}?topic={forms.topics[0]}", "event_source_arn"
    return arn, "event_source_arn"


def _same_cluster(options: dict[str, Any]) -> dict[str, Any]:
    """AWS's `kafka://topic` for failures is a topic of the source's own cluster: spelled out in full."""
    source = options.get("source", options.get("Source"))
    for option in ("on_failure", "dead_letters"):
        name = option if option in options else to_pascal(option)
        target = options.get(name)
        if isinstance(target, str) and (target.startswith("kafka://") or _is_msk(target)):
            options = {**options, name: _topic_beside(source, target, option)}
    return options


def _topic_beside(source: Any, target: str, option: str) -> str:
    there = urlsplit(target)
    if _is_msk(source) and not _is_msk(target) and not there.path.strip("/"):
        target = f"{source.partition('?')[0]}?topic={there.netloc}"
    elif not _is_msk(target) and not there.path.strip("/"):
        if not isinstance(source, str) or not source.startswith("kafka://"):
            raise _problem("names a topic and no broker", "write kafka://host:9092/topic", option)
        here = urlsplit(source)
        how = [item for item in parse_qsl(here.query) if item[0].startswith(_CONNECTION)]
        target = here._replace(path=f"/{there.netloc}", query=urlencode(how, safe=":/")).geturl()
    if isinstance(source, str) and _topic(source) == _topic(target):
        raise _problem("is the topic that the mapping reads", "send failures to another topic", option)
    return target


_CONNECTION: Final = ("security_protocol", "sasl_", "ssl_", "client_id")
"""How options of a `kafka:` URI begin that say how to reach the cluster, for reading and sending alike."""


def _is_msk(uri: Any) -> bool:
    return isinstance(uri, str) and uri.startswith("arn:") and uri.split(":")[2:3] == ["kafka"]


def _topic(uri: str) -> tuple[frozenset[str], str]:
    parts = urlsplit(uri)
    if _is_msk(uri):
        return frozenset({uri.partition("?")[0]}), dict(parse_qsl(parts.query)).get("topic", "")
    return frozenset(parts.netloc.rpartition("@")[2].split(",")), parts.path.strip("/")


def _given(options: Mapping[str, Any], name: str) -> bool:
    return name in options or to_pascal(name) in options


def _problem(problem: str, fix: str, form: str) -> ValidationError:
    details = InitErrorDetails(type=wrong(problem, fix), loc=(form,), input=None)
    return ValidationError.from_exception_data("EventSourceMapping", [details])
