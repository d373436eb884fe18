"""The event source mapping as a user declares it: one model for Python, YAML and AWS's own request bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_pascal

from streamfn.config.access import SourceAccess, refused_access
from streamfn.config.aws import NAMES, SPELLING, AwsForms, lift, lift_what_loads
from streamfn.config.checks import refused
from streamfn.config.ends import (
    DeadLetters,
    DestinationOption,
    FunctionName,
    Qualifier,
    SourceOption,
    unqualified,
)
from streamfn.config.errors import ConfigurationErrors, Places, caller, located, spelled, translate, wrong
from streamfn.config.fields import Instant, Seconds, Share, Whole
from streamfn.config.filters import ListOfFilters, PatternText
from streamfn.config.kinds import Kind
from streamfn.core.breaking import BreakerPolicy
from streamfn.core.policies import (
    Backoff,
    BatchPolicy,
    DeliveryPolicy,
    Ordering,
    StartingPosition,
    WhenDestinationFails,
)
from streamfn.errors import ConfigurationError
from streamfn.ports import Filter, Subscription

DEFAULT_CONCURRENCY = 10
"""Batches in flight where neither the order of a shard nor an option limits them."""

MINIMUM_POLLERS, MAXIMUM_POLLERS = 2, 200
"""Provisioned mode of a queue where one of the two is not given (Developer Guide: services-sqs-configure)."""

_POLLER_CONCURRENCY = 10
"""Batches in flight that one of AWS's pollers serves (Developer Guide: services-sqs-scaling)."""


class OnPositionLost(Enum):
    """What to do when records were removed from the source before they were read."""

    FAIL = "fail"
    """Stop the mapping and say so."""
    TRIM_HORIZON = "trim_horizon"
    """Go on with the oldest record there is."""
    LATEST = "latest"
    """Go on with the next record that comes."""


class RetryBackoff(BaseModel):
    """Delays between tries, in seconds: `first`, then times `factor`, up to `cap`."""

    model_config = SPELLING

    first: Annotated[float, Seconds(0, 3600)] = 1.0
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    cap: Annotated[float, Seconds(0, 86_400)] = 60.0


class CircuitBreaker(BaseModel):
    """When a function that fails is no longer called, and how long. Times in seconds."""

    model_config = SPELLING

    failures: Annotated[int, Whole(1, 10_000)] = 5
    """Failed batches on end."""
    failure_rate: Annotated[float, Share()] = 0.5
    """The share of failed batches, of those of a window."""
    minimum_calls: Annotated[int, Whole(1, 100_000)] = 20
    """Batches that a window needs before their share counts."""
    window: Annotated[float, Seconds(1, 3600)] = 60.0
    delay: Annotated[float, Seconds(0.1, 86_400)] = 10.0
    """Until the first probe; twice as long after each that fails."""
    maximum_delay: Annotated[float, Seconds(0.1, 86_400)] = 300.0

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.maximum_delay >= self.delay:
            return self
        if "maximum_delay" in self.model_fields_set:
            problem = f"MaximumDelay, {self.maximum_delay:g}, is less than Delay, {self.delay:g}"
            raise wrong(problem, f"set MaximumDelay to {self.delay:g} or more")
        # The one change made to a frozen value: before anybody else has seen it.
        self.__dict__["maximum_delay"] = self.delay
        return self


def _switch(value: Any) -> Any:
    """True is the option with all its defaults, False is none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


def _no_name(value: Any) -> Any:
    return "" if value is None else value


def _mapping_name(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9._-]{1,140}", value):
        raise wrong(f"{value!r} is no name: 1 to 140 letters, digits, ., - or _")
    return value


def _position(value: Any) -> Any:
    if isinstance(value, StartingPosition | None) or value in StartingPosition.__members__:
        return value
    raise wrong(
        f"1 validation error detected: Value '{value}' at 'startingPosition' failed to satisfy constraint: "
        "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"
    )


class EventSourceMapping(BaseModel):
    """Reads one source and calls one function, with AWS's options under AWS's names, in both spellings.

    What a kind of source does not take is refused by `check`, which needs the kind; all else when it is
    loaded. Options that are left out stay None where their default depends on the kind.
    """

    model_config = ConfigDict(**SPELLING, title="EventSourceMapping")

    function: FunctionName = Field(alias="FunctionName")
    """The bare name. A qualifier behind it, or in an ARN, becomes `qualifier`."""
    qualifier: Qualifier = None
    """A version's number or an alias, which is followed when the function is invoked; None: `$LATEST`."""
    source: SourceOption
    """A URI, or a Source object. Also EventSourceArn, or SelfManagedEventSource with Topics."""
    name: Annotated[str, BeforeValidator(_no_name), AfterValidator(_mapping_name)] = ""
    """Unique in its app; part of the consumer group, so a new name begins anew. Else `function-source`."""
    enabled: bool = True
    batch_size: Annotated[int, Whole(1, 10_000)] | None = None
    maximum_batching_window_in_seconds: Annotated[int, Whole(0, 300)] | None = None
    parallelization_factor: Annotated[int, Whole(1, 10)] = 1
    starting_position: Annotated[StartingPosition | None, BeforeValidator(_position)] = None
    """Not given: TRIM_HORIZON, so that nothing is missed."""
    starting_position_timestamp: Instant | None = None
    on_failure: DestinationOption = None
    """A URI or a Destination object: short for DestinationConfig.OnFailure.Destination."""
    maximum_record_age_in_seconds: Annotated[int, Whole(60, 604_800, or_infinite=True)] = -1
    maximum_retry_attempts: Annotated[int, Whole(0, 10_000, or_infinite=True)] = -1
    bisect_batch_on_function_error: bool = False
    function_response_types: Annotated[
        tuple[Literal["ReportBatchItemFailures"], ...], Field(max_length=1)
    ] = ()
    filters: Annotated[tuple[PatternText, ...], ListOfFilters] = ()
    """Event patterns as dicts or JSON text, any of which a record may fit: short for FilterCriteria."""
    filter: Filter | None = None
    """Which records are for the function. Python only. With patterns as well, both have to take a record."""
    consumer_group_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    source_access_configurations: SourceAccess = ()
    """Kafka: the secrets with which it is reached."""
    tags: Mapping[str, str] = Field(default_factory=dict)

    # Beyond AWS.
    ordering: Ordering | None = None
    """Streams: `shard` as on AWS, `key`, or `none`."""
    maximum_concurrency: Annotated[int, Whole(1, 1000)] | None = None
    """Batches in flight: of a shard with ordering key or none, of a queue in all (ScalingConfig). Else 10."""
    minimum_pollers: Annotated[int, Whole(1, 200)] | None = None
    """Queues: pollers that wait while the queue is idle (ProvisionedPollerConfig). Else 1."""
    maximum_pollers: Annotated[int, Whole(1, 2000)] | None = None
    """Queues: ten batches in flight for each of them (ProvisionedPollerConfig)."""
    when_destination_fails: WhenDestinationFails = WhenDestinationFails.BLOCK
    on_position_lost: OnPositionLost = OnPositionLost.FAIL
    revoke_grace: Annotated[float, Seconds(0, 3600)] = 20.0
    """Seconds that batches in flight have to end when their shard goes to another worker."""
    retry_backoff: RetryBackoff = RetryBackoff()
    """Streams: the delays between tries, which AWS does not tell."""
    retry_delay: Annotated[float, Seconds(0, 43_200)] | None = None
    """Queues: seconds until a failed message comes again. Else, as on AWS, its visibility timeout decides."""
    circuit_breaker: Annotated[CircuitBreaker | None, BeforeValidator(_switch)] = None
    """Stops calling a function that keeps failing, and probes. True: with its defaults; False: not at all."""
    maximum_receive_count: Annotated[int, Whole(1, 1000)] | None = None
    """Queues: receives after which a message that fails is kept as a dead letter, and removed. Else that is
    left to the queue's own redrive policy.
    """
    dead_letters: DeadLetters = None
    """Where every record given up is kept too, whole, as a dead letter. None: as the app has it."""
    sequenced: bool = False
    """With ordering key: once a record is given up, later ones of its key are parked behind it and released
    in order after its redrive.
    """
    sequenced_limit: Annotated[int, Whole(1, 10_000_000)] = 100_000
    """Records parked at most."""

    _places: Places = PrivateAttr(default_factory=Places)

    # ------------------------------------------------------------------------------------- loading

    @classmethod
    def load(cls, options: Mapping[str, Any], places: Places | str = "") -> Self:
        """A mapping from its options in either spelling, or from a CreateEventSourceMapping body.

        `places`: where the options were written; else the line outside streamfn that led here.
        Raises ConfigurationErrors with all problems, each with its place.
        """
        places = places if isinstance(places, Places) else Places(places or caller())
        lifted, error = lift_what_loads(options)
        found = translate(error, AwsForms, places) if error else []
        try:
            mapping = cls.model_validate(lifted)
        except ValidationError as other:
            found += translate(other, cls, places)
        else:
            mapping._places = places  # noqa: SLF001 - our own
            if not found:
                return mapping
        raise ConfigurationErrors(found)

    @classmethod
    def default(cls, name: str) -> Any:
        """What an option is when nobody gives it."""
        return {} if name == "tags" else cls.model_fields[name].default

    @classmethod
    def also_takes(cls) -> dict[str, str]:
        """AWS's forms that are no fields, by name: for hints."""
        return dict.fromkeys(NAMES.values(), "")

    @model_validator(mode="before")
    @classmethod
    def _lift(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        lifted = lift(data)
        if "function_name" in lifted and "function" not in lifted:
            lifted["function"] = lifted.pop("function_name")
        return _apart(lifted)

    @model_validator(mode="after")
    def _names_itself(self) -> Self:
        if not self.name:
            source = self.source if isinstance(self.source, str) else self.source.name
            # The one change made to a frozen value: before anybody else has seen it.
            words = filter(None, (self.function, self.qualifier, _tail(source)))
            self.__dict__["name"] = "-".join(words)[:140]
        return self

    def updated(self, options: Mapping[str, Any], places: Places | str = "") -> Self:
        """A copy with some options changed, as UpdateEventSourceMapping does.

        Raises ConfigurationErrors for what only holds from the beginning: source, position, group and name.
        """
        places = places if isinstance(places, Places) else Places(places or caller())
        lifted, _ = lift_what_loads({canonical(key): value for key, value in options.items()})
        fixed = [
            ConfigurationError(
                "cannot be changed after creation",
                field=spelled((name,)),
                where=places.of((name,)),
                fix="remove the mapping and add one with another name",
            )
            for name in _CREATE_ONLY
            if name in lifted and lifted[name] != getattr(self, name)
        ]
        if fixed:
            raise ConfigurationErrors(fixed)
        own = {name: getattr(self, name) for name in self.model_fields_set} | {"name": self.name}
        cleared = dict(options)
        for key, value in options.items():
            # {} and "" in AWS's forms take an option away, they do not leave it as it was.
            match canonical(key):
                case "scaling_config" if not value:
                    own.pop("maximum_concurrency", None)
                case "provisioned_poller_config" if not value:
                    own.pop("minimum_pollers", None)
                    own.pop("maximum_pollers", None)
                case "destination_config" if "on_failure" not in lifted:
                    own.pop("on_failure", None)
                case "filter_criteria" if "filters" not in lifted:
                    own.pop("filters", None)
        own = {name: value for name, value in own.items() if name not in lifted}
        return self.load(own | cleared, places)

    # ------------------------------------------------------------------------------- with the source

    def check(self, kind: Kind, *, now: float | None = None) -> None:
        """Refuses what does not go with the kind of source. `now`, epoch seconds, is for timestamps.

        Raises ConfigurationErrors with all problems.
        """
        found = refused(self, kind, self._places, now)
        access = self.source_access_configurations
        if access and "source_access_configurations" in kind.takes and isinstance(self.source, str):
            where = self._places.of(("source_access_configurations",))
            found = [*found, *refused_access(access, self.source, where)]
        if found:
            raise ConfigurationErrors(found)

    def located(self, error: ConfigurationError, option: str) -> ConfigurationErrors:
        """An error that an end of the mapping raised, with place and field of the option behind it."""
        return located(error, self._places, (option,))

    def batch_policy(self, kind: Kind) -> BatchPolicy:
        """When a batch is closed."""
        return BatchPolicy(self._batch_size(kind), float(self._window(kind)))

    def delivery_policy(self, kind: Kind) -> DeliveryPolicy:
        """How failure is answered. Of a queue, its own redrive policy counts the tries."""
        retries = None if self.maximum_retry_attempts == -1 else self.maximum_retry_attempts
        if retries is None and self.on_failure is not None:
            retries = kind.retries_with_destination
        age = self.maximum_record_age_in_seconds
        return DeliveryPolicy(
            ordering=self.ordering or kind.ordering,
            report_batch_item_failures="ReportBatchItemFailures" in self.function_response_types,
            bisect_batch_on_function_error=self.bisect_batch_on_function_error,
            maximum_retry_attempts=retries,
            maximum_record_age=None if age == -1 else float(age),
            maximum_receives=self.maximum_receive_count,
            backoff=Backoff(self.retry_backoff.first, self.retry_backoff.factor, self.retry_backoff.cap),
        )

    def breaker_policy(self) -> BreakerPolicy | None:
        """When the function is no longer called for a while; None: never."""
        breaker = self.circuit_breaker
        return None if breaker is None else BreakerPolicy(**breaker.model_dump())

    def subscription(self, app_name: str) -> Subscription:
        """Who reads, and from where the first time. The group is ConsumerGroupId, or `app.mapping`."""
        position = self.starting_position or StartingPosition.TRIM_HORIZON
        return Subscription(
            self.consumer_group_id or f"{app_name}.{self.name}", position, self.starting_position_timestamp
        )

    def concurrency(self, kind: Kind) -> int:
        """Batches in flight: of a shard with ordering key or none, of a queue in all; else 1."""
        if kind.is_stream and (self.ordering or kind.ordering) is Ordering.SHARD:
            return 1
        if self._is_provisioned:
            return _POLLER_CONCURRENCY * (self.maximum_pollers or MAXIMUM_POLLERS)
        return self.maximum_concurrency or DEFAULT_CONCURRENCY

    def idle_pollers(self) -> int:
        """Pollers that wait while a queue is idle: MinimumPollers, or one."""
        return (self.minimum_pollers or MINIMUM_POLLERS) if self._is_provisioned else 1

    # -------------------------------------------------------------------------------------- inside

    @property
    def _is_provisioned(self) -> bool:
        return self.minimum_pollers is not None or self.maximum_pollers is not None

    def _batch_size(self, kind: Kind) -> int:
        return kind.batch_size if self.batch_size is None else int(self.batch_size)

    def _window(self, kind: Kind) -> float:
        window = self.maximum_batching_window_in_seconds
        return kind.window if window is None else float(window)


_CREATE_ONLY = (
    "name",
    "source",
    "starting_position",
    "starting_position_timestamp",
    "consumer_group_id",
)


def canonical(key: str) -> str:
    """The name of an option in whichever spelling; what is none comes back as it is."""
    fields = EventSourceMapping.model_fields
    if key in NAMES:
        return NAMES[key]
    if key in {"FunctionName", "function_name"}:
        return "function"
    return next((name for name in fields if key in (name, to_pascal(name))), key)


def _apart(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the qualifier taken out of the function's name."""
    keys = [key for key in ("function", "FunctionName") if key in options]
    if len(keys) != 1 or not isinstance(function := options[keys[0]], str):
        return options
    name, qualifier = unqualified(function)
    given = options.get("qualifier") or options.get("Qualifier")
    if qualifier is None or (given is not None and str(given) != qualifier):
        return options  # where the two differ, the name is refused
    rest = {key: value for key, value in options.items() if key not in (*keys, "Qualifier")}
    return rest | {keys[0]: name, "qualifier": qualifier}


def _tail(source: str) -> str:
    """The last word of a source's name: `flights` of `local:flights` and of `kafka://host/flights?acks=all`.

    Of an ARN the queue, the stream or the table: what follows them is a time or a consumer.
    """
    name = source.partition("?")[0].rstrip("/")
    if name.startswith("arn:aws") and ":kafka:" in name and "topic=" in source:
        word = dict(parse_qsl(source.partition("?")[2]))["topic"]
    elif name.startswith("arn:"):
        kind, _, rest = name.split(":", 5)[-1].partition("/")
        word = rest.partition("/")[0] or kind
    else:
        word = re.split(r"[/:]", name)[-1]
    return re.sub(r"[^A-Za-z0-9._-]", "-", word) or "source"
